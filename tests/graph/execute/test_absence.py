"""Random graphs in which values are absent: the executor against a direct reading of the rules."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch import Graph
from anabranch.components.contract import Context
from anabranch.errors import LoadError, NodeError, SpecError
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.loopback import loopback
from anabranch.graph.execute.nodes import load_nodes
from tests.examples import examples
from tests.graph.endless import running

ROOT = Path(__file__).parents[1]
SUMS = ["Sum", "AsyncSum", "SlowSum", "Maybe", "Some", "SlowSome", "Fail"]
PAIRS = ("Some", "SlowSome")
ABSENT = None
FAILED = "failed"


@dataclass
class Part:
    """One node of a random graph."""

    name: str
    cls: str
    plus: int
    inputs: list[str]
    quorum: int | None = None
    triggers: list[str] = field(default_factory=list)
    needed: int | None = None
    routes: list[str] = field(default_factory=list)
    on_error: dict[str, Any] | str | None = None
    is_declared: bool = True
    away: dict[str, Any] = field(default_factory=dict)

    @property
    def sources(self) -> list[str]:
        return [f"{self.name}.even", f"{self.name}.odd"] if self.cls in PAIRS else [self.name]


@st.composite
def graphs(draw: st.DrawFn) -> list[Part]:
    """Nodes in an order in which each needs only earlier ones."""
    parts: list[Part] = []
    sources, skipped = ["x", "y", "z"], []
    for index in range(draw(st.integers(1, 8))):
        single = [p.name for p in parts if p.cls not in PAIRS and p.on_error != "skip"]
        routed = bool(single) and draw(st.integers(0, 3)) == 0
        inputs = draw(st.lists(st.sampled_from(sources), min_size=1, max_size=3))
        cls = "Pick" if routed else draw(st.sampled_from(SUMS))
        part = Part(f"n{index}", cls, draw(st.integers(0, 3)), inputs)
        if routed:
            part.routes = draw(
                st.lists(st.sampled_from(single), min_size=1, max_size=3, unique=True)
            )
        elif draw(st.booleans()):
            part.inputs += draw(st.lists(st.sampled_from(skipped), max_size=2)) if skipped else []
            part.quorum = draw(st.integers(1, len(part.inputs)))
        if draw(st.integers(0, 2)) == 0:
            part.triggers = draw(st.lists(st.sampled_from(sources), min_size=1, max_size=3))
            part.needed = draw(st.none() | st.integers(1, len(part.triggers)))
        if cls == "Fail":
            part.on_error = draw(
                st.fixed_dictionaries({"use": st.sampled_from(sources)}) | st.just("skip")
            )
        part.is_declared = draw(st.booleans())
        if draw(st.integers(0, 2)) == 0:
            part.away = draw(
                st.sampled_from([{"resources": {"cpu": 1.0}}, {"placement": {"isolate": True}}])
            )
            alone = [p.name for p in parts if p.away and p.on_error is None]
            if alone and part.on_error is None and draw(st.booleans()):
                part.away = {"placement": {"with": draw(st.sampled_from(alone))}}
        parts.append(part)
        if part.on_error == "skip":
            skipped.append(part.name)
        else:
            sources += part.sources
    return parts


def build(parts: list[Part], placed: bool) -> Graph:
    graph = Graph("random", root=ROOT).input("x", "INT64", [1])
    graph.input("y", "INT64", [1], optional=True).input("z", "INT64", [1], optional=True)
    for part in parts:
        inputs = {f"i{index}": source for index, source in enumerate(part.inputs)}
        options: dict[str, Any] = dict(part.away) if placed else {}
        if part.on_error:
            options["on_error"] = part.on_error
        if part.triggers:
            options["triggers"] = {"sources": part.triggers, "quorum": part.needed}
        if part.routes:
            args = {"name": part.name, "targets": part.routes}
            graph.router(part.name, component="parts.py:Pick", args=args, routes=part.routes,
                         inputs=inputs, **options)  # fmt: skip
            continue
        given = ["even", "odd"] if part.cls in PAIRS else ["output"]
        if part.is_declared:
            options["outputs"] = {name: ("INT64", [1]) for name in given}
        if part.cls in (*PAIRS, "Maybe"):
            options["optional_outputs"] = given
        graph.combiner(
            part.name,
            component=f"parts.py:{part.cls}",
            args={"name": part.name, "plus": part.plus},
            quorum=part.quorum,
            inputs=inputs,
            **options,
        )
    for part in parts:
        if part.on_error != "skip":
            for source in part.sources:
                graph.output(source.replace(".", "_"), source)
    if all(part.on_error == "skip" for part in parts):
        graph.output("x", "x")
    return graph


class Refused(Exception):
    """The request fails."""


class Reading:
    """Evaluates a graph by the rules as documented, by recursion."""

    def __init__(self, parts: list[Part], inputs: dict[str, int]) -> None:
        self.parts = {part.name: part for part in parts}
        self.inputs = inputs
        self.values: dict[str, Any] = {}
        self.ran: list[str] = []

    def value(self, source: str) -> Any:
        name, _, output = source.partition(".")
        if name in ("x", "y", "z"):
            return self.inputs.get(name, ABSENT)
        if name not in self.values:
            self.values[name] = self.run(self.parts[name])
        found = self.values[name]
        return found.get(output, ABSENT) if output and isinstance(found, dict) else found

    def run(self, part: Part) -> Any:
        given = [self.value(source) for source in part.inputs]
        fired = [self.value(source) for source in part.triggers]
        there = [value for value in given if value not in (ABSENT, FAILED)]
        lacks = len(there) < (part.quorum or len(given))
        if lacks and FAILED not in given:
            return ABSENT
        if sum(value is not ABSENT for value in fired) < (part.needed or len(fired)):
            return ABSENT
        if lacks:
            return self.failed(part)
        self.ran.append(part.name)
        total = sum(there) + part.plus
        if part.cls == "Fail":
            return self.failed(part)
        if part.routes:
            return self.value(part.routes[sum(there) % len(part.routes)])
        if part.cls in PAIRS:
            names = ((), ("odd",), ("even",), ("even", "odd"))[total % 4]
            return dict.fromkeys(names, total)
        return ABSENT if part.cls == "Maybe" and total % 3 == 0 else total

    def failed(self, part: Part) -> Any:
        if part.on_error is None:
            raise Refused
        return FAILED if isinstance(part.on_error, str) else self.value(part.on_error["use"])


def evaluate(
    graph: Graph, segmented: bool, inputs: dict[str, int], wants: list[str]
) -> list[tuple[dict[str, int], list[str]]]:
    plan = graph.plan
    bound = asyncio.run(load_nodes(plan, plan.nodes, ROOT))
    executor = loopback(plan, bound) if segmented else HeadExecutor(plan, bound)
    arrays = {name: np.array([value]) for name, value in inputs.items()}
    found = []
    with running(executor) as run:
        for _ in range(4):  # so that fast components move to the loop on the way
            log: list[str] = []
            result = run(executor.run(arrays, Context(parameters={"log": log}), wants))
            found.append(({name: int(value[0]) for name, value in result.items()}, log))
    return found


requests = st.fixed_dictionaries(
    {"x": st.integers(0, 5)}, optional={"y": st.integers(0, 5), "z": st.integers(0, 5)}
)


@settings(max_examples=examples(300))
@given(graphs(), requests, st.booleans(), st.data())
def test_any_graph_evaluates_as_the_rules_say(
    parts: list[Part], inputs: dict[str, int], segmented: bool, data: st.DataObject
) -> None:
    try:
        graph = build(parts, placed=segmented)
        assert graph.plan
    except SpecError as error:
        # Only what was drawn about placement can be wrong.
        assert all(one.path[3] in ("placement", "on_error") for one in error.problems), str(error)
        graph, segmented = build(parts, placed=False), False
    names = list(graph.plan.outputs)
    wants = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    reading = Reading(parts, inputs)
    try:
        values = {name: reading.value(str(graph.plan.outputs[name])) for name in wants}
    except Refused:
        with pytest.raises(NodeError, match="its quorum is"):
            evaluate(graph, segmented, inputs, wants)
        return
    expected = {name: value for name, value in values.items() if value is not ABSENT}
    for result, log in evaluate(graph, segmented, inputs, wants):
        assert result == expected
        assert sorted(log) == sorted(reading.ran), "no node runs that is skipped, none twice"


PARTS = """
class Split:
    def predict(self, x):
        return {"low": x} if x[0, 0] < 0 else {"high": x}

    transform = predict


class Named:
    def predict(self, a, b=None):
        return a if b is None else a + b


class Strict:
    def predict(self, a, b):
        return a


class Wrong:
    def predict(self, x):
        return {"middle": x}


class Stream:
    async def predict(self, a):
        yield a
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "absent_parts.py").write_text(PARTS)
    return tmp_path


def split(folder: Path, cls: str = "Split", **options: Any) -> Graph:
    """A node that gives ``low`` or ``high``."""
    graph = Graph("g", root=folder).input("x", "FP32", [-1, 1])
    two: dict[str, Any] = {name: ("FP32", [-1, 1]) for name in ("low", "high")}
    return graph.predictor("split", component=f"absent_parts.py:{cls}", inputs={"x": "x"},
                           optional_outputs=["low", "high"], outputs=two, **options)  # fmt: skip


def test_a_conditional_model_chooses_the_branch(folder: Path) -> None:
    """The conditional pipeline of Seldon Core v2: each branch reads one of two outputs."""
    graph = split(folder)
    graph.transformer("l", method="scale", args={"multiply_by": 10}, inputs={"x": "split.low"})
    graph.transformer("h", method="scale", args={"multiply_by": 100}, inputs={"x": "split.high"})
    graph.combiner("either", strategy="first", quorum=1, inputs=["l", "h"])
    graph.output("y", "either").output("low", "split.low")
    with graph:
        assert graph.run(np.array([[-2.0]], np.float32)) == {"y": [[-20]], "low": [[-2]]}
        assert graph.run(np.array([[2.0]], np.float32)) == {"y": [[200]]}


def test_a_result_with_an_unknown_output_is_an_error(folder: Path) -> None:
    graph = split(folder, "Wrong").output("y", "split.low").output("z", "split.high")
    with graph, pytest.raises(NodeError) as caught:
        graph.run(np.array([[2.0]], np.float32))
    assert (
        "it returned the outputs middle; expected the outputs low, high, of which it may leave "
        in (str(caught.value))
    )


def test_a_predictor_with_a_quorum_gets_the_inputs_that_are_there(folder: Path) -> None:
    graph = Graph("g", root=folder).input("a", "FP32", [1]).input("b", "FP32", [1], optional=True)
    graph.predictor("p", component="absent_parts.py:Named", inputs={"a": "a", "b": "b"}, quorum=1)
    with graph.output("y", "p"):
        assert graph.run({"a": np.ones(1, np.float32)}) == {"y": [1]}
        assert graph.run({"a": np.ones(1, np.float32), "b": np.ones(1, np.float32)}) == {"y": [2]}


def test_a_parameter_that_may_be_absent_needs_a_default(folder: Path) -> None:
    graph = Graph("g", root=folder).input("a", "FP32", [1]).input("b", "FP32", [1], optional=True)
    graph.predictor("p", component="absent_parts.py:Strict", inputs={"a": "a", "b": "b"}, quorum=1)
    with (
        graph.output("y", "p"),
        pytest.raises(LoadError, match=r"b may be left out, so the parameter 'b' of predict\(\)"),
    ):
        graph.run({"a": np.ones(1, np.float32)})


def test_a_node_that_streams_needs_values_in_each_request(folder: Path) -> None:
    graph = Graph("g", root=folder).input("a", "FP32", [1], optional=True)
    graph.predictor("p", component="absent_parts.py:Stream", inputs={"a": "a"}).output("y", "p")
    with graph, pytest.raises(LoadError, match="one may be absent"):
        graph.run({"a": np.ones(1, np.float32)})


def test_a_request_without_an_input_that_is_needed_is_refused() -> None:
    graph = Graph("g").input("a", "FP32", [1]).input("b", "FP32", [1], optional=True)
    graph.transformer("s", method="scale", args={"multiply_by": 2}, inputs={"x": "b"})
    with graph.output("y", "s").output("z", "a"):
        assert graph.run({"a": np.ones(1, np.float32)}) == {"z": [1]}
        with pytest.raises(Exception, match="input 'a'"):
            graph.run({"b": np.ones(1, np.float32)})
