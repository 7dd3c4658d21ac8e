"""The spans of nodes: on the loop, in threads, and in batches."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch import Graph
from anabranch.components.contract import Context
from anabranch.errors import NodeError
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes
from anabranch.telemetry import tracing
from anabranch.telemetry.otlp import HOST
from anabranch.telemetry.span import Span
from anabranch.telemetry.trace import Trace
from anabranch.telemetry.tracing import Traces

ROOT = Path(__file__).parents[1]
PLACES = [Trace(f"{number:032x}", "00f067aa0ba902b7", "anabranch=show") for number in (1, 2, 3)]


def recorded(
    monkeypatch: pytest.MonkeyPatch, built: Graph, places: Sequence[Trace | None]
) -> tuple[list[Span], list[Any]]:
    """The spans of requests that are asked together, and what they gave."""
    told: list[Span] = []
    traces = Traces({})
    traces.show(told.extend)
    monkeypatch.setattr(tracing, "TRACES", traces)

    async def main() -> list[Any]:
        bound = await load_nodes(built.plan, built.plan.nodes, ROOT)
        executor = HeadExecutor(built.plan, bound)
        try:
            asked = [
                executor.run({"x": np.array([index])}, Context(parameters={"log": []}, trace=place))
                for index, place in enumerate(places)
            ]
            return await asyncio.gather(*asked, return_exceptions=True)
        finally:
            executor.close()

    answers = asyncio.run(main())
    traces.close()
    return told, answers


def graph(component: str, **options: Any) -> Graph:
    built = Graph("g", root=ROOT).input("x", "INT64", [-1])
    options = {"component": f"parts.py:{component}", "inputs": {"x": "x"}, **options}
    return built.transformer("a", **options).output("y", "a")


def test_a_node_in_a_thread_has_waited_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told, _ = recorded(monkeypatch, graph("InPlace"), [PLACES[0]])
    assert [span.name for span in told] == ["queue a", "node a"]
    queue, node = told
    assert node.parent_id == PLACES[0].span_id and queue.parent_id == node.place.span_id
    assert node.start <= queue.start <= queue.end <= node.end
    assert node.attributes == {
        "anabranch.graph": "g",
        "anabranch.node": "a",
        "anabranch.node.type": "transformer",
        HOST: socket.gethostname(),
    }


def test_components_see_their_own_span(monkeypatch: pytest.MonkeyPatch) -> None:
    told, (answer,) = recorded(monkeypatch, graph("Traced"), PLACES[:1])
    assert answer["y"].tobytes().hex() == told[-1].place.span_id


def test_only_requests_that_are_traced_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    told, answers = recorded(monkeypatch, graph("InPlace"), [None, PLACES[1], None])
    assert {span.place.trace_id for span in told} == {PLACES[1].trace_id}
    assert [answer["y"].tolist() for answer in answers] == [[1], [2], [3]]


@pytest.mark.parametrize("times", [1, 40])
def test_an_error_is_told_by_its_own_name(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """In a thread, and where it has proved fast, on the loop."""
    told, answers = recorded(monkeypatch, graph("Exit"), [PLACES[0]] * times)
    assert all(isinstance(answer, NodeError) for answer in answers)
    nodes = [span for span in told if span.name == "node a"]
    assert len(nodes) == times
    assert {span.failure.kind for span in nodes if span.failure} == {"SystemExit"}


def test_a_batch_is_linked_to_its_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    built = graph("Sleep", args={"seconds": 0.02}, batching={"max_size": 8})
    told, _ = recorded(monkeypatch, built, [PLACES[0], None, *PLACES[1:]])
    nodes = {span.place: span for span in told if span.name == "node a"}
    batches = [span for span in told if span.name == "batch a"]
    assert {place.trace_id for place in nodes} == {place.trace_id for place in PLACES}
    assert {link for batch in batches for link in batch.links} == nodes.keys()
    for batch in batches:
        assert batch.parent_id == batch.links[0].span_id
        assert all(nodes[link].links == (batch.place,) for link in batch.links)
    assert sum(int(batch.attributes["anabranch.batch.requests"]) for batch in batches) == 4
    queued = [span.parent_id for span in told if span.name == "queue a"]
    assert sorted(queued) == sorted(place.span_id for place in nodes)
