"""Mistakes about values that may be absent, each at its place."""

from __future__ import annotations

from typing import Any

import pytest

from anabranch import Graph
from anabranch.errors import SpecError

FP32: dict[str, Any] = {"a": ("FP32", [-1]), "b": ("FP32", [-1])}


def base(**options: Any) -> Graph:
    graph = Graph("g").input("x", "FP32", [-1]).input("m", "FP32", [-1], optional=True)
    return graph.predictor("p", component="c.py:C", inputs={"x": "x"}, **options)


def problems(graph: Graph) -> list[str]:
    """Return the mistakes; the classes themselves are not there."""
    with pytest.raises(SpecError) as caught:
        assert graph.plan
    return [str(one) for one in caught.value.problems if "c.py" not in str(one)]


def test_optional_outputs_must_be_outputs() -> None:
    graph = base(outputs=FP32, optional_outputs=["a", "bb", "a"]).output("y", "p.a")
    assert problems(graph) == [
        "spec.nodes.p.optional_outputs.1: 'p' has no output 'bb' (did you mean 'b'? available: a, "
        "b)",
        "spec.nodes.p.optional_outputs.2: is already in the list",
    ]


def test_a_quorum_of_triggers_is_bounded() -> None:
    graph = base(triggers={"sources": ["m"], "quorum": 2}).output("y", "p")
    assert problems(graph) == ["spec.nodes.p.triggers.quorum: is 2, but there is 1 source"]


def test_triggers_are_sources_and_make_no_cycle() -> None:
    graph = base(triggers={"sources": ["n", "p"]}).output("y", "p")
    unknown, itself = problems(graph)
    assert unknown.startswith(
        "spec.nodes.p.triggers.sources.0: there is no graph input or node 'n'"
    )
    assert itself == "spec.nodes.p.triggers.sources: node 'p' needs itself"


def test_built_ins_give_all_outputs_and_take_all_inputs() -> None:
    graph = Graph("g").input("x", "FP32", [-1])
    graph.transformer("s", method="scale", args={"multiply_by": 1}, inputs={"x": "x"}, quorum=1,
                      optional_outputs=["output"]).output("y", "s")  # fmt: skip
    assert problems(graph) == [
        "spec.nodes.s.optional_outputs: 'scale' leaves out no output; a `component` or a remote "
        "model may",
        "spec.nodes.s.quorum: 'scale' needs every input; a `component` or a remote model may do "
        "without",
    ]


def test_a_batch_has_one_result_for_several_requests() -> None:
    graph = base(batching={"max_size": 4}, optional_outputs=["a"]).output("y", "p.a")
    assert problems(graph) == [
        "spec.nodes.p.optional_outputs: has no meaning with `batching`: one call answers several "
        "requests; remove one of the two"
    ]


def test_what_has_no_answer_cannot_be_explained() -> None:
    graph = Graph("g").input("x", "FP32", [-1, 2])
    graph.predictor("p", component="c.py:C", inputs={"x": "x"}, optional_outputs=["output"])
    graph.explainer("e", component="c.py:E", explains="p").output("y", "p")
    assert problems(graph) == [
        "spec.nodes.e.explains: 'p' gives no answer to some requests, so that it cannot be "
        "explained"
    ]
    graph = Graph("g").input("x", "FP32", [-1, 2]).input("m", "FP32", [-1, 2], optional=True)
    graph.predictor("p", component="c.py:C", inputs={"x": "x", "m": "m"}, quorum=1)
    graph.explainer("e", component="c.py:E", explains="p").output("y", "p")
    assert problems(graph) == [
        "spec.nodes.e: depends on input 'm', which is optional; explainers need every input"
    ]


def test_the_plan_knows_what_may_be_absent() -> None:
    graph = Graph("g").input("x", "FP32", [-1]).input("m", "FP32", [-1], optional=True)
    graph.transformer("s", method="scale", args={"multiply_by": 1}, inputs={"x": "m"})
    graph.transformer("t", method="scale", args={"multiply_by": 1}, inputs={"x": "x"})
    graph.combiner("f", strategy="first", inputs=["s", "t"], quorum=1)
    graph.combiner("g", strategy="first", inputs=["s", "t"], quorum=2)
    graph.router("r", strategy="weighted", routes={"s": 1, "t": 1})
    graph.transformer("u", method="scale", args={"multiply_by": 1}, inputs={"x": "x"},
                      triggers={"sources": ["s", "x"], "quorum": 1})  # fmt: skip
    graph.transformer("v", method="scale", args={"multiply_by": 1}, inputs={"x": "x"},
                      triggers={"sources": ["s", "x"]})  # fmt: skip
    for name in "fgruv":
        graph.output(name, name)
    plan = graph.plan
    assert {name for name, node in plan.nodes.items() if node.is_conditional} == {*"sgrv"}
