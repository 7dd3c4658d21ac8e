"""What idle graphs take: ``python -m benchmarks.many_graphs``.

An engine with many graphs of one small node each that nobody asks, every one in a process of its
own or all in one pool: processor and memory of a graph and of the engine, and the time of
``anabranch up`` against an engine with one graph. Beside them an idle actor of plain Ray, below
which no process of Ray's can be.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks.engine import Engine, engine, processor_seconds
from benchmarks.options import parse
from benchmarks.outcome import outcome

NOTHING = Path(__file__).with_name("nothing.py")
POOL = "many"
MIB = 2**20
SETTLE_S = 20.0
"""Time for what a start leaves to be done, in seconds."""
AT_A_TIME = 4
"""Graphs that are deployed side by side."""
_ACTOR = """
import sys
import ray

@ray.remote(num_cpus=0)
class Idle:
    async def pid(self):
        import os
        return os.getpid()

ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
idle = Idle.remote()
print(ray.get(idle.pid.remote()), flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Idle:
    """An idle engine: shares of a core, PSS in bytes, and the seconds of ``up``."""

    graphs: int
    graph_share: float
    graph_bytes: float
    share: float
    bytes: float
    up: float


class Bare(NamedTuple):
    """An idle process: its share of a core, and its PSS in bytes."""

    share: float
    bytes: int


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    options = _options()
    one = _measured(1, options.seconds, pooled=False)
    many = _measured(options.graphs, options.seconds, pooled=False)
    pool = _measured(options.graphs, options.seconds, pooled=True)
    bare = _bare_actor(options.seconds)
    _print({"one graph": one, "each its own process": many, "all in a pool": pool})
    print(f"an idle actor of plain Ray: {bare.share:.2%} of a core, {bare.bytes / MIB:.1f} MiB")
    ratio, pool_mib = many.up / one.up, pool.graph_bytes / MIB
    return outcome(
        [
            (f"an idle graph: {many.graph_share:.2%} of a core (goal: 0.1 %)",
             many.graph_share <= 0.001),
            (f"its memory: {many.graph_bytes / MIB:.1f} MiB (goal: 50)",
             many.graph_bytes <= 50 * MIB),
            (f"in a pool: {pool_mib:.1f} MiB (goal: 3)", pool_mib <= 3),
            (f"the engine: {many.share:.2f}, with a pool {pool.share:.2f} cores (goal: 0.2)",
             many.share <= 0.2),
            (f"up: {ratio:.2f} x that with one graph (goal: 1.5)", ratio <= 1.5),
        ]
    )  # fmt: skip


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_graphs", description=__doc__)
    parser.add_argument("--graphs", type=int, default=20, help="idle graphs, 2 to 100 (default 20)")
    parser.add_argument("--seconds", type=float, default=30, help="that are watched (default: 30)")
    found = parse(parser, graphs=2, seconds=5)
    if not 2 <= found.graphs <= 100:
        parser.error("argument --graphs: 2 to 100")
    return found


def _measured(graphs: int, seconds: float, pooled: bool) -> Idle:
    """Deploy graphs, start the engine anew with them, and watch it idle."""
    with engine() as one, tempfile.TemporaryDirectory(prefix="ab-") as folder:
        _deploy(one, Path(folder), graphs, pooled)
        one.down()
        started = time.monotonic()
        one.up()
        up = time.monotonic() - started
        time.sleep(SETTLE_S)
        return _idle(one, graphs, seconds, pooled, up)


def _deploy(one: Engine, root: Path, graphs: int, pooled: bool) -> None:
    (root / NOTHING.name).write_text(NOTHING.read_text())
    node = {"type": "transformer", "component": f"{NOTHING.name}:Pass", "inputs": {"x": "x"}}
    spec: dict[str, Any] = {
        "inputs": {"x": {"datatype": "FP32", "shape": [-1, 2]}},
        "nodes": {"node": node},
        "outputs": {"y": "node"},
        **({"serving": {"pool": POOL}} if pooled else {}),
    }
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        list(threads.map(lambda name: one.deploy(root, name, spec), _names(graphs)))


def _names(graphs: int) -> list[str]:
    return [f"idle-{number}" for number in range(graphs)]


def _idle(one: Engine, graphs: int, seconds: float, pooled: bool, up: float) -> Idle:
    every = one.processes()
    own = one.replicas(f"anabranch.pool.{POOL}") if pooled else _routers(one, graphs)
    shares = _shares(every, seconds)
    memory = {process.pid: process.memory_full_info().pss for process in every}
    cpu = [shares.get(process.pid, 0.0) for process in own]
    pss = [memory.get(process.pid, 0) for process in own]
    each = (sum(cpu) / graphs, sum(pss) / graphs)
    if not pooled:
        each = statistics.median(cpu), statistics.median(pss)
    return Idle(graphs, *each, sum(shares.values()), sum(memory.values()), up)


def _routers(one: Engine, graphs: int) -> list[psutil.Process]:
    return [process for name in _names(graphs) for process in one.replicas(f"{name}:")]


def _shares(watched: Sequence[psutil.Process], seconds: float) -> dict[int, float]:
    """Shares of a core that processes take, by id."""
    before = {process.pid: processor_seconds(process) for process in watched}
    started = time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - started
    return {one.pid: (processor_seconds(one) - before[one.pid]) / passed for one in watched}


def _bare_actor(seconds: float) -> Bare:
    """What an actor takes that does nothing, on a Ray of its own."""
    driver = subprocess.Popen(
        [sys.executable, "-c", _ACTOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert driver.stdout is not None
        process = psutil.Process(int(driver.stdout.readline()))
        time.sleep(SETTLE_S)
        return Bare(_shares([process], seconds)[process.pid], process.memory_full_info().pss)
    finally:
        driver.communicate()


def _print(rows: dict[str, Idle]) -> None:
    headings = ("graphs", "graph: core", "MiB", "engine: cores", "MiB", "up: s")
    print(f"{'':24}" + "".join(f"{one:>15}" for one in headings))
    for title, row in rows.items():
        cells = (
            str(row.graphs), f"{row.graph_share:.2%}", f"{row.graph_bytes / MIB:.1f}",
            f"{row.share:.2f}", f"{row.bytes / MIB:,.0f}", f"{row.up:.1f}",
        )  # fmt: skip
        print(f"{title:24}" + "".join(f"{cell:>15}" for cell in cells))


if __name__ == "__main__":
    sys.exit(main())
