"""Seldon's protocol before components with Seldon's contract: replies as Seldon's would be.

The wrapper names the columns of whatever a method returns anew (``construct_response_json``), also
those of ``transform_input``.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from anabranch import Graph
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes
from anabranch.router.limits import RequestLimits
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.local_head import LocalHead
from tests.router.conftest import make_table
from tests.router.http.doors.test_seldon_fuzz import asked
from tests.router.seldon.graphs import seldon_app

SOURCE = """
import numpy as np
from seldon_core.metrics import create_counter, create_timer


class Scale:
    def transform_input(self, X, names, meta=None):
        return X / 10

    def tags(self):
        return {"scaled": True, "by": "scale"}


class Cats:
    def predict(self, X, names, meta=None):
        self.given = list(names)
        return np.array([[0.25, 0.75]] * len(X))

    def class_names(self):
        return ["cat", "dog"]

    def tags(self):
        return {"by": "cats", "columns": ",".join(self.given)}

    def metrics(self):
        return [create_counter("calls", 1), create_timer("took", 20.5)]


class Plain:
    def predict(self, X, names):
        return np.array([[0.5, 0.5]] * len(X))


class Words:
    def predict(self, X, names):
        return {"rows": len(X), "names": list(names)}


class Labels:
    def predict(self, X, names):
        return [{"label": "cat", "score": 0.5}]


class Rows:
    def predict(self, X, names):
        return np.array([["cat", 1], ["dog", None]], dtype=object)


class Pick:
    def route(self, X, names):
        return int(X[0, 0] * 10)


class Out:
    def transform_output(self, X, names):
        return X * 2

    def class_names(self):
        return list("ab")
"""
ROWS = [[1.0, 2.0]]


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    """Transform the input, take one of three routes or all of them, or none."""
    (tmp_path / "components.py").write_text(SOURCE)
    built = Graph("demo", root=tmp_path, protocols=["seldon"]).input("data", "FP64", [-1, -1])

    def add(kind: str, name: str, cls: str, source: str, **more: Any) -> None:
        getattr(built, kind)(
            name, component=f"components.py:{cls}", contract="seldon", inputs={"X": source}, **more
        )

    add("transformer", "scale", "Scale", "data")
    for name, cls in (("cats", "Cats"), ("plain", "Plain"), ("words", "Words")):
        add("predictor", name, cls, "scale")
    built.combiner("both", strategy="mean", inputs=["cats", "plain"])
    built.transformer("skipped", method="rename", args={"names": {"x": "output"}},
                      inputs={"x": "scale"})  # fmt: skip
    add("router", "pick", "Pick", "scale", routes=["cats", "plain", "words"], broadcast="both",
        skip="skipped")  # fmt: skip
    return built


def predicted(graph: Graph, message: Any) -> Any:
    async def main() -> Any:
        plan = graph.plan
        executor = HeadExecutor(plan, await load_nodes(plan, plan.nodes, graph.root))
        arms = Arms("demo", lambda revision: LocalHead(executor), RequestLimits())
        arms.apply(make_table(revisions={3: plan.signature}))
        try:
            body = json.dumps(message).encode()
            return await asked(seldon_app(arms)[0], "/api/v1.0/predictions", body, {})
        finally:
            executor.close()

    status, found = asyncio.run(main())
    assert status == 200, found
    found["meta"]["tags"].pop("anabranch_routing", None)
    return found


def message(first: float, names: list[str] | None = None) -> Any:
    data = {"ndarray": [[first, 2.0]]} | ({"names": names} if names else {})
    return {"data": data, "meta": {"puid": "p", "tags": {"mine": 1, "by": "me"}}}


def test_tags_names_and_metrics_of_a_model_are_in_the_reply(graph: Graph) -> None:
    assert predicted(graph.output("y", "pick"), message(0.0, ["x", "y"])) == {
        "data": {"names": ["cat", "dog"], "ndarray": [[0.25, 0.75]]},
        "meta": {
            "puid": "p",
            "tags": {"mine": 1, "scaled": True, "by": "cats", "columns": "t:0,t:1"},
            "routing": {"pick": 0},
            "requestPath": {"demo": "demo:3"},
            "metrics": [
                {"key": "calls", "type": "COUNTER", "value": 1.0},
                {"key": "took", "type": "TIMER", "value": 20.5},
            ],
        },
    }


@pytest.mark.parametrize(
    ("first", "number", "data"),
    [
        (1.0, 1, {"names": ["t:0", "t:1"], "ndarray": [[0.5, 0.5]]}),
        (-1.0, -1, {"names": ["cat", "dog"], "ndarray": [[0.375, 0.625]]}),
        (-2.0, -2, {"names": ["t:0", "t:1"], "ndarray": [[-0.2, 0.2]]}),
    ],
)
def test_every_route_has_its_number_and_its_names(
    graph: Graph, first: float, number: int, data: Any
) -> None:
    found = predicted(graph.output("y", "pick"), message(first, ["x", "y"]))
    assert found["data"] == data
    assert found["meta"]["routing"] == {"pick": number}


def test_a_dict_is_json_data(graph: Graph) -> None:
    found = predicted(graph.output("y", "pick"), message(2.0, ["x", "y"]))
    assert found["jsonData"] == {"rows": 1, "names": ["t:0", "t:1"]}
    assert found["meta"]["routing"] == {"pick": 2}


@pytest.mark.parametrize(
    ("cls", "data"),
    [
        ("Labels", {"names": ["t:0"], "ndarray": [{"label": "cat", "score": 0.5}]}),
        ("Rows", {"names": ["t:0", "t:1"], "ndarray": [["cat", 1], ["dog", None]]}),
    ],
)
def test_a_list_of_objects_or_of_several_datatypes_is_an_ndarray(
    graph: Graph, cls: str, data: Any
) -> None:
    graph.predictor("list", component=f"components.py:{cls}", contract="seldon",
                    inputs={"X": "scale"})  # fmt: skip
    assert predicted(graph.output("y", "list"), message(0.0))["data"] == data


def test_a_tensor_comes_back_through_an_output_transformer(graph: Graph) -> None:
    graph.transformer("out", component="components.py:Out", contract="seldon",
                      method="transform_output", inputs={"X": "plain"})  # fmt: skip
    sent = {"data": {"tensor": {"shape": [1, 2], "values": [1.0, 2.0]}}}
    found = predicted(graph.output("y", "out"), sent)
    tensor = {"shape": [1, 2], "values": [1.0, 1.0]}
    assert found["data"] == {"names": ["a", "b"], "tensor": tensor}
    assert found["meta"]["tags"] == {"scaled": True, "by": "scale"}
