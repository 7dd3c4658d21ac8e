"""Four times as many requests as a graph can answer: ``python -m benchmarks.overload``.

The bottleneck is, by turns,

- *batch*: a node that waits as long for a batch as for a row, as a GPU does up to some size;
- *thread*: a node in the router's process, one call at a time;
- *remote*: a node in a process of its own, four calls at a time;
- *router*: the event loop of the router, on which an asynchronous node computes for a millisecond;
- *inline*: likewise, with three quick nodes that are evaluated while a request is being read.

What is compared with:

- *capacity*: answers a second with so many clients that the bottleneck is never idle;
- *unloaded*: the latency of a single client; of as many clients as a batch has rows for *batch*.

The clients and the edge work several times as much under overload as at the capacity. Where they
share processors with the router, it waits for one longer then, and no engine could answer as many.
So both rates are divided by the share of the time in which the busiest thread of the router did not
wait for a processor. How many were answered of what was at the capacity, as it is, is told, too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.client import percentile
from benchmarks.engine import Engine, Waiting, engine
from benchmarks.load import Load, load
from benchmarks.open_loop import Answer, OpenLoop
from benchmarks.options import parse
from benchmarks.outcome import Goal, outcome

SIZE = 32
TIMES = 4
WARM_UP_S = 4.0
"""Seconds of overload that are left out: a queue has to stand for a while to be one."""
COMPONENTS = """
import time


class Model:
    def __init__(self, seconds: float, places: int = 1) -> None:
        self.max_concurrency = places
        self._seconds = seconds

    def predict(self, x):
        time.sleep(self._seconds)
        return -x


def compute(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


class Quick:
    def transform(self, x):
        compute(0.0004)
        return -x


class OnLoop:
    async def transform(self, x):
        compute(0.001)
        return -x
"""


@dataclass
class Router:
    """What was seen of the process of a router under overload."""

    memory: list[int]
    """Its resident memory, in bytes, twice a second."""
    waited_at_capacity: float
    """The share of the time in which it waited for a processor."""
    waited: float = 0.0

    @property
    def fair(self) -> float:
        """The rate that can be expected, for each answer a second at the capacity."""
        return (1 - self.waited) / (1 - self.waited_at_capacity)


@dataclass(frozen=True)
class Case:
    """A graph, and how many clients it is asked by without load, and at its capacity."""

    name: str
    nodes: Mapping[str, Any]
    one: int
    full: int


def _model(seconds: float, places: int = 1, **more: Any) -> dict[str, Any]:
    node = {"type": "predictor", "component": "components.py:Model", "inputs": {"x": "x"}}
    return {"y": {**node, "args": {"seconds": seconds, "places": places}, **more}}


def _node(component: str, source: str) -> dict[str, Any]:
    name = f"components.py:{component}"
    return {"type": "transformer", "component": name, "inputs": {"x": source}}


_QUICK = {"a": _node("Quick", "x"), "b": _node("Quick", "a"), "y": _node("Quick", "b")}


CASES = (
    Case("batch", _model(0.2, batching={"max_size": SIZE}), SIZE, 2 * SIZE),
    Case("thread", _model(0.02), 1, 2),
    Case("remote", _model(0.04, 4, placement={"isolate": True}), 1, 8),
    Case("router", {"y": _node("OnLoop", "x")}, 1, 8),
    Case("inline", _QUICK, 1, 8),
)


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    options = _options()
    goals: list[Goal] = []
    with tempfile.TemporaryDirectory(prefix="ab-") as name, engine() as one:
        (Path(name) / "components.py").write_text(COMPONENTS)
        for case in CASES:
            if case.name in options.cases:
                goals += _measured(one, Path(name), case, options.seconds)
    return outcome(goals)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload")
    names = [case.name for case in CASES]
    parser.add_argument("--seconds", type=int, default=10, help="of overload (default: 10)")
    parser.add_argument("--cases", nargs="+", choices=names, default=names, help="(default: all)")
    return parse(parser, seconds=3)


def _measured(one: Engine, root: Path, case: Case, seconds: float) -> list[Goal]:
    inputs = {"x": {"datatype": "FP32", "shape": [-1, 4]}}
    spec = {"inputs": inputs, "nodes": dict(case.nodes), "outputs": {"y": "y"}}
    url = one.deploy(root, case.name, spec)
    unloaded = load(url, case.one, 3, "python", BODY)
    (process,) = one.replicas(f"{case.name}:")
    waiting = Waiting(_threads(process))
    full = load(url, case.full, 4, "python", BODY)
    router = Router([], waiting.share())
    loop = OpenLoop(url, BODY, TIMES * full.rate)
    asyncio.run(_overload(process, router, loop, seconds))
    return _goals(case.name, unloaded, full, loop, router, seconds)


TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0] * 4}
BODY = json.dumps({"inputs": [TENSOR]}).encode()


def _threads(process: psutil.Process) -> Path:
    return Path(f"/proc/{process.pid}/task")


async def _overload(
    process: psutil.Process, router: Router, loop: OpenLoop, seconds: float
) -> None:
    """Run the load, and look at the router meanwhile."""

    async def watch() -> None:
        while True:
            router.memory.append(process.memory_info().rss)
            await asyncio.sleep(0.5)

    watching, waiting = asyncio.create_task(watch()), Waiting(_threads(process))
    await loop.run(seconds + WARM_UP_S)
    router.waited = waiting.share()
    watching.cancel()


def _goals(
    name: str, unloaded: Load, full: Load, loop: OpenLoop, router: Router, seconds: float
) -> list[Goal]:
    start = min(answer.at for answer in loop.answers) + WARM_UP_S
    answers = [answer for answer in loop.answers if answer.at >= start]
    accepted = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status != 200]
    polite = sum(answer.status == 503 and answer.says_when for answer in refused)
    rate, memory = len(accepted) / seconds, router.memory
    early, expected = memory[len(memory) // 3], full.rate * router.fair
    print(
        f"{name}: capacity {full.rate:.0f}/s, unloaded p50 {unloaded.p50:.1f} ms, p99 "
        f"{unloaded.p99:.1f} ms, overload of {len(answers) / seconds:.0f}/s: {len(accepted)} "
        f"accepted, p50 {_ms(accepted, 0.5):.1f} ms; {len(refused)} refused, p50 "
        f"{_ms(refused, 0.5):.1f} ms; {loop.broken} without an answer; the router waited for a "
        f"processor {router.waited_at_capacity:.0%} of the time at the capacity, "
        f"{router.waited:.0%} under overload"
    )
    times = _ms(accepted, 0.99) / unloaded.p99
    return [
        (
            f"{name}: refused with 503 and Retry-After: {polite} of {len(refused)}",
            polite == len(refused) > 0 and not loop.broken,
        ),
        (
            f"{name}: refused within, p99: {_ms(refused, 0.99):.1f} ms (goal: 100)",
            _ms(refused, 0.99) < 100,
        ),
        (
            f"{name}: accepted p99: {_ms(accepted, 0.99):.1f} ms, {times:.2f} x the unloaded one "
            "(goal: 2)",
            times <= 2,
        ),
        (
            f"{name}: goodput: {rate / expected:.0%} of capacity for the processor that it had "
            f"(goal: 90 %), {rate / full.rate:.0%} as it is",
            rate >= 0.9 * expected,
        ),
        (
            f"{name}: memory: {early / 2**20:.0f} MiB after a third, {memory[-1] / 2**20:.0f} at "
            "the end (goal: 5 % more)",
            memory[-1] <= 1.05 * early,
        ),
    ]


def _ms(answers: Sequence[Answer], share: float) -> float:
    return percentile(sorted(answer.seconds for answer in answers), share) * 1e3


if __name__ == "__main__":
    started = time.monotonic()
    code = main()
    print(f"after {time.monotonic() - started:.0f} s")
    sys.exit(code)
