"""Graphs in which routers learn: how they compile, and what they do without an engine."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from anabranch import Graph
from anabranch.components.bandits import Thompson
from anabranch.errors import SpecError
from anabranch.graph.compile.loading import load_data
from anabranch.graph.plan.learners import learners
from anabranch.graph.plan.plan import Plan

X = {"inputs": {"x": "x"}}


def compiled(strategy: str, more: dict[str, Any] | None = None, **fields: Any) -> Plan:
    pick = {"type": "router", "strategy": strategy, "routes": ["a", "b"], **fields}
    nodes = {
        "a": {"type": "transformer", "method": "scale", "args": {"multiply_by": 1.0}, **X},
        "b": {"type": "transformer", "method": "scale", "args": {"multiply_by": 2.0}, **X},
        "pick": pick,
        **(more or {}),
    }
    return load_data(
        {
            "apiVersion": "anabranch/v1",
            "kind": "InferenceGraph",
            "metadata": {"name": "g"},
            "spec": {
                "inputs": {"x": {"datatype": "FP32", "shape": [-1, 2]}},
                "nodes": nodes,
                "outputs": {name: name for name in ("pick", *(more or {}))},
            },
        }
    ).plan


def problems(strategy: str, more: dict[str, Any] | None = None, **fields: Any) -> list[str]:
    with pytest.raises(SpecError) as found:
        compiled(strategy, more, **fields)
    return [str(problem) for problem in found.value.problems]


def test_the_features_are_those_of_the_inputs() -> None:
    found = learners(compiled("linucb", **X))["pick"]
    assert found.size == 2
    assert found.key.startswith("linear-2-")
    assert learners(compiled("thompson"))["pick"].size == 0
    assert learners(compiled("weighted")) == {}


def test_a_router_that_learns_gives_what_its_routes_give() -> None:
    assert str(compiled("linucb", **X).output_types["pick"]) == "FP32[-1, 2]"


def test_features_that_the_types_do_not_fit_are_told() -> None:
    (problem,) = problems("linucb", args={"features": 3}, **X)
    assert problem.startswith("spec.nodes.pick: args.features is 3, but the inputs have 2 numbers")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("resources", {"cpu": 1}),
        ("scaling", {"replicas": 2}),
        ("placement", {"isolate": True}),
    ],
)
def test_what_learns_runs_in_the_head(field: str, value: dict[str, Any]) -> None:
    assert problems("ucb1", **{field: value}) == [
        f"spec.nodes.pick.{field}: 'pick' learns from rewards, and so runs in the head: "
        f"remove `{field}`"
    ]


def test_nothing_may_draw_it_out_of_the_head() -> None:
    other = {
        "type": "transformer", "method": "scale", "args": {"multiply_by": 1.0}, **X,
        "resources": {"cpu": 1}, "placement": {"with": "pick"},
    }  # fmt: skip
    assert problems("ucb1", {"other": other}) == [
        "spec.nodes.pick: 'pick' learns from rewards, and so runs in the head: "
        "other must not be tied to it"
    ]
    in_head = {name: value for name, value in other.items() if name != "resources"}
    assert len(compiled("ucb1", {"other": in_head}).segments) == 1


def test_without_an_engine_it_goes_by_its_priors() -> None:
    graph = Graph("g").input("x", "FP32", [-1, 2])
    for name, factor in (("a", 1.0), ("b", 2.0)):
        graph.transformer(name, method="scale", args={"multiply_by": factor}, inputs={"x": "x"})
    prior = {"b": {"alpha": 5.0, "beta": 1.0}}
    args = {"seed": 1, "prior": prior}
    graph.router("pick", strategy="thompson", routes=["a", "b"], args=args)
    graph.output("y", "pick")
    x = np.ones((1, 2), np.float32)
    counts = Counter(float(graph.run({"x": x})["y"][0, 0]) for _ in range(200))
    learner = learners(graph.plan)["pick"]
    assert isinstance(learner.bandit, Thompson)
    share = learner.bandit.standings(learner.empty)["b"].share
    assert share is not None
    assert counts[2.0] / 200 == pytest.approx(share, abs=0.1)
