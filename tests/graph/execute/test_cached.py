"""Graphs answer alike with caches and without, whatever is asked of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch import Graph
from anabranch.components.annotations import Annotations, Names, Tags
from anabranch.components.contract import Context
from anabranch.errors import LoadError
from anabranch.graph.calls.cache_status import GRAPH, header_of, is_kept
from anabranch.graph.execute.cached import Evaluate
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes
from anabranch.graph.observe.monitor_copies import Seen
from anabranch.serve.cache.wire import decoded, digest, encoded
from tests.examples import examples

ROOT = Path(__file__).parents[1]
TTL = {"ttl": "60s"}


class KeptForEver:
    """Keeps every answer, in the bytes that a store would get."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.data: dict[bytes, bytes] = {}
        self.made = 0

    async def value(self, question: Any, context: Context, evaluate: Evaluate) -> Any:
        key = digest("r1", question)
        if key in self.data:
            context.annotations.caches[self.name] = "hit; ttl=1"
            return decoded(self.data[key])
        self.made += 1
        value, may_be_kept = await evaluate()
        context.annotations.caches[self.name] = "fwd=miss"
        if may_be_kept:
            self.data[key] = encoded(value, 2**20)
        return value


class Request(NamedTuple):
    x: Sequence[float]
    parameters: Mapping[str, Any] = {}
    outputs: tuple[str, ...] | None = None
    fails: bool = False
    """Whether a node fails at this request, and its stand-in is used."""
    tag: str = ""
    """A tag that comes with the request."""
    hint: bool = False
    """Whether the optional input is there."""


def graph() -> Graph:
    made = Graph("g", root=ROOT, cache=TTL).input("x", "FP64", [-1])
    made.input("hint", "FP64", [-1], optional=True)
    named = {"deterministic": True, "cache": TTL}
    made.predictor("noted", component="parts.py:Noted", inputs={"x": "x"}, **named)
    made.transformer("even", method="scale", args={"multiply_by": 2}, inputs={"x": "x"}, cache=TTL)
    made.transformer("hinted", method="scale", args={"multiply_by": 3}, inputs={"x": "hint"},
                     cache=TTL)  # fmt: skip
    made.router("pick", component="parts.py:PickByParameter", routes=["noted", "even"],
                deterministic=True)  # fmt: skip
    made.predictor("brittle", component="parts.py:Brittle", inputs={"x": "even"},
                   on_error={"use": "x"}, **named)  # fmt: skip
    made.combiner("best", strategy="first", inputs=["hinted", "brittle"], quorum=1)
    made.monitor("watch", method="sketch", watches=["x", "noted", "brittle", "pick"])
    outputs = {"y": "pick", "z": "brittle", "w": "hinted", "b": "best", "x": "x"}
    for name, source in outputs.items():
        made.output(name, source)
    return made


class Answered(NamedTuple):
    outputs: dict[str, tuple[list[float], str]]
    tags: dict[str, Any]
    names: dict[str, list[str]]
    measures: list[Any]
    path: dict[str, str]
    seen: list[tuple[str, list[float]]]


async def answer(executor: HeadExecutor, request: Request, seen: list[Seen]) -> Answered:
    seen.clear()
    tags = Tags({"own": request.tag}) if request.tag else Tags()
    context = Context(
        id="one",
        headers={"x-fail": "1"} if request.fails else {},
        parameters=dict(request.parameters),
        annotations=Annotations(tags, Names()),
    )
    inputs = {"x": np.array(request.x, np.float64)}
    if request.hint:
        inputs["hint"] = np.array(request.x, np.float64)
    found = await executor.run(inputs, context, request.outputs)
    return Answered(
        {name: (array.tolist(), str(array.dtype)) for name, array in found.items()},
        dict(context.tags),
        dict(context.names),
        sorted(context.annotations.measures),
        dict(context.path),
        sorted((one.source, one.array.tolist()) for one in seen),
    )


CACHED = ("noted", "even", "hinted", "brittle")
REQUESTS = st.builds(
    Request,
    st.lists(st.sampled_from([0.0, -0.0, 1.5, 2.0]), min_size=0, max_size=2),
    st.fixed_dictionaries({}, optional={"plus": st.integers(0, 1), "timeout": st.just(10**7)}),
    st.none() | st.sampled_from([("y",), ("z",), ("z", "y"), ("b",), ("w", "x")]),
    st.booleans(),
    st.sampled_from(["", "a"]),
    st.booleans(),
)


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(REQUESTS, min_size=1, max_size=12), st.sets(st.sampled_from([GRAPH, *CACHED])))
def test_answers_and_all_that_goes_with_them_are_equal(
    requests: list[Request], cached: set[str]
) -> None:
    caches = {name: KeptForEver(name) for name in cached}

    async def main() -> None:
        plan = graph().plan
        bound = await load_nodes(plan, plan.nodes, ROOT)
        seen: list[Seen] = []

        def offer(one: Seen, size: int) -> None:
            seen.append(one)

        plain = HeadExecutor(plan, bound, offer=offer)
        with_caches = HeadExecutor(plan, bound, offer=offer, caches=caches)
        for request in requests:
            found = await answer(with_caches, request, seen)
            if not request.fails:  # one that fails may find the answer of one that did not
                assert found == await answer(plain, request, seen), request
        plain.close()
        with_caches.close()

    asyncio.run(main())


def test_the_cache_of_a_graph_is_asked_first_and_says_so() -> None:
    caches = {name: KeptForEver(name) for name in (GRAPH, *CACHED)}

    async def main() -> list[str]:
        plan = graph().plan
        bound = await load_nodes(plan, plan.nodes, ROOT)
        executor = HeadExecutor(plan, bound, caches=caches)
        told = []
        for outputs in (("z",), ("z",), ("z", "y"), ("z", "y")):
            context = Context()
            await executor.run({"x": np.array([1.0])}, context, outputs)
            told.append(header_of(context.annotations.caches))
            assert is_kept(context.annotations.caches) == (len(told) in (2, 4))
        found = [one async for one in executor.stream({"x": np.array([1.0])}, Context(), ("z",))]
        assert [one["z"].tolist() for one in found] == [[-2.0]]
        executor.close()
        return told

    assert asyncio.run(main()) == [
        "anabranch/even; fwd=miss, anabranch/brittle; fwd=miss, anabranch; fwd=miss",
        "anabranch; hit; ttl=1",
        "anabranch/even; hit; ttl=1, anabranch/brittle; hit; ttl=1, anabranch; fwd=miss",
        "anabranch; hit; ttl=1",
    ]
    assert caches["brittle"].made == 1


def test_the_log_has_the_same_values_of_nodes_whoever_asked_first() -> None:
    made = Graph("g", root=ROOT, cache=TTL).input("x", "FP64", [-1])
    made.transformer("even", method="scale", args={"multiply_by": 2}, inputs={"x": "x"})
    made.transformer("less", method="scale", args={"multiply_by": -1}, inputs={"x": "even"})
    made.telemetry(requests={"nodes": ["even"]}).output("y", "less")

    async def main() -> list[dict[str, Any]]:
        executor = HeadExecutor(
            made.plan, await load_nodes(made.plan, made.plan.nodes, ROOT),
            caches={GRAPH: KeptForEver(GRAPH)},
        )  # fmt: skip
        told = []
        for values in (None, {}, None, {}):
            context = Context(annotations=Annotations(values=values))
            await executor.run({"x": np.array([1.0])}, context)
            found = context.annotations.values
            told.append({name: array.tolist() for name, array in (found or {}).items()})
        executor.close()
        return told

    logged = {"even.output": [2.0]}
    assert asyncio.run(main()) == [{}, logged, {}, logged]


@pytest.mark.parametrize("of_node", [True, False])
def test_what_streams_is_refused_when_it_is_loaded(of_node: bool) -> None:
    made = Graph("g", root=ROOT, **({} if of_node else {"cache": TTL})).input("x", "INT64", [-1])
    own = {"cache": TTL} if of_node else {}
    made.predictor(
        "a", component="streamers.py:Count", inputs={"x": "x"}, deterministic=True, **own
    )
    plan = made.output("y", "a").plan
    owner = "it" if of_node else "the graph"
    with pytest.raises(LoadError, match=f"'a'.* it streams, and {owner} has a `cache`"):
        asyncio.run(load_nodes(plan, plan.nodes, ROOT))
