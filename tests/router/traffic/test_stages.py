"""An arm's way has the stages that it needs under a table, and no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from anabranch.components.contract import Context
from anabranch.router.inference.contract import InferenceRequest
from anabranch.router.inference.core import InferenceCore
from anabranch.router.traffic.stages import compose

Demo = Callable[..., Any]
Stages = Callable[[int | None], list[str]]
EVALUATED = ["encoded", "explained", "traced"]
STAGES = [*EVALUATED, "counted", "decided", "limited", "logged", "mirrored", "sampled", "sketched"]


async def nothing(inputs: Any, context: Context) -> dict[str, Any]:
    return {}


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> dict[int, tuple[str, Any, Any]]:
    """Each stage that is composed: its name, the next one, and itself."""
    made: dict[int, tuple[str, Any, Any]] = {}

    def named(name: str, stage: Callable[..., Any]) -> Callable[..., Any]:
        def compose(inner: Any, *args: Any) -> Any:
            found = stage(inner, *args)
            made[id(found)] = (name, inner, found)
            return found

        return compose

    for name in STAGES:
        monkeypatch.setattr(compose, name, named(name, getattr(compose, name)))
    return made


@pytest.fixture
def stages(graph: Any, made: dict[int, tuple[str, Any, Any]]) -> Stages:
    def stages(revision: int | None) -> list[str]:
        """The stages of a request, outermost first; without a revision, of one that is routed."""
        stage = graph.arms.routing.way(InferenceRequest({}), revision)
        found = []
        while id(stage) in made:
            name, stage, _ = made[id(stage)]
            found.append(name)
        assert isinstance(stage.infer.__self__, InferenceCore)
        return found

    return stages


@pytest.fixture
def graph(demo: Demo) -> Any:
    return demo({1: nothing, 2: nothing}, draws=[0.9] * 9)


def test_an_arm_alone_is_counted_and_nothing_else(graph: Any, stages: Stages) -> None:
    graph.apply({1: 100})
    assert stages(None) == ["counted", *EVALUATED]
    assert stages(1) == EVALUATED


def test_what_is_not_stable_is_limited_and_tells_its_decisions(graph: Any, stages: Stages) -> None:
    graph.apply({1: 50, 2: 50})
    guest = ["encoded", "explained", "decided", "traced", "limited"]
    assert stages(None) == ["counted", *guest]
    assert stages(2) == guest
    assert stages(1) == [one for one in guest if one != "limited"]


def test_only_arms_with_mirrors_besides_themselves_are_mirrored(graph: Any, stages: Stages) -> None:
    graph.apply({1: 100}, mirrors={2: 10.0})
    assert stages(None) == ["mirrored", "counted", *EVALUATED]
    graph.apply({1: 100}, 2, mirrors={1: 10.0, 2: 0.0})
    assert stages(None) == ["counted", *EVALUATED]


def test_outputs_are_looked_at_where_a_table_asks_for_a_sketch(graph: Any, stages: Stages) -> None:
    graph.apply({1: 100}, sketch=True)
    assert stages(None) == ["sketched", "counted", *EVALUATED]
    graph.apply({1: 100}, 2)
    assert stages(None) == ["counted", *EVALUATED]
