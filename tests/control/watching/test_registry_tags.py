"""Verdicts on their way to a registry that is away, refuses them, or is told by several graphs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from anabranch.control.lifecycle import operations
from anabranch.control.store.version_tags import VersionTagStore
from anabranch.control.watching import registry_tags
from anabranch.control.watching.registry_tags import RegistryTags
from tests.control.watching.registry import (
    STEPS,
    Registry,
    WatchingControl,
    then,
    until_each,
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_tags, "_REST_S", 0.05)
    monkeypatch.setattr(registry_tags, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(registry_tags, "_LONGEST_PAUSE_S", 0.05)


def tell(control: WatchingControl, *steps: Callable[[], object]) -> None:
    """Let a teller like that of a controller that has just begun run until the steps are true."""
    known = control.parts.watcher
    one = RegistryTags(control.store, known._revisions, known._artefacts)
    asyncio.run(until_each(one.run(), *steps))


def told(registry: Registry, version: int, **wanted: Any) -> Callable[[], bool]:
    def step() -> bool:
        found = registry.tags(version)
        return all(found.get(f"anabranch.{key}") == str(it) for key, it in wanted.items())

    return step


def all_told(control: WatchingControl) -> bool:
    return all(one.wanted == one.told for one in VersionTagStore(control.store.database).all())


def test_a_version_hears_how_it_fares(control: WatchingControl, registry: Registry) -> None:
    control.watched(rollout=STEPS)
    registry.champion = 2
    control.drive(lambda: len(control.pins()) == 2)
    tell(
        control, told(registry, 1, state="live", revision=1, graph="digits"),
        told(registry, 2, state="deploying", revision=2), then(lambda: control.arrive(2)),
        told(registry, 2, state="canary"),
        then(lambda: control.change("digits", lambda n, m: operations.aborted(n, m, "bad"))),
        told(registry, 2, state="aborted", reason="aborted: bad"),
    )  # fmt: skip
    verdict = json.loads(registry.tags(2)["anabranch.graph.digits"])
    assert verdict["state"] == "aborted"


def test_a_registry_that_is_away_hears_how_things_stand_then(
    control: WatchingControl, registry: Registry
) -> None:
    control.watched()
    registry.champion = 2
    control.drive(lambda: len(control.pins()) == 2)
    registry.away = True
    before = len(registry.web.asked)
    tell(control, lambda: len(registry.web.asked) > before + 2)
    control.arrive(2)
    registry.away = False
    tell(control, lambda: all_told(control))
    tell(control, told(registry, 2, state="live"), told(registry, 1, state="replaced"))
    states = [value for version, key, value in registry.told if key == "anabranch.state"]
    assert "deploying" not in states[-2:] and all_told(control)


def test_nothing_is_told_twice(control: WatchingControl, registry: Registry) -> None:
    control.watched()
    tell(control, told(registry, 1, state="live"), lambda: all_told(control))
    before, rounds = len(registry.told), []
    tell(control, lambda: rounds.append(1) or len(rounds) > 30)
    assert len(registry.told) == before


def test_a_teller_that_dies_in_between_tells_again(
    control: WatchingControl, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    control.watched()

    def dying(self: VersionTagStore, tags: Any) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patched:
        patched.setattr(VersionTagStore, "told", dying)
        with pytest.raises((asyncio.CancelledError, AssertionError)):
            tell(control, lambda: False)
    before = len(registry.told)
    assert before and not all_told(control)
    tell(control, lambda: all_told(control))
    assert len(registry.told) == 2 * before


def test_two_graphs_tell_of_one_version(control: WatchingControl, registry: Registry) -> None:
    for name in ("digits", "team/iris"):
        control.watched(name)
    tell(control, lambda: all_told(control) and len(registry.tags(1)) == 7)
    found = registry.tags(1)
    for name in ("digits", "team/iris"):
        assert json.loads(found[f"anabranch.graph.{name}"])["state"] == "live"
    assert found["anabranch.graph"] in ("digits", "team/iris")


def test_a_deleted_graph(control: WatchingControl, registry: Registry) -> None:
    control.watched()
    tell(control, told(registry, 1, state="live"), lambda: all_told(control))
    control.change("digits", operations.deleted)
    control.change("digits", operations.gone)
    tell(control, told(registry, 1, state="removed"))


def test_a_refusal_is_an_event_and_is_not_tried_again(
    control: WatchingControl, registry: Registry
) -> None:
    control.watched()
    registry.refuses = True
    tell(control, lambda: "verdict_refused" in control.kinds())
    asked = len(registry.web.asked)
    rounds: list[int] = []
    tell(control, lambda: rounds.append(1) or len(rounds) > 30)
    assert len(registry.web.asked) == asked
    assert control.kinds().count("verdict_refused") == 1


def test_tags_are_forgotten_once_they_are_old_and_told(
    control: WatchingControl, registry: Registry
) -> None:
    control.watched()
    tags = VersionTagStore(control.store.database)
    tell(control, lambda: all_told(control) and tags.all())
    tags.want("other", "models:/m/9", {"a": "b"})
    tags.forget(1e12)
    assert [(one.graph, one.wanted, one.told) for one in tags.all()] == [("other", {"a": "b"}, {})]
