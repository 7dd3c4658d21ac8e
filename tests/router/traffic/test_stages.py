"""An arm's way has the stages that it needs under a table, and no others."""

from __future__ import annotations

from collections.abc import Callable
from inspect import getclosurevars
from typing import Any

import pytest

from anabranch.components.contract import Context
from anabranch.router.inference.contract import InferenceRequest

Demo = Callable[..., Any]
EVALUATED = ["encoded", "explained", "traced", "InferenceCore"]


async def nothing(inputs: Any, context: Context) -> dict[str, Any]:
    return {}


def stages(graph: Any, revision: int | None) -> list[str]:
    """The stages of a request, the outermost first; without a revision, of one that is routed."""
    infer: Any = graph.arms.routing.way(InferenceRequest({}), revision).infer
    found = []
    while not hasattr(infer, "__self__"):
        found.append(infer.__qualname__.split(".")[0])
        held = getclosurevars(infer).nonlocals
        infer = held.get("within") or held["inner"].infer
    return [*found, type(infer.__self__).__name__]


@pytest.fixture
def graph(demo: Demo) -> Any:
    return demo({1: nothing, 2: nothing}, draws=[0.9] * 9)


def test_an_arm_alone_is_counted_and_nothing_else(graph: Any) -> None:
    graph.apply({1: 100})
    assert stages(graph, None) == ["counted", *EVALUATED]
    assert stages(graph, 1) == EVALUATED


def test_what_is_not_stable_is_limited_and_tells_its_decisions(graph: Any) -> None:
    graph.apply({1: 50, 2: 50})
    guest = ["encoded", "explained", "decided", "traced", "limited", "InferenceCore"]
    assert stages(graph, None) == ["counted", *guest]
    assert stages(graph, 2) == guest
    assert stages(graph, 1) == [one for one in guest if one != "limited"]


def test_only_arms_with_mirrors_besides_themselves_are_mirrored(graph: Any) -> None:
    graph.apply({1: 100}, mirrors={2: 10.0})
    assert stages(graph, None) == ["mirrored", "counted", *EVALUATED]
    graph.apply({1: 100}, 2, mirrors={1: 10.0, 2: 0.0})
    assert stages(graph, None) == ["counted", *EVALUATED]


def test_outputs_are_looked_at_where_the_table_asks_for_a_sketch(graph: Any) -> None:
    graph.apply({1: 100}, sketch=True)
    assert stages(graph, None) == ["sketched", "counted", *EVALUATED]
    graph.apply({1: 100}, 2)
    assert stages(graph, None) == ["counted", *EVALUATED]
