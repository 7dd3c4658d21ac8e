"""What anabranch costs by itself, in this process, without Ray: executor, compiler, traffic."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anabranch import Graph
from anabranch.components.contract import Context
from anabranch.components.tensors.arrays import Array
from anabranch.graph.calls.counts import Counts
from anabranch.graph.compile.loading import load_text
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes
from anabranch.router.measure.requests import Requests
from anabranch.router.measure.tally import Tally
from anabranch.telemetry.registry import Registry
from benchmarks.access import FIRST_TOKEN_GOAL_US, KEY_GOAL_US, TOKEN_GOAL_US, Checks
from benchmarks.nothing import First, Pass
from benchmarks.traffic import (
    REVISIONS,
    checking_seconds,
    draw_seconds,
    signature_seconds,
    status_seconds,
    sticky_seconds,
    telling_seconds,
)

REPEATS = 7
WARM_UP = 200
"""Requests until every node's pace is known and it runs on the event loop."""
CHAIN = 100
SPEC_NODES = 1_000


@dataclass(frozen=True)
class Figure:
    """One measured figure and the most that it may be."""

    title: str
    value: float
    unit: str
    goal: float

    @property
    def met(self) -> bool:
        """Whether the goal is met."""
        return self.value <= self.goal


def figures() -> list[Figure]:
    """Measure everything here."""
    five = _request_seconds(five_nodes(), requests=5_000)
    chain = _request_seconds(chain_of(CHAIN), requests=500)
    checks = Checks()
    return [
        Figure("executor, five nodes that do nothing", five * 1e6, "µs a request", 15),
        Figure(f"executor, a chain of {CHAIN}", chain * 1e6 / CHAIN, "µs a node", 2),
        Figure("metrics of a request, five nodes", counting_seconds() * 1e6, "µs a request", 5),
        Figure(f"validate and compile {SPEC_NODES} nodes", _compile_seconds(), "s", 1),
        Figure("choice of an arm by weight", draw_seconds() * 1e6, "µs a request", 2),
        Figure("choice of an arm by a sticky header", sticky_seconds() * 1e6, "µs a request", 5),
        Figure("signature of a decision", signature_seconds() * 1e6, "µs a reply", 4),
        Figure("a decision told in a reply", telling_seconds() * 1e6, "µs a reply", 6),
        Figure("a decision read from feedback", checking_seconds() * 1e6, "µs a reward", 10),
        Figure("check of an API key", checks.key(), "µs a request", KEY_GOAL_US),
        Figure("check of a JWT, known", checks.token(), "µs a request", TOKEN_GOAL_US),
        Figure("check of a JWT, new", checks.first_token(), "µs a request", FIRST_TOKEN_GOAL_US),
        Figure(f"status of {REVISIONS} revisions", status_seconds() * 1e3, "ms", 200),
    ]


def five_nodes() -> Graph:
    """One fork, one combiner, five nodes."""
    graph = Graph("five").input("x", "FP32", [-1, 4])
    graph.transformer("a", component=Pass, inputs={"x": "x"})
    graph.transformer("b", component=Pass, inputs={"x": "a"})
    graph.transformer("c", component=Pass, inputs={"x": "a"})
    graph.combiner("d", component=First, inputs=["b", "c"])
    graph.transformer("e", component=Pass, inputs={"x": "d"})
    return graph.output("y", "e")


def chain_of(length: int) -> Graph:
    """Nodes one after the other."""
    graph = Graph("chain").input("x", "FP32", [-1, 4])
    source = "x"
    for number in range(length):
        graph.transformer(f"n{number}", component=Pass, inputs={"x": source})
        source = f"n{number}"
    return graph.output("y", source)


def spec_of(nodes: int) -> str:
    """A spec of ``nodes`` nodes as a person writes them: forks and joins, one after the other."""
    lines = [
        "apiVersion: anabranch/v1",
        "kind: InferenceGraph",
        "metadata: {name: large}",
        "spec:",
        "  inputs: {x: {datatype: FP32, shape: [-1, 4]}}",
        "  nodes:",
    ]
    source = "x"
    for number in range(0, nodes, 4):
        lines += _four_nodes(number, source)
        source = f"n{number + 3}"
    return "\n".join([*lines, f"  outputs: {{y: {source}}}", ""])


def _four_nodes(number: int, source: str) -> list[str]:
    a, b, c, d = (f"n{number + step}" for step in range(4))
    return [
        f"    {a}:",
        "      type: transformer",
        "      component: components.py:Scale",
        "      args: {divide_by: 16.0}",
        f"      inputs: {{x: {source}}}",
        "      outputs: {y: {datatype: FP32, shape: [-1, 4]}}",
        f"    {b}: {{type: predictor, component: components.py:Double, inputs: {{x: {a}}}}}",
        f"    {c}: {{type: predictor, component: components.py:Square, inputs: {{x: {a}}}}}",
        f"    {d}: {{type: combiner, strategy: mean, inputs: [{b}, {c}]}}",
    ]


def _compile_seconds() -> float:
    text = spec_of(SPEC_NODES)
    return _median(lambda: load_text(text), REPEATS)


def _request_seconds(graph: Graph, requests: int) -> float:
    return asyncio.run(_measure(graph, requests))


async def _measure(graph: Graph, requests: int) -> float:
    inputs = {"x": np.ones((1, 4), np.float32)}
    async with _executor(graph) as executor:
        await _ask(executor, inputs, WARM_UP)
        times = [await _ask(executor, inputs, requests) for _ in range(REPEATS)]
    return statistics.median(times) / requests


@asynccontextmanager
async def _executor(graph: Graph, counts: Counts | None = None) -> AsyncIterator[HeadExecutor]:
    plan = graph.plan
    bound = await load_nodes(plan, plan.nodes, Path.cwd())
    executor = HeadExecutor(plan, bound, counts=counts)
    try:
        yield executor
    finally:
        executor.close()


def counting_seconds(requests: int = 5_000) -> float:
    """What counting a request takes: itself and its arm in the router, and each of five nodes."""
    return asyncio.run(_counting(requests))


async def _counting(requests: int) -> float:
    """With counts and without, turn by turn, so that both get the same of a busy machine."""
    registry, inputs = Registry(), {"x": np.ones((1, 4), np.float32)}
    graph, router, tally = five_nodes(), Requests("five", "http", registry), Tally()
    differences = []
    async with (
        _executor(graph) as bare,
        _executor(graph, Counts("five", "1", registry)) as counted,
    ):
        for executor in (bare, counted):
            await _ask(executor, inputs, WARM_UP)
        for _ in range(4 * REPEATS):
            without = await _ask(bare, inputs, requests)
            within = await _ask(counted, inputs, requests)
            differences.append(within - without + _count(router, tally, requests))
    return statistics.median(differences) / requests


def _count(router: Requests, tally: Tally, requests: int) -> float:
    start = time.perf_counter()
    for _ in range(requests):
        began = router.began()
        tally.record(0.001)
        router.ended("infer", 200, began, None)
    return time.perf_counter() - start


async def _ask(executor: HeadExecutor, inputs: dict[str, Array], requests: int) -> float:
    start = time.perf_counter()
    for _ in range(requests):
        await executor.run(inputs, Context())
    return time.perf_counter() - start


def _median(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
