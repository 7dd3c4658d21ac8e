"""What batching brings and costs, here and in the peers: ``python -m benchmarks.batching``.

anabranch, BentoML and MLServer serve the same PyTorch network on the CPU, with batching and
without. Each runs alone and is asked over HTTP by 64 clients and by one; all take turns, in rounds.
Every answer of a batch is compared with the one that the network gives to that row alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise, product
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt

from anabranch.control.engine import processes
from anabranch.serve.workers.environment import MARK
from benchmarks import environments
from benchmarks.contenders import SERVERS
from benchmarks.engine import Engine, engine
from benchmarks.load import Load, load
from benchmarks.options import add_peers, parse
from benchmarks.outcome import outcome
from benchmarks.running import NotMeasured
from benchmarks.servers.script import HOST, free_port

MANY = 64
CLIENTS = (1, MANY)
"""One first: after a burst, BentoML holds a lone request for some time."""
WIDTH = 64
HIDDEN = 2048
DEPTH = 3
WARM_UP_S = 6
"""As long as the engine imports PyTorch for replicas to come, once the first has used it."""
START_TIMEOUT_S = 120.0
GOAL_GAIN = 3.0
GOAL_COST_MS = 0.2
GOAL_ERROR = 1e-6
GOAL_PEERS = 1.5
PLAIN_PEER, GOAL_PLAIN = "MLServer", 1.2
"""Without batching."""
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Peer:
    """Another server: the environment and the script in ``servers/`` that it runs in."""

    environment: str
    script: str
    path: str


OURS = "anabranch"
PEERS = {
    "BentoML": Peer("bentoml-torch", "bentoml_network.py", "/infer"),
    "MLServer": Peer("mlserver-torch", "mlserver_network.py", "/v2/models/network/infer"),
}


@dataclass
class Measured:
    """A server with or without batching: its loads by number of clients, or why there are none.

    ``error`` is the largest difference between an answer of it and the network's own.
    """

    server: str
    batched: bool
    loads: dict[int, list[Load]] = field(default_factory=lambda: {n: [] for n in CLIENTS})
    error: float = 0.0
    problem: str = ""

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.server}, {'batching' if self.batched else 'plain'}"

    def rate(self, clients: int) -> float:
        """Requests a second, the median over the rounds."""
        return statistics.median(one.rate for one in self.loads[clients])

    def p50(self, clients: int) -> float:
        """In milliseconds, the median over the rounds."""
        return statistics.median(one.p50 for one in self.loads[clients])

    def p99(self, clients: int) -> float:
        """In milliseconds, the median over the rounds."""
        return statistics.median(one.p99 for one in self.loads[clients])


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    options = _options()
    servers = (OURS, *PEERS) if options.peers else (OURS,)
    measured = [Measured(*case) for case in product(servers, (False, True))]
    _install(measured)
    with tempfile.TemporaryDirectory(prefix="ab-") as name:
        net = Path(name) / "net.pt2"
        rows, answers = _export(net)
        for number in range(1, options.rounds + 1):
            for one in (one for one in measured if not one.problem):
                print(f"round {number} of {options.rounds}: {one.title}", file=sys.stderr)
                _turn(one, net, rows, answers, options.seconds)
    return _report(measured)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batching", description=__doc__)
    parser.add_argument("--seconds", type=int, default=3, help="of each load (default: 3)")
    parser.add_argument("--rounds", type=int, default=3, help="of each (default: 3)")
    add_peers(parser)
    return parse(parser, seconds=1, rounds=1)


def _install(measured: Sequence[Measured]) -> None:
    for server in {one.server for one in measured} - {OURS}:
        try:
            environments.install(PEERS[server].environment)
        except environments.NotInstalled as problem:
            for one in measured:
                one.problem = str(problem) if one.server == server else one.problem


def _export(path: Path) -> tuple[Floats, Floats]:
    """Write a network whose weights are read once for a batch, and once for each row without.

    Returns rows ``[64, WIDTH]`` and what the network gives to each of them alone ``[64, 8]``.
    """
    import torch

    torch.manual_seed(0)
    sizes = [WIDTH, *[HIDDEN] * DEPTH, 8]
    layers: list[torch.nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [torch.nn.Linear(before, after), torch.nn.Tanh()]
    net = torch.nn.Sequential(*layers).eval()
    dynamic = ({0: torch.export.Dim("rows", min=1, max=4096)},)
    program = torch.export.export(net, (torch.zeros(2, WIDTH),), dynamic_shapes=dynamic)
    torch.export.save(program, path)
    rows = torch.randn(MANY, WIDTH)
    with torch.inference_mode():
        answers = torch.cat([net(row[None]) for row in rows])
    return rows.numpy(), answers.numpy()


def _turn(one: Measured, net: Path, rows: Floats, answers: Floats, seconds: int) -> None:
    """Start a server, look at its answers, load it, and stop it."""
    body = _body([0.5] * WIDTH)
    try:
        with _serving(one, net) as url:
            one.error = max(one.error, asyncio.run(_error(url, rows, answers)))
            if one.server != OURS and one.error > GOAL_ERROR:
                raise NotMeasured(f"its answers are wrong, by {one.error:.1e}")
            load(url, MANY, WARM_UP_S, "python", body)
            for clients, loads in one.loads.items():
                loads.append(load(url, clients, seconds, "python", body))
    except (NotMeasured, httpx.HTTPError, subprocess.CalledProcessError) as problem:
        one.problem = str(problem) or repr(problem)


@contextmanager
def _serving(one: Measured, net: Path) -> Iterator[str]:
    """Run a server alone; the URL that takes requests."""
    if one.server == OURS:
        with engine() as ours:
            yield _deploy(ours, net, one.batched)
    else:
        with _running(PEERS[one.server], net, one.batched) as url:
            yield url


def _deploy(ours: Engine, net: Path, batched: bool) -> str:
    node = {"type": "predictor", "runtime": "torch", "model": net.name, "inputs": {"input": "x"}}
    batching = {"batching": {"max_size": MANY}} if batched else {}
    spec = {
        "inputs": {"x": {"datatype": "FP32", "shape": [-1, WIDTH]}},
        "nodes": {"net": {**node, **batching}},
        "outputs": {"y": "net"},
    }
    return ours.deploy(net.parent, "net", spec)


@contextmanager
def _running(peer: Peer, net: Path, batched: bool) -> Iterator[str]:
    """Run a peer, with as many threads a call as Ray gives to a replica that reserves nothing."""
    with tempfile.TemporaryDirectory(prefix="ab-", ignore_cleanup_errors=True) as name:
        folder, port, mark = Path(name), free_port(), uuid.uuid4().hex
        python, script = environments.python_of(peer.environment), SERVERS / peer.script
        told = {
            "NETWORK": str(net),
            "MAX_BATCH_SIZE": str(MANY if batched else 0),
            "OMP_NUM_THREADS": "1",
        }
        with (folder / "output.log").open("w+") as log:
            process = subprocess.Popen(
                [str(python), str(script), str(port), str(folder)],
                env={**os.environ, **told, MARK: mark, "PYTHONPATH": str(SERVERS)},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                url = f"http://{HOST}:{port}{peer.path}"
                _wait(url, process, folder / "output.log")
                yield url
            finally:
                process.terminate()
                processes.stop(mark, process.pid, folder)
                process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            httpx.post(url, content=_body([0.5] * WIDTH), trust_env=False).raise_for_status()
            return
        except httpx.HTTPError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                end = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
                raise NotMeasured(f"it does not answer ({error!r}): {end}") from None
        time.sleep(0.1)


def _body(row: Sequence[float]) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, WIDTH], "data": list(row)}
    return json.dumps({"inputs": [tensor]}).encode()


async def _error(url: str, rows: Floats, answers: Floats) -> float:
    """The largest difference, with all rows sent at once, from what each is to get."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        found = await asyncio.gather(*(_answer(client, url, row) for row in rows))
    return float(np.max(np.abs(np.array(found, np.float32) - answers)))


async def _answer(client: httpx.AsyncClient, url: str, row: Floats) -> list[float]:
    headers = {"content-type": "application/json"}
    reply = await client.post(url, content=_body(row.tolist()), headers=headers)
    reply.raise_for_status()
    found = reply.json()
    data: list[float] = (found if isinstance(found, list) else found["outputs"])[0]["data"]
    return data


def _report(measured: Sequence[Measured]) -> int:
    """Print a table, whether the goals are met, and what could not be measured."""
    found = {(one.server, one.batched): one for one in measured if not one.problem}
    print("| clients | server | requests/s | p50 ms | p99 ms | failed | anabranch |")
    print("| --: | --- | --: | --: | --: | --: | --: |")
    for clients, one in product(CLIENTS, found.values()):
        print(_row(clients, one, found.get((OURS, one.batched))))
    problems = [f"{one.title}: {one.problem}" for one in measured if one.problem]
    return outcome(_goals(found), problems)


def _row(clients: int, one: Measured, ours: Measured | None) -> str:
    failed = sum(load.failed for load in one.loads[clients])
    times = f"{one.p50(clients):.2f} | {one.p99(clients):.2f}"
    ratio = f"{ours.rate(clients) / one.rate(clients):.2f} ×" if ours else ""
    return f"| {clients} | {one.title} | {one.rate(clients):,.0f} | {times} | {failed} | {ratio} |"


def _goals(found: Mapping[tuple[str, bool], Measured]) -> list[tuple[str, bool]]:
    """What was to be reached, as far as it was measured, and whether it was."""
    plain, batched = found.get((OURS, False)), found.get((OURS, True))
    if plain is None or batched is None:
        return []
    gain = batched.rate(MANY) / plain.rate(MANY)
    cost = batched.p50(1) - plain.p50(1)
    goals = [
        (f"throughput at {MANY} clients: {gain:.1f} x (goal: {GOAL_GAIN:g})", gain >= GOAL_GAIN),
        (f"added for one client: {cost:.2f} ms (goal: {GOAL_COST_MS:g})", cost <= GOAL_COST_MS),
        (
            f"largest difference: {batched.error:.1e} (goal: {GOAL_ERROR:g})",
            batched.error <= GOAL_ERROR,
        ),
    ]
    peers = [found[name, True] for name in PEERS if (name, True) in found]
    if peers:
        best = max(peers, key=lambda one: one.rate(MANY))
        times = batched.rate(MANY) / best.rate(MANY)
        text = f"{times:.2f} x the best peer, {best.title} (goal: {GOAL_PEERS:g})"
        goals.append((f"throughput at {MANY} clients: {text}", times >= GOAL_PEERS))
    if (PLAIN_PEER, False) in found:
        times = plain.rate(MANY) / found[PLAIN_PEER, False].rate(MANY)
        text = f"{times:.2f} x {PLAIN_PEER} without batching (goal: {GOAL_PLAIN:g})"
        goals.append((f"throughput at {MANY} clients: {text}", times >= GOAL_PLAIN))
    return goals


if __name__ == "__main__":
    sys.exit(main())
