"""What tensors cost on the wire, by size and encoding: ``python -m benchmarks.payloads``.

One node that only changes the sign is served by anabranch, by MLServer, and by hand with nothing
checked, which is the floor. Each gets four numbers, an image and 16 MiB, as JSON and as binary
tensors over HTTP and as raw contents over gRPC: one FP32 tensor in, and one of the same size out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import NamedTuple

import grpc
import httpx
import numpy as np

from anabranch.control.engine import processes
from anabranch.serve.workers.environment import MARK
from benchmarks import environments
from benchmarks.encodings import BINARY, ENCODINGS, JSON, MODEL, Address, Encoding, Floats, Request
from benchmarks.load import Load, load
from benchmarks.options import add_peers, parse
from benchmarks.outcome import MET, MISSED, NOT_MEASURED
from benchmarks.request import WrongAnswer
from benchmarks.running import NotMeasured
from benchmarks.servers.negate_ports import GRPC_PORT
from benchmarks.servers.script import HOST, free_port

SERVERS = Path(__file__).parent / "servers"
GOAL, GOAL_BY_HAND = 1.5, 0.8
"""Least of the peer's requests a second; where it has none, of the floor's for the largest."""
START_TIMEOUT_S = 120
PATIENCE_S = 30
"""Time for one request: 16 MiB as JSON take some servers many seconds."""
MIB = 2**20


@dataclass(frozen=True)
class Contender:
    """One way to serve the node; ``peer`` names its environment, None for ours."""

    title: str
    script: str
    peer: str | None = None
    starts_ray: bool = False
    lacks: tuple[Encoding, ...] = ()


OURS = Contender("anabranch", "negate_anabranch.py", starts_ray=True)
PEER = Contender("MLServer", "negate_mlserver.py", peer="mlserver", lacks=(BINARY,))
FLOOR = Contender("by hand", "negate_bare.py")
CONTENDERS = (OURS, PEER, FLOOR)


@dataclass(frozen=True)
class Payload:
    """The shape of a tensor, and over how many connections it is sent at a time."""

    title: str
    shape: tuple[int, ...]
    connections: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of the tensor itself."""
        return prod(self.shape) * 4

    def tensor(self) -> Floats:
        """Numbers like scaled pixels, in [0, 1): exact in JSON, with up to eight digits."""
        pixels = np.random.default_rng(0).integers(256, size=self.shape)
        return (pixels / 256).astype(np.float32)


PAYLOADS = (
    Payload("4 numbers", (1, 1, 1, 4), (1, 8)),
    Payload("image 224 x 224 x 3", (1, 224, 224, 3), (1, 8)),
    Payload("16 MiB", (1, 1024, 1024, 4), (1, 2)),
)


class Case(NamedTuple):
    """What is measured of a contender."""

    encoding: Encoding
    payload: Payload
    connections: int


CASES = tuple(
    Case(encoding, payload, connections)
    for encoding, payload in product(ENCODINGS, PAYLOADS)
    for connections in payload.connections
)
Found = dict[tuple[Contender, Case], list[Load]]


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    options = _options()
    contenders = tuple(one for one in CONTENDERS if options.peers or one.peer is None)
    if PEER in contenders:
        environments.install("mlserver")
    found: Found = defaultdict(list)
    problems: list[str] = []
    for number, contender in product(range(options.rounds), contenders):
        print(f"round {number + 1} of {options.rounds}: {contender.title}", file=sys.stderr)
        with serving(contender) as address:
            problems += _round(contender, address, options.seconds, found)
    return _report(found, problems, contenders)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.payloads", description=__doc__)
    parser.add_argument("--seconds", type=int, default=2, help="of each load (default: 2)")
    parser.add_argument("--rounds", type=int, default=2, help="over all servers (default: 2)")
    add_peers(parser)
    return parse(parser, seconds=1, rounds=1)


@contextmanager
def serving(contender: Contender) -> Iterator[Address]:
    """Run a contender alone, until it has given the right answer over HTTP."""
    with tempfile.TemporaryDirectory(prefix="ab-", ignore_cleanup_errors=True) as name:
        folder, port, mark = Path(name), free_port(), uuid.uuid4().hex
        process = _start(contender, port, folder, mark)
        try:
            url = f"http://{HOST}:{port}/v2/models/{MODEL}/infer"
            _wait(url, process)
            yield Address(url, f"{HOST}:{(folder / GRPC_PORT).read_text()}")
        finally:
            process.terminate()
            process.wait(30)
            processes.stop(mark, process.pid, folder)


def _start(contender: Contender, port: int, folder: Path, mark: str) -> subprocess.Popen[bytes]:
    python, script = environments.python_of(contender.peer), SERVERS / contender.script
    command = [str(word) for word in (python, script, port, folder)]
    path = os.pathsep.join([str(SERVERS), str(SERVERS / "negate")])
    return subprocess.Popen(
        command,
        env={**os.environ, MARK: mark, "PYTHONPATH": path},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    x = PAYLOADS[0].tensor()
    while True:
        try:
            return _verify(JSON, url, JSON.request(x), x)
        except httpx.HTTPError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _verify(encoding: Encoding, target: str, request: Request, x: Floats) -> None:
    """Raise WrongAnswer unless the answer is exactly the right one."""
    y = encoding.ask(target, request, PATIENCE_S)
    if y.shape != x.shape or not np.array_equal(y, -x):
        raise WrongAnswer(f"{encoding.title}: {y.ravel()[:4]} of {y.shape} for {x.ravel()[:4]}")


def _round(contender: Contender, address: Address, seconds: int, found: Found) -> list[str]:
    """Measure what a contender can do, once; what went wrong, in words."""
    problems = []
    for encoding, payload in product(ENCODINGS, PAYLOADS):
        if encoding in contender.lacks:
            continue
        try:
            for case, one in _loads(encoding, payload, address, seconds):
                found[contender, case].append(one)
                if one.failed:
                    problems.append(f"{contender.title}, {_title(case)}: {one.failed} failed")
        except (NotMeasured, WrongAnswer, httpx.HTTPError, grpc.RpcError) as error:
            problems.append(f"{contender.title}, {encoding.title}, {payload.title}: {error}")
    return problems


def _loads(
    encoding: Encoding, payload: Payload, address: Address, seconds: int
) -> Iterator[tuple[Case, Load]]:
    target, x = encoding.target(address), payload.tensor()
    request = encoding.request(x)
    _verify(encoding, target, request, x)

    def put(connections: int, seconds: int) -> Load:
        return load(target, connections, seconds, encoding.tool, *request, PATIENCE_S)

    put(max(payload.connections), 1)
    for connections in payload.connections:
        yield Case(encoding, payload, connections), put(connections, seconds)


def _title(case: Case) -> str:
    return f"{case.encoding.title}, {case.payload.title}, {case.connections}"


def _report(found: Found, problems: Sequence[str], contenders: Sequence[Contender]) -> int:
    rows = table(found, contenders)
    _print(rows)
    for problem in problems:
        print(problem)
    verdicts = [row[-1] for row in rows[1:] if row[-1]]
    print(f"goal missed in {verdicts.count('MISSED')} of {len(verdicts)} cases")
    if any("not measured" in row for row in rows):
        return NOT_MEASURED
    return MISSED if "MISSED" in verdicts else MET


def table(found: Found, chosen: Sequence[Contender] = CONTENDERS) -> list[list[str]]:
    """A row of headings, and one for each case: figures, ratios, verdict."""
    titles = [f"{one.title}: p50 / p99 ms, rate" for one in CONTENDERS]
    against = [f"× {one.title}" for one in (PEER, FLOOR)]
    goal = f"≥ {GOAL:g} × {PEER.title}, else {GOAL_BY_HAND:g} × {FLOOR.title}"
    head = ["encoding", "tensor", "connections", *titles, *against, goal]
    return [head, *(_row(case, found, chosen) for case in CASES)]


def _row(case: Case, found: Found, chosen: Sequence[Contender]) -> list[str]:
    loads = [
        _cell(contender, case, found) if contender in chosen else "left out"
        for contender in CONTENDERS
    ]
    ratios = (_ratio(case, other, found) for other in (PEER, FLOOR))
    cells = ["" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
    told = case.encoding.title, case.payload.title, str(case.connections)
    return [*told, *loads, *cells, _verdict(case, found, chosen)]


def _cell(contender: Contender, case: Case, found: Found) -> str:
    if case.encoding in contender.lacks:
        return "has none"
    loads = found.get((contender, case))
    if not loads:
        return "not measured"
    p50, p99 = (statistics.median(getattr(one, name) for one in loads) for name in ("p50", "p99"))
    return f"{p50:.2f} / {p99:.2f}, {_amount(_rate(loads), case.payload)}"


def _amount(rate: float, payload: Payload) -> str:
    """Requests a second, or MiB of tensors a second one way for large ones."""
    if payload.size < MIB:
        return f"{rate:,.0f}/s"
    return f"{rate * payload.size / MIB:,.0f} MiB/s"


def _rate(loads: Sequence[Load]) -> float:
    return statistics.median(one.rate for one in loads)


def _ratio(case: Case, other: Contender, found: Found) -> float | None:
    """How many times the other's requests a second ours are."""
    ours, theirs = found.get((OURS, case)), found.get((other, case))
    return _rate(ours) / _rate(theirs) if ours and theirs else None


def _verdict(case: Case, found: Found, chosen: Sequence[Contender]) -> str:
    """Whether the goal is met; nothing where there is none."""
    other, goal = _goal(case)
    if other is None or other not in chosen:
        return ""
    ratio = _ratio(case, other, found)
    return "met" if ratio is not None and ratio >= goal else "MISSED"


def _goal(case: Case) -> tuple[Contender | None, float]:
    if case.encoding not in PEER.lacks:
        return PEER, GOAL
    return (FLOOR if case.payload == PAYLOADS[-1] else None), GOAL_BY_HAND


def _print(rows: Sequence[Sequence[str]]) -> None:
    """Print Markdown that can be read as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    head, *body = rows
    for cells in (head, ["-" * width for width in widths], *body):
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        print(f"| {' | '.join(padded)} |")


if __name__ == "__main__":
    sys.exit(main())
