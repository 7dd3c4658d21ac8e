"""The compiler's pass over what stands in for nodes that fail."""

from __future__ import annotations

from typing import Any

import pytest

from anabranch import Graph
from anabranch.errors import SpecError
from anabranch.graph.compile.loading import load_text

FP32 = {"output": ("FP32", [-1, 4])}


def base(**first: Any) -> Graph:
    """x → a, where ``first`` says more of a."""
    graph = Graph("g").input("x", "FP32", [-1, 4])
    return graph.transformer("a", component="c.py:C", inputs={"x": "x"}, **first)


def problems(graph: Graph) -> list[str]:
    with pytest.raises(SpecError) as caught:
        assert graph.plan
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"on_error": {"value": 0.0}},
         "spec.nodes.a.on_error.value: the type of 'a' is not known, so the constant cannot be "
         "checked: add to the node e.g. `outputs: {output: {datatype: FP32, shape: [-1, 2]}}`"),
        ({"on_error": {"value": "no"}, "outputs": FP32},
         "spec.nodes.a.on_error.value: FP32 takes numbers, not 'no'"),
        ({"on_error": {"value": [1, 2]}, "outputs": FP32},
         "spec.nodes.a.on_error.value: shape [2] is not that of FP32[-1, 4], nor [4], one row of "
         "it"),
        ({"on_error": {"value": 0.0},
          "outputs": {"p": ("FP32", [-1]), "q": ("FP32", [-1])}},
         "spec.nodes.a.on_error.value: 'a' has several outputs; one value cannot stand in"),
    ],
)  # fmt: skip
def test_a_value_must_be_of_the_node_s_type(more: dict[str, Any], message: str) -> None:
    source = "a.p" if "p" in more.get("outputs", {}) else "a"
    assert problems(base(**more).output("y", source)) == [message]


def test_a_value_may_be_of_a_type_that_was_inferred() -> None:
    graph = Graph("g").input("x", "FP32", [-1, 4]).output("y", "top")
    graph.transformer("top", method="argmax", inputs={"x": "x"}, on_error={"value": 0})
    assert graph.plan
    graph = Graph("g").input("x", "FP32", [-1, 4]).output("y", "top")
    graph.transformer("top", method="argmax", inputs={"x": "x"}, on_error={"value": 0.5})
    assert problems(graph) == ["spec.nodes.top.on_error.value: INT64 takes whole numbers, not 0.5"]


def test_a_mistake_in_a_value_has_its_place_in_the_file() -> None:
    text = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: g}
spec:
  inputs: {x: {datatype: FP32, shape: [-1]}}
  nodes:
    a:
      type: transformer
      component: c.py:C
      inputs: {x: x}
      outputs: {output: {datatype: INT8, shape: [-1]}}
      on_error:
        value: 1000
  outputs: {y: a}
"""
    with pytest.raises(SpecError) as caught:
        load_text(text, "g.yaml")
    (found,) = caught.value.problems
    assert str(found).startswith("g.yaml:14:9: spec.nodes.a.on_error.value: 1000 is no INT8")


@pytest.mark.parametrize("on_error", [{"value": [1.0]}, "skip"], ids=lambda value: str(value)[:8])
def test_a_router_has_a_stand_in_only_for_its_decision(on_error: Any) -> None:
    graph = base(outputs=FP32).router(
        "r", component="c.py:R", routes=["a"], inputs={"x": "x"}, on_error=on_error
    )
    (found,) = problems(graph.output("y", "r"))
    assert found.startswith("spec.nodes.r.on_error: a router node has the outputs of its route;")


def skipping(quorum: int | None = 1, **combiner: Any) -> Graph:
    graph = base(outputs=FP32, on_error="skip")
    options = {"strategy": "mean", **combiner}
    return graph.combiner("m", inputs=["a", "x"], quorum=quorum, **options).output("y", "m")


def test_a_combiner_with_a_quorum_may_read_what_is_left_out() -> None:
    plan = skipping().plan
    assert str(plan.output_types["y"]) == "FP32[-1, 4]"
    assert plan.warnings == ()


def test_nothing_else_may() -> None:
    told = "spec.nodes.a.on_error: `skip` leaves 'a' out, so that only nodes with a `quorum` "
    assert problems(skipping(None)) == [f"{told}may read it, but node 'm' does"]
    graph = skipping().output("z", "a")
    assert problems(graph) == [f"{told}may read it, but output 'z' does"]
    graph = skipping().transformer("t", component="c.py:C", inputs={"x": "a"}).output("z", "t")
    graph.router("r", strategy="weighted", routes={"a": 1.0}).output("w", "r")
    assert problems(graph) == [f"{told}may read it, but node 't', node 'r' do"]
    graph = skipping()
    graph.transformer("t", component="c.py:C", inputs={"x": "x"}, on_error={"use": "a"})
    assert problems(graph.output("z", "t")) == [f"{told}may read it, but node 't' does"]


def test_a_quorum_is_no_more_than_there_are_inputs() -> None:
    assert problems(skipping(3)) == ["spec.nodes.m.quorum: is 3, but 'm' has 2 inputs"]


def test_a_quorum_without_anything_to_leave_out_says_nothing() -> None:
    graph = base(outputs=FP32).combiner("m", strategy="mean", inputs=["a", "x"], quorum=1)
    assert [str(warning) for warning in graph.output("y", "m").plan.warnings] == [
        "spec.nodes.m.quorum: no input may be absent or has `on_error: skip`, so `quorum` has no "
        "effect"
    ]


def test_concat_needs_all_of_its_inputs() -> None:
    (found,) = problems(skipping(strategy="concat"))
    assert found.startswith("spec.nodes.m.quorum: concat cannot skip inputs")


@pytest.mark.parametrize(
    ("strategy", "a", "message"),
    [
        ("mean", ("FP64", [-1, 4]),
         "its output would vary: a alone gives FP64[-1, 4], x alone FP32[-1, 4]"),
        ("first", ("INT64", [-1]),
         "its output would vary: a alone gives INT64[-1], x alone FP32[-1, 4]"),
    ],
)  # fmt: skip
def test_the_type_may_not_depend_on_what_is_left(
    strategy: str, a: tuple[str, list[int]], message: str
) -> None:
    graph = base(outputs={"output": a}, on_error="skip")
    graph.combiner("m", strategy=strategy, inputs=["a", "x"], quorum=1).output("y", "m")
    assert problems(graph) == [f"spec.nodes.m.quorum: {message}"]


def test_sizes_that_depend_on_what_is_left_are_open() -> None:
    graph = base(outputs={"output": ("FP32", [-1, 3])}, on_error="skip")
    graph.combiner("m", strategy="first", inputs=["a", "x"], quorum=1).output("y", "m")
    assert str(graph.plan.output_types["y"]) == "FP32[-1, -1]"
