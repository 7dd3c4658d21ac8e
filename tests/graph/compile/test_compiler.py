"""The passes: what they refuse, with which words, and what they plan."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch import Graph
from anabranch.errors import SpecError
from anabranch.graph.compile.loading import load_text
from anabranch.graph.plan.plan import Plan
from anabranch.specs.models import Placement, Scaling

X = {"x": "x"}


def base() -> Graph:
    return Graph("g").input("x", "FP32", [-1, 4])


def step(graph: Graph, name: str, source: str = "x", **options: Any) -> Graph:
    return graph.transformer(name, component="c.py:C", inputs={"x": source}, **options)


def problems(graph: Graph) -> list[str]:
    with pytest.raises(SpecError) as caught:
        assert graph.plan
    return [str(problem) for problem in caught.value.problems]


def segments(plan: Plan) -> dict[str, tuple[str, ...]]:
    return {segment.name: segment.nodes for segment in plan.segments}


def test_a_light_graph_is_one_segment_without_hops() -> None:
    graph = step(step(step(base(), "a"), "b", "a"), "c", "b").output("y", "c")
    assert segments(graph.plan) == {"head": ("a", "b", "c")}
    assert graph.plan.critical_path_hops == 0


def test_a_node_with_resources_costs_one_hop_and_leaves_the_rest_in_the_head() -> None:
    graph = step(step(step(base(), "a"), "b", "a", resources={"cpu": 1.0}), "c", "b")
    plan = graph.output("y", "c").plan
    assert segments(plan) == {"head": ("a", "c"), "b": ("b",)}
    assert plan.critical_path_hops == 1


@pytest.mark.parametrize(
    "options",
    [
        {"resources": {"gpu": 0.5}},
        {"resources": {"custom": {"licence": 1}}},
        {"scaling": {"replicas": 2}},
        {"placement": {"isolate": True}},
        {"placement": {"labels": {"zone": "a"}}},
        {"placement": {"node_affinity": "worker"}},
        {"placement": {"spread": "node"}},
    ],
)
def test_each_way_to_ask_for_a_process(options: dict[str, Any]) -> None:
    plan = step(step(base(), "a"), "b", "a", **options).output("y", "b").plan
    assert segments(plan) == {"head": ("a",), "b": ("b",)}


def test_the_scaling_of_the_graph_is_that_of_its_head() -> None:
    graph = Graph("g", scaling={"replicas": 3}).input("x", "FP32", [-1, 4])
    step(step(graph, "a"), "b", "a", scaling={"replicas": 2}).output("y", "b")
    found = {segment.name: segment.scaling for segment in graph.plan.segments}
    assert found == {"head": Scaling(replicas=3), "b": Scaling(replicas=2)}
    assert step(base(), "a").output("y", "a").plan.head.scaling is None


def test_hops_count_one_after_the_other_not_side_by_side() -> None:
    graph = base()
    for name in ("a", "b"):
        step(graph, name, resources={"cpu": 1.0})
    graph.combiner("both", strategy="mean", inputs=["a", "b"]).output("y", "both")
    assert graph.plan.critical_path_hops == 1
    step(graph, "c", "both", resources={"cpu": 1.0}).output("z", "c")
    assert graph.plan.critical_path_hops == 2


def test_tied_nodes_share_a_segment_and_add_their_resources() -> None:
    graph = step(base(), "a", resources={"cpu": 1.0, "memory": "1GiB"})
    step(graph, "b", "a", resources={"cpu": 0.5, "memory": "512MiB"}, placement={"with": "a"})
    plan = graph.output("y", "b").plan
    assert segments(plan) == {"head": (), "a": ("a", "b")}
    found = plan.segment("a").resources
    assert found is not None
    assert (found.cpu, str(found.memory)) == (1.5, "1536MiB")
    assert plan.critical_path_hops == 1


def test_tied_nodes_add_their_custom_resources() -> None:
    graph = step(base(), "a", resources={"custom": {"licence": 0.1, "fpga": 2}})
    step(graph, "b", "a", resources={"custom": {"licence": 0.2}}, placement={"with": "a"})
    found = graph.output("y", "b").plan.segment("a").resources
    assert found is not None
    assert found.custom == {"licence": 0.3, "fpga": 2}


def test_the_sum_of_a_segment_may_be_beyond_the_bounds_of_a_node() -> None:
    graph = step(base(), "a", resources={"cpu": 4096, "custom": {"licence": 1_000_000}})
    other = {"resources": {"cpu": 4096, "custom": {"licence": 1}}, "placement": {"with": "a"}}
    found = step(graph, "b", "a", **other).output("y", "b").plan.segment("a").resources
    assert found is not None
    assert (found.cpu, found.custom) == (8192, {"licence": 1_000_001})


def test_a_segment_is_where_all_of_its_nodes_may_be() -> None:
    graph = step(base(), "a", placement={"labels": {"zone": "!c", "disk": "ssd"}})
    tied = {"with": "a", "labels": {"zone": "!c", "rack": "in(1, 2)"}, "spread": "node"}
    plan = step(graph, "b", "a", placement=tied).output("y", "b").plan
    assert plan.segment("a").placement == Placement(
        labels={"zone": "!c", "disk": "ssd", "rack": "in(1, 2)"}, spread="node"
    )
    assert plan.head.placement is None


def test_the_machines_of_the_graph_are_those_of_its_head() -> None:
    graph = Graph("g", placement={"labels": {"zone": "a"}}).input("x", "FP32", [-1, 4])
    step(step(graph, "a"), "b", "a", placement={"node_affinity": "worker"}).output("y", "b")
    found = {segment.name: segment.placement for segment in graph.plan.segments}
    assert found == {
        "head": Placement(labels={"zone": "a"}),
        "b": Placement(node_affinity="worker"),
    }
    assert load_text(graph.to_yaml()).plan == graph.plan


def test_ties_between_light_nodes_leave_them_in_the_head() -> None:
    plan = step(step(base(), "a"), "b", "a", placement={"with": "a"}).output("y", "b").plan
    assert segments(plan) == {"head": ("a", "b")}


def test_a_segment_must_be_convex() -> None:
    graph = step(step(base(), "a", resources={"cpu": 1.0}), "between", "a")
    step(graph, "b", "between", placement={"with": "a"}).output("y", "b")
    assert problems(graph) == [
        "spec.nodes.b.placement: a, b cannot share a process: "
        "a path leaves it and comes back: a → between → b; "
        "give between `placement: {with: a}` too, or remove `with`"
    ]


def test_two_segments_cannot_each_need_the_other() -> None:
    graph = step(step(base(), "a", resources={"cpu": 1.0}), "b", resources={"cpu": 1.0})
    step(graph, "after_a", "a", placement={"with": "b"})
    step(graph, "after_b", "b", placement={"with": "a"})
    assert problems(graph.output("y", "after_a").output("z", "after_b")) == [
        "spec.nodes.after_b.placement: a, after_b cannot share a process where b, after_a do: "
        "each of these segments would have to be called before the other"
    ]


def test_a_router_elsewhere_has_its_triggers_before_it_decides() -> None:
    graph = step(step(step(base(), "a", resources={"cpu": 1.0}), "between", "a"), "b")
    graph.router("pick", component="c.py:R", routes=["b"], placement={"with": "a"},
                 triggers={"sources": ["between"]}).output("y", "pick")  # fmt: skip
    assert problems(graph) == [
        "spec.nodes.pick.placement: a, pick cannot share a process: a path leaves it and comes "
        "back: a → between → pick; give between `placement: {with: a}` too, or remove `with`"
    ]


def test_a_router_elsewhere_is_joined_in_the_head() -> None:
    graph = step(step(base(), "a"), "b")
    graph.router("pick", component="c.py:R", routes=["a", "b"], resources={"cpu": 1.0})
    step(graph, "after", "pick", placement={"with": "pick"}).output("y", "after")
    assert problems(graph) == [
        "spec.nodes.after.placement: pick, after cannot share a process: a path leaves it and "
        "comes back: pick (joined in the head) → after; remove `with`"
    ]


def test_nodes_of_a_process_have_memory_together() -> None:
    graph = step(base(), "a", resources={"gpu": 0.25, "gpu_memory": "2GiB", "memory": "1GiB"})
    tied = {"with": "a"}
    resources = {"gpu": 0.5, "gpu_memory": "3GiB"}
    step(graph, "b", "a", placement=tied, resources=resources).output("y", "b")
    found = graph.plan.segments[1].resources
    assert found is not None
    assert (str(found.gpu_memory), str(found.memory), found.gpu) == ("5GiB", "1GiB", 0.75)


def test_a_schedule_is_the_scaling_of_a_segment() -> None:
    scaling = {"max": 3, "schedule": [{"cron": "0 8 * * *", "for": "1h", "min": 2}]}
    graph = step(base(), "a", scaling=scaling)
    step(graph, "b", "a", placement={"with": "a"}, scaling=scaling).output("y", "b")
    found = graph.plan.segments[1].scaling
    assert found is not None and [peak.min for peak in found.schedule or ()] == [2]


@pytest.mark.parametrize(
    ("left", "right", "words"),
    [
        (
            {"resources": {"gpu": 1.0, "accelerator": "H100"}},
            {"resources": {"gpu": 1.0, "accelerator": "A100"}},
            "one process, two accelerators: a wants H100, b wants A100",
        ),
        (
            {"scaling": {"replicas": 1}},
            {"scaling": {"replicas": 2}},
            "'a' and 'b' share a process but scale differently",
        ),
        ({"placement": {"isolate": True}}, {}, "'a' is isolated, yet tied to b"),
        (
            {"placement": {"node_affinity": "one"}},
            {"placement": {"node_affinity": "two"}},
            "spec.nodes.b.placement.node_affinity: is 'two', but "
            "spec.nodes.a.placement.node_affinity is 'one', and 'b' and 'a' share a process",
        ),
        (
            {"placement": {"labels": {"zone": "north"}}},
            {"placement": {"labels": {"zone": "!north"}}},
            "spec.nodes.b.placement.labels.zone: is '!north', but "
            "spec.nodes.a.placement.labels.zone is 'north'",
        ),
        (
            {"placement": {"node_affinity": "one"}},
            {"placement": {"spread": "node"}},
            "spec.nodes.b.placement.spread: replicas that each need a machine cannot all be on "
            "that of spec.nodes.a.placement.node_affinity; keep one of the two",
        ),
        (
            {"resources": {"gpu": 0.5}},
            {"resources": {"gpu": 1}},
            "spec.nodes.b.resources.gpu: a, b ask for 1.5 gpu; above 1, only whole numbers",
        ),
        (
            {"resources": {"custom": {"licence": 1.5}}},
            {},
            "spec.nodes.a.resources.custom.licence: a asks for 1.5 licence; above 1, only whole",
        ),
        (
            {"resources": {"cpu": 1.0}, "on_error": {"use": "x"}},
            {},
            "'a' shares a process with other nodes, where a stand-in is out of reach",
        ),
    ],
)
def test_tied_nodes_that_contradict_each_other(
    left: dict[str, Any], right: dict[str, Any], words: str
) -> None:
    graph = step(base(), "a", **left)
    tied = {**right, "placement": {"with": "a", **right.get("placement", {})}}
    step(graph, "b", "a", **tied).output("y", "b")
    (found,) = problems(graph)
    assert words in found


PLACEMENTS = st.fixed_dictionaries(
    {},
    optional={
        "labels": st.dictionaries(
            st.sampled_from(["zone", "disk"]), st.sampled_from(["a", "!a"]), min_size=1
        ),
        "node_affinity": st.sampled_from(["one", "two"]),
        "spread": st.just("node"),
    },
)


@given(PLACEMENTS, PLACEMENTS)
def test_tied_nodes_have_a_machine_for_both_or_are_told_of_both(
    left: dict[str, Any], right: dict[str, Any]
) -> None:
    graph = step(base(), "a", placement={"isolate": False, **left})
    step(graph, "b", "a", placement={"with": "a", **right}).output("y", "b")
    pairs = [_pairs(left), _pairs(right)]
    both = pairs[0] | pairs[1]
    clashing = {path for path in pairs[0].keys() & pairs[1] if pairs[0][path] != pairs[1][path]}
    if not clashing and not both.keys() >= {"spread", "node_affinity"}:
        found = graph.plan.segments[-1].placement
        assert (_pairs(found.model_dump(exclude_none=True)) if found else {}) == both
        return
    found_problems = problems(graph)
    assert all(
        "spec.nodes.a.placement." in text or "spec.nodes.b" in text for text in found_problems
    )
    assert len(found_problems) == len(clashing) + (both.keys() >= {"spread", "node_affinity"})


def _pairs(placement: dict[str, Any]) -> dict[str, str]:
    labels = {f"labels.{key}": value for key, value in placement.get("labels", {}).items()}
    return labels | {key: value for key, value in placement.items() if key != "labels"}


def test_cycles_are_shown_once_for_each_tangle() -> None:
    graph = step(step(step(base(), "a", "c"), "b", "a"), "c", "b")
    step(graph, "self", "self").output("y", "c").output("z", "self")
    assert problems(graph) == [
        "spec.nodes.a.inputs.x: the nodes form a cycle: a → b → c → a",
        "spec.nodes.self.inputs.x: node 'self' needs itself",
    ]


def test_a_cycle_through_a_route_and_one_through_a_stand_in() -> None:
    graph = step(base(), "a", "pick").router("pick", component="c.py:R", routes=["a"])
    step(graph, "b", on_error={"use": "c"})
    step(graph, "c", "b").output("y", "pick").output("z", "c")
    assert problems(graph) == [
        "spec.nodes.a.inputs.x: the nodes form a cycle: a → pick → a",
        "spec.nodes.b.on_error.use: the nodes form a cycle: b → c → b",
    ]


def test_unknown_names_say_what_was_meant() -> None:
    graph = step(base(), "scale", "y").output("y", "scal")
    found = problems(graph)
    assert found[0].startswith("spec.nodes.scale.inputs.x: there is no graph input or node 'y'")
    assert found[1].startswith(
        "spec.outputs.y: there is no graph input or node 'scal' (did you mean 'scale'?"
    )


def test_fields_that_take_a_node_refuse_inputs_and_the_node_itself() -> None:
    graph = step(base(), "a", placement={"with": "x"})
    graph.router("pick", component="c.py:R", routes=["pick", "nowhere", "x"]).output("y", "pick")
    graph.output("z", "a")
    found = "\n".join(problems(graph))
    assert "spec.nodes.a.placement.with: 'x' is a graph input; this field takes a node" in found
    assert "spec.nodes.pick.routes.0: node 'pick' names itself" in found
    assert "spec.nodes.pick.routes.1: there is no node 'nowhere'" in found
    assert "spec.nodes.pick.routes.2: 'x' is a graph input" in found


def test_outputs_that_a_node_does_not_have() -> None:
    outputs = {"left": ("FP32", [-1]), "right": ("FP32", [-1])}
    graph = step(base(), "a", outputs=outputs).output("y", "a").output("z", "a.lef")
    graph.output("w", "x.y")
    found = problems(graph)
    assert "spec.outputs.y: 'a' has several outputs; name one of: a.left, a.right" in found
    assert any("'a' has no output 'lef' (did you mean 'left'?" in text for text in found)
    assert "spec.outputs.w: 'x' is a graph input, which has no outputs; write 'x'" in found


def test_conflicting_types_are_shown_with_their_whole_path() -> None:
    graph = step(base(), "a", outputs={"output": ("FP32", [-1, 3])})
    step(graph, "b", outputs={"output": ("FP32", [-1, 5])})
    graph.combiner("mean", strategy="mean", inputs=["a", "b"]).output("y", "mean")
    (found,) = problems(graph)
    assert found.startswith("spec.nodes.mean: ")
    assert "x → a: FP32[-1, 3]; x → b: FP32[-1, 5]" in found


def test_routes_must_return_the_same_type() -> None:
    graph = step(base(), "a", outputs={"output": ("FP32", [-1, 3])})
    step(graph, "b", outputs={"label": ("INT64", [-1])})
    graph.router("pick", strategy="weighted", routes={"a": 1.0, "b": 1.0}).output("y", "pick")
    (found,) = problems(graph)
    assert "routes 'a' and 'b' return different types" in found
    assert "x → a: FP32[-1, 3]; x → b: INT64[-1]" in found


def test_a_stand_in_must_be_of_the_same_type() -> None:
    graph = step(base(), "a", outputs={"output": ("INT64", [-1])}, on_error={"use": "x"})
    (found,) = problems(graph.output("y", "a"))
    assert found == "spec.nodes.a.on_error.use: x is FP32[-1, 4], but 'a' returns INT64[-1]"


def test_declared_outputs_are_held_against_what_a_built_in_returns() -> None:
    graph = base().transformer("top", method="argmax", inputs=X, outputs={"output": ("FP32", [-1])})
    (found,) = problems(graph.output("y", "top"))
    assert "spec.nodes.top.outputs.output: declared FP32[-1], but the node returns INT64" in found


def test_what_nothing_asks_for_is_left_out_with_a_warning() -> None:
    plan = step(step(base(), "a"), "unused").output("y", "a").plan
    assert list(plan.nodes) == ["a"]
    assert [str(warning) for warning in plan.warnings] == [
        "spec.nodes.unused: no output needs node 'unused'; it will not run"
    ]


def test_types_flow_through_routers_to_the_outputs() -> None:
    graph = step(base(), "a", outputs={"p": ("FP32", [-1, 3])})
    step(graph, "b", outputs={"q": ("FP32", [2, 3])})
    graph.router("pick", strategy="weighted", routes={"a": 1.0, "b": 1.0}).output("y", "pick")
    assert str(graph.plan.output_types["y"]) == "FP32[2, 3]"


@pytest.mark.parametrize(("second", "name"), [("p", "p"), ("q", "output")])
def test_a_router_keeps_the_name_that_all_of_its_routes_give(second: str, name: str) -> None:
    graph = step(base(), "a", outputs={"p": ("FP32", [-1, 3])})
    step(graph, "b", outputs={second: ("FP32", [2, 3])})
    graph.router("pick", strategy="weighted", routes={"a": 1.0, "b": 1.0})
    graph.output("y", f"pick.{name}")
    assert str(graph.plan.output_types["y"]) == "FP32[2, 3]"
    wrong = "output" if name == "p" else "p"
    graph.output("z", f"pick.{wrong}")
    assert problems(graph) == [
        f"spec.outputs.z: 'pick' has no output {wrong!r} (available: {name})"
    ]


def test_the_order_of_evaluation_respects_every_need() -> None:
    graph = step(base(), "late", "early")
    step(graph, "early").output("y", "late")
    assert list(graph.plan.nodes) == ["early", "late"]


def test_a_sticky_key_is_no_float() -> None:
    graph = step(base(), "a")
    graph.router("pick", strategy="weighted", routes=["a"], sticky={"input": "user"},
                 inputs={"user": "x"}).output("y", "pick")  # fmt: skip
    with pytest.raises(
        SpecError, match="input 'user' is FP32; a sticky key is BYTES or an integer"
    ):
        _ = graph.plan
