"""Rewards of Seldon's clients on their way to components with Seldon's contract, and back."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from anabranch import Graph
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.local_head import LocalHead
from tests.router.grpc.test_seldon import served
from tests.router.http.doors.test_seldon import PLACE, answered, failed, predict
from tests.router.seldon.graphs import seldon_app, seldon_arms
from tests.router.traffic.test_feedback import Source
from tests.waiting import until

SOURCE = '''
import numpy as np
from seldon_core.metrics import create_timer
from seldon_core.user_model import SeldonComponent, SeldonResponse

LOG = []


class Greedy(SeldonComponent):
    """Goes to the branch with the best reward so far."""

    def __init__(self, n_branches=2):
        self.best = [0.0] * n_branches

    def route(self, features, feature_names):
        return int(np.argmax(self.best))

    def send_feedback(self, features, feature_names, reward, truth, routing=None):
        LOG.append((features.tolist(), feature_names, reward, truth.tolist(), routing))
        self.best[routing] += reward


class Model(SeldonComponent):
    def __init__(self, by):
        self.by = by

    def predict(self, X, names, meta=None):
        return SeldonResponse(X * self.by, {"by": self.by}, [create_timer("took", 20.0)])

    def class_names(self):
        return [f"times {self.by}"] * 2

    def send_feedback(self, features, feature_names, reward, truth, routing=None):
        LOG.append((self.by, routing))


class Text:
    def predict(self, X, names):
        return {"kind": type(X).__name__, "text": str(X)}
'''
ROWS = {"data": {"names": ["a", "b"], "ndarray": [[1.0, 2.0]]}, "meta": {"puid": "7"}}


def graph_of(root: Path) -> Graph:
    graph = Graph("demo", root=root).input("x", "FP64", [-1, 2])
    for name, by in (("one", 1), ("ten", 10)):
        graph.predictor(name, component="m.py:Model", contract="seldon", args={"by": by},
                        inputs={"X": "x"})  # fmt: skip
    graph.router("choose", component="m.py:Greedy", contract="seldon", routes=["one", "ten"],
                 inputs={"X": "x"})  # fmt: skip
    return graph.output("y", "choose")


@pytest.fixture
def arms(tmp_path: Path) -> Callable[..., tuple[Arms, Any]]:
    """Load a graph; return its arms, and a function that gives what its components noted."""
    (tmp_path / "m.py").write_text(SOURCE)

    def make(graph: Graph | None = None, **fields: Any) -> tuple[Arms, Any]:
        graph = graph or graph_of(tmp_path)
        bound = asyncio.run(load_nodes(graph.plan, graph.plan.nodes, tmp_path))
        head = LocalHead(HeadExecutor(graph.plan, bound))
        signature = graph.plan.signature
        found = seldon_arms(
            heads={3: head},  # type: ignore[dict-item]
            routers=signature.routers, sources=signature.sources, **fields,
        )  # fmt: skip
        component = next(iter(bound.values())).instance.component
        return found, vars(sys.modules[type(component).__module__])["LOG"]

    return make


def test_a_bandit_learns_from_the_feedback_of_its_clients(arms: Any, serve: Any) -> None:
    found, log = arms()
    url = serve(seldon_app(found)[0])
    first = answered(predict(url, ROWS))
    assert first["data"] == {"names": ["times 1", "times 1"], "ndarray": [[1.0, 2.0]]}
    assert first["meta"]["routing"] == {"choose": 0}
    assert first["meta"]["tags"]["by"] == 1
    assert first["meta"]["metrics"] == [{"key": "took", "type": "TIMER", "value": 20.0}]
    feedback = {"request": ROWS, "response": first, "reward": -0.5,
                "truth": {"data": {"ndarray": [1]}}}  # fmt: skip
    told = answered(httpx.post(f"{url}{PLACE}/feedback", json=feedback))
    assert told["meta"]["tags"]["counted"] is True
    until(lambda: len(log) == 2)
    assert ([[1.0, 2.0]], ["a", "b"], -0.5, [1], 0) in log
    assert (1, None) in log  # the route that was taken, and not the other
    second = answered(predict(url, ROWS))
    assert second["meta"]["routing"] == {"choose": 1}
    assert second["data"]["ndarray"] == [[10.0, 20.0]]


def test_the_same_over_grpc(arms: Any) -> None:
    found, log = arms()

    async def main() -> None:
        async with served(found, Source()) as stub:
            request = {"data": {"names": ["a", "b"], "tensor": {"shape": [1, 2], "values": [1, 2]}}}
            response = await stub("Predict", request)
            response.pop("trailer")
            await stub("SendFeedback", {"request": request, "response": response, "reward": 0.5})
            await asyncio.to_thread(until, lambda: len(log) == 2)  # nobody waits for components

    asyncio.run(main())
    assert ([[1.0, 2.0]], ["a", "b"], 0.5, [], 0) in log


@pytest.mark.parametrize(
    ("request_", "status"),
    [({}, 200), (None, 200), ({"meta": {}}, 200), ({"data": {"ndarray": [["a"]]}}, 400), (5, 400)],
)
def test_feedback_may_leave_out_the_request_but_not_garble_it(
    arms: Any, serve: Any, request_: Any, status: int
) -> None:
    found, log = arms()
    url = serve(seldon_app(found)[0])
    response = answered(predict(url, ROWS))
    feedback = {"request": request_, "response": response, "reward": 1.0}
    reply = httpx.post(f"{url}{PLACE}/feedback", json=feedback)
    if status == 200:
        answered(reply)
        until(lambda: len(log) == 2)
        assert ([], [], 1.0, [], 0) in log
    else:
        failed(reply, status)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"strData": "hello"}, "str"),
        ({"jsonData": {"a": 1}}, "dict"),
        ({"binData": "/w=="}, "bytes"),
    ],
)
def test_texts_bytes_and_documents_reach_a_component_as_such(
    arms: Any, serve: Any, tmp_path: Path, message: Any, kind: str
) -> None:
    content = "raw" if kind == "bytes" else "text"
    graph = Graph("demo", root=tmp_path).input("x", "BYTES", [], content)  # type: ignore[arg-type]
    graph.predictor("m", component="m.py:Text", contract="seldon", inputs={"X": "x"})
    found, _ = arms(graph.output("y", "m"), inputs={"x": ("BYTES", ())}, content=content)
    answer = answered(predict(serve(seldon_app(found)[0]), message))
    assert answer["jsonData"]["kind"] == kind


def test_rewards_without_a_router_reach_a_model(arms: Any, serve: Any, tmp_path: Path) -> None:
    graph = Graph("demo", root=tmp_path).input("x", "FP64", [-1, 2])
    graph.predictor("m", component="m.py:Model", contract="seldon", args={"by": 2},
                    inputs={"X": "x"})  # fmt: skip
    found, log = arms(graph.output("y", "m"))
    url = serve(seldon_app(found)[0])
    response = answered(predict(url, ROWS))
    told = answered(httpx.post(f"{url}{PLACE}/feedback", json={"response": response, "reward": 1}))
    assert told["meta"]["tags"]["counted"] is True
    until(lambda: log == [(2, None)])
