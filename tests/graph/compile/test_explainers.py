"""Explainers in a plan: what is refused, what they receive, and where their model is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from anabranch.components import registry
from anabranch.errors import SpecError
from anabranch.graph.compile.explainers import explained_part
from anabranch.graph.compile.loading import load_data
from anabranch.graph.plan.plan import Plan
from anabranch.graph.plan.vertices import shared
from anabranch.specs.models import NodeBase

HERE = "tests.graph.explainers"


def node(component: str, source: str = "x", **fields: Any) -> dict[str, Any]:
    inputs = {"x": source}
    return {
        "type": "transformer", "component": f"{HERE}:{component}", "inputs": inputs, **fields,
    }  # fmt: skip


def why(component: str = "Why", **fields: Any) -> dict[str, Any]:
    return {"type": "explainer", "component": f"{HERE}:{component}", **fields}


def plan_of(output: str = "b", **nodes: Any) -> Plan:
    """A graph of two steps and what is given, whose output is that of the second."""
    nodes = {"a": node("Times"), "b": node("Times", "a"), **nodes}
    spec = {
        "inputs": {"x": {"datatype": "FP32", "shape": [-1, 2]}},
        "nodes": nodes,
        "outputs": {"y": output},
    }
    graph = {"apiVersion": "anabranch/v1", "kind": "InferenceGraph", "spec": spec}
    return load_data({**graph, "metadata": {"name": "g"}}).plan


def mistakes(**nodes: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        plan_of(**nodes)
    return [str(problem) for problem in caught.value.problems]


@pytest.fixture
def methods() -> Iterator[None]:
    """Two methods: one that looks into predictors alone, one for anything."""

    @registry.register("explainer", "inner")
    class Inner:
        looks_inside = True

        @staticmethod
        def fits(explained: NodeBase | None) -> str | None:
            is_good = getattr(explained, "type", None) == "predictor"
            return None if is_good else "it has no gradients"

    @registry.register("explainer", "outer")
    class Outer:
        pass

    assert Inner and Outer
    yield
    for name in ("inner", "outer"):
        del registry._KINDS["explainer"][name]


@pytest.mark.usefixtures("methods")
def test_a_method_that_does_not_fit_is_a_mistake_that_names_those_that_do() -> None:
    (said,) = mistakes(w={"type": "explainer", "method": "inner", "explains": "b"})
    assert said.startswith(
        "spec.nodes.w.method: inner cannot explain 'b': it has no gradients; methods that can: "
    )
    assert "outer" in said.partition("methods that can:")[2]
    assert "inner" not in said.partition("methods that can:")[2]
    (whole,) = mistakes(w={"type": "explainer", "method": "inner"})
    assert "inner cannot explain the whole graph: it has no gradients" in whole


@pytest.mark.usefixtures("methods")
def test_a_method_that_looks_inside_needs_a_copy() -> None:
    predictor = {"type": "predictor", "component": f"{HERE}:Times", "inputs": {"x": "x"}}
    fine = {"type": "explainer", "method": "inner", "explains": "p"}
    (said,) = mistakes(p={**predictor, "scaling": {"replicas": 2}}, w={**fine, "colocate": False})
    assert said.startswith("spec.nodes.w.colocate: method inner reads the model")
    plan = plan_of(p={**predictor, "scaling": {"replicas": 2}}, w=fine)
    assert explained_part(plan, "w").copied == ("p",)


@pytest.mark.usefixtures("methods")
def test_the_inputs_of_a_method_are_named_as_those_of_the_model() -> None:
    explainer = {"type": "explainer", "method": "outer", "explains": "b"}
    (said,) = mistakes(w={**explainer, "inputs": {"z": "a"}})
    assert said.startswith("spec.nodes.w.inputs: method outer calls the model")
    assert plan_of(w={**explainer, "inputs": {"x": "a"}})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("retries", 2),
        ("idempotent", True),
        ("on_error", "skip"),
        ("outputs", {"o": {"datatype": "FP32", "shape": [-1]}}),
    ],
)
def test_fields_that_say_nothing_are_mistakes(field: str, value: Any) -> None:
    more = {"idempotent": True} if field == "retries" else {}
    said = mistakes(w=why(explains="b", **{field: value}, **more))
    assert f"spec.nodes.w.{field}: has no meaning here" in "\n".join(said)


def test_an_explainer_shares_no_process() -> None:
    said = mistakes(w=why(explains="b", placement={"with": "b"}))
    text = "spec.nodes.w.placement.with: explainer 'w' always has a process of its own"
    assert any(one.startswith(text) for one in said)
    said = mistakes(w=why(explains="b"), b=node("Times", "a", placement={"with": "w"}))
    assert any(one.startswith("spec.nodes.b.placement.with: ") for one in said)


def test_inputs_of_one_source_cannot_be_varied_by_themselves() -> None:
    both = {"type": "transformer", "component": f"{HERE}:Add", "inputs": {"a": "a", "b": "a"}}
    (said,) = mistakes(c=both, w=why(explains="c"))
    assert "inputs 'a' and 'b' of 'c' are both a" in said
    assert "explain the whole graph" in said


def test_an_explainer_without_inputs_receives_what_the_model_takes() -> None:
    plan = plan_of(w=why(explains="b"), v=why())
    assert {key: str(ref) for key, ref in plan.nodes["w"].inputs.items()} == {"x": "a"}
    assert {key: str(ref) for key, ref in plan.nodes["v"].inputs.items()} == {"x": "x"}


def test_explainers_are_on_no_critical_path() -> None:
    plan = plan_of(w=why(explains="b"))
    assert plan.critical_path_hops == 0
    assert [part.name for part in plan.segments] == ["head", "w"]


REMOTE = {"scaling": {"replicas": 2}}


@pytest.mark.parametrize(
    ("nodes", "copied", "called", "remote"),
    [
        # All in the head: what leads to the node, and the node.
        ({"w": why(explains="b")}, ("a", "b"), (), None),
        # The node has a deployment: it is called there, and what leads to it is copied.
        ({"b": node("Times", "a", **REMOTE), "w": why(explains="b")}, ("a",), ("b",), "b"),
        # Unless a copy is asked for.
        (
            {"b": node("Times", "a", **REMOTE), "w": why(explains="b", colocate=True)},
            ("a", "b"), (), None,
        ),
        # What leads to it has a deployment.
        ({"a": node("Times", **REMOTE), "w": why(explains="b")}, ("b",), ("a",), None),
        # The whole graph: a copy of the head, and calls.
        ({"b": node("Times", "a", **REMOTE), "w": why()}, ("a",), ("b",), None),
        ({"b": node("Times", "a", **REMOTE), "w": why(colocate=True)}, ("a", "b"), (), None),
    ],
)  # fmt: skip
def test_where_the_model_is(
    nodes: dict[str, Any], copied: tuple[str, ...], called: tuple[str, ...], remote: str | None
) -> None:
    found = explained_part(plan_of(**nodes), "w")
    assert (found.copied, found.called, found.remote) == (copied, called, remote)


def test_a_router_is_explained_with_all_that_leads_to_its_routes() -> None:
    nodes = {
        "c": node("Times"),
        "pick": {"type": "router", "strategy": "weighted", "routes": {"b": 1, "c": 1}},
        "w": why(explains="pick"),
    }
    plan = plan_of(output="pick", **nodes)
    found = explained_part(plan, "w")
    assert set(found.copied) == {"a", "b", "c", "pick"}
    assert [str(ref) for ref in found.takes.values()] == ["x"]


def test_copies_are_asked_without_batching_and_stand_ins() -> None:
    nodes = {
        "b": node("Times", "a", batching={"max_size": 8}, on_error={"use": "a"}),
        "w": why(explains="b"),
    }
    found = explained_part(plan_of(**nodes), "w")
    copy = found.plan.nodes["b"]
    assert (copy.spec.batching, copy.spec.on_error, copy.fallback) == (None, "fail", None)


def test_explainers_do_not_make_a_value_shared() -> None:
    assert not shared(plan_of(w=why(explains="b")), "a")
