"""The watcher over a store of its own and a registry that moves, goes away, and comes back."""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from anabranch.access.actor import Actor
from anabranch.cli.reports.graph import status_text
from anabranch.control.deployments import AskedRevision, Deployments
from anabranch.control.lifecycle import operations
from anabranch.control.watching.metrics import WatchMetrics
from anabranch.telemetry.definitions import WATCH_AGE, WATCH_MOVES, WATCH_TROUBLE
from anabranch.telemetry.registry import Registry as MetricRegistry
from tests.control.watching.registry import (
    CHAMPION,
    STEPS,
    Registry,
    WatchingControl,
    then,
    watching_spec,
)
from tests.control.web import Answer, Asked
from tests.waiting import until

MLFLOW = Actor("engine", "mlflow")


def move(registry: Registry, version: int) -> Any:
    return then(lambda: setattr(registry, "champion", version))


def looked(registry: Registry, more: int = 2) -> Any:
    """A step that lasts until some more looks have been made."""
    goal: list[int] = []

    def step() -> bool:
        goal.append(registry.looks + more)
        return registry.looks >= goal[0]

    return step


def has(control: WatchingControl, *versions: int, name: str = "digits") -> Any:
    return lambda: control.pins(name) == [f"models:/m/{one}" for one in versions]


def test_a_move_makes_a_revision_by_the_specs_rollout(
    control: WatchingControl, registry: Registry
) -> None:
    control.watched(rollout=STEPS)
    registry.notes = {
        "description": "sharper",
        "tags": [
            {"key": "f1", "value": "0.9"},
            {"key": "anabranch.state", "value": "x"},
            {"key": "mlflow.note", "value": "x"},
        ],
    }
    control.drive(looked(registry), move(registry, 2), has(control, 1, 2), looked(registry))
    assert len(control.pins()) == 2
    made = control.store.revision("digits", 2)
    assert (made.author, made.intent.kind) == ("mlflow", "rollout")
    assert made.message == f"{CHAMPION} is 2: sharper (f1=0.9)"
    assert made.digest == control.store.revision("digits", 1).digest
    event, created = control.store.newest_events("digits", 2)
    assert (event.kind, created.kind) == ("model_moved", "revision_created")
    assert (event.revision, event.message) == (2, made.message)
    assert event.actor == created.actor == MLFLOW
    assert made.intent.author == str(MLFLOW)
    change = {CHAMPION: {"before": "models:/m/1", "after": "models:/m/2"}}
    assert event.data == {"models": change}


def test_one_look_is_for_all_graphs(control: WatchingControl, registry: Registry) -> None:
    for name in ("digits", "iris"):
        control.watched(name)
    before, begun = registry.looks, control.clock.now
    registry.champion = 2
    control.drive(has(control, 1, 2), has(control, 1, 2, name="iris"))
    assert registry.looks - before <= control.clock.now - begun + 1


def test_an_older_look_than_the_deploy_does_not_count(
    control: WatchingControl, registry: Registry
) -> None:
    """A look that another graph has begun ends once the alias has moved, and was deployed."""
    control.watched("iris")
    begun, goes_on = threading.Event(), threading.Event()

    def slow_once(asked: Asked) -> Answer:
        found = registry.answer(asked)
        if not begun.is_set():
            begun.set()
            goes_on.wait(20)
        return found

    registry.web.answer = slow_once
    control.drive(
        begun.is_set, move(registry, 2), then(control.watched), then(goes_on.set),
        has(control, 1, 2, name="iris"), looked(registry),
    )  # fmt: skip
    assert control.pins() == ["models:/m/2"]


def test_a_move_in_a_rollout_replaces_the_candidate(
    control: WatchingControl, registry: Registry
) -> None:
    control.watched(rollout=STEPS)
    control.drive(
        move(registry, 2), has(control, 1, 2), then(lambda: control.arrive(2)),
        move(registry, 3), has(control, 1, 2, 3), then(lambda: control.arrive(3)),
    )  # fmt: skip
    rollout = control.store.situation("digits").situation.rollout
    assert rollout is not None and (rollout.revision, rollout.phase) == (3, "running")


@pytest.mark.parametrize("is_up", [True, False])
def test_a_move_back_ends_the_rollout(
    control: WatchingControl, registry: Registry, is_up: bool
) -> None:
    control.watched(rollout=STEPS)

    def over() -> bool:
        now = control.store.situation("digits").situation
        return not now.coming and now.weights == {1: 100.0}

    control.drive(
        move(registry, 2), has(control, 1, 2), then(lambda: control.arrive(2) if is_up else None),
        move(registry, 1), lambda: control.kinds().count("model_moved") == 2, over,
        move(registry, 2), has(control, 1, 2, 2),
    )  # fmt: skip
    ended = "rollout_aborted" if is_up else "deploy_failed"
    (told,) = [one for one in control.store.events("digits") if one.kind == ended]
    assert told.actor == MLFLOW


def test_what_failed_is_not_tried_again_by_another_controller_either(
    control: WatchingControl, registry: Registry
) -> None:
    control.watched()
    registry.champion = 2
    control.drive(has(control, 1, 2), then(lambda: control.fail(2, "no file")), looked(registry))
    control.drive(looked(registry, 3))
    assert len(control.pins()) == 2
    control.drive(move(registry, 3), has(control, 1, 2, 3))


def test_what_was_read_before_a_move_was_recorded_makes_no_second_one(
    control: WatchingControl, registry: Registry
) -> None:
    """Not even where its revision has failed by the time that the reader has it."""
    control.watched()
    watcher, is_read = control.watcher(), threading.Event()
    read = watcher._read

    def answer(asked: Asked) -> Answer:
        if asked.path.endswith("model-versions/get"):  # in the middle of a move
            is_read.wait(20)
        return registry.answer(asked)

    def read_late() -> Any:
        found = read()
        if watcher._under_way("move") and not is_read.is_set():
            is_read.set()
            until(lambda: not watcher._under_way("move"))
            control.fail(2, "no file")
        return found

    watcher._read, registry.web.answer = read_late, answer  # type: ignore[method-assign]
    registry.champion = 2
    control.drive(is_read.is_set, has(control, 1, 2), looked(registry, 3), watcher=watcher)
    assert len(control.pins()) == 2


def test_a_first_revision_that_failed_is_followed(
    control: WatchingControl, registry: Registry
) -> None:
    assert control.deploy(spec=watching_spec())[0] == 202
    control.fail(1, "no file")
    registry.champion = 2
    control.drive(has(control, 1, 2))


def test_a_rollback_is_not_undone(control: WatchingControl, registry: Registry) -> None:
    control.watched()
    registry.champion = 2
    control.drive(has(control, 1, 2), then(lambda: control.arrive(2)))
    control.change("digits", partial(operations.rolled_back, number=1))
    control.drive(looked(registry, 3))
    assert len(control.pins()) == 2
    control.drive(move(registry, 1), looked(registry), move(registry, 2), has(control, 1, 2, 2))


@pytest.mark.parametrize("state", [operations.unloaded, operations.deleted])
def test_a_graph_that_does_not_run_stays_as_it_is(
    control: WatchingControl, registry: Registry, state: Any
) -> None:
    control.watched()
    control.watched("iris")
    control.change("digits", state)
    registry.champion = 2
    control.drive(has(control, 1, 2, name="iris"), looked(registry))
    assert control.pins() == ["models:/m/1"]


def test_a_registry_that_goes_away_is_told_once_each_way(
    control: WatchingControl, registry: Registry
) -> None:
    control.watched()
    watcher = control.drive(
        looked(registry), then(lambda: setattr(registry, "away", True)),
        lambda: "watch_failed" in control.kinds(), looked(registry),
    )  # fmt: skip
    (shown,) = watcher.of("digits")
    assert "answers 503" in shown.trouble and shown.since and shown.looked_at
    again = control.drive(looked(registry))  # another controller
    assert again.of("digits")[0].since == pytest.approx(shown.since, abs=5)
    registry.away, registry.champion = False, 2
    watcher = control.drive(has(control, 1, 2), lambda: "watch_recovered" in control.kinds())
    assert [control.kinds().count(f"watch_{one}") for one in ("failed", "recovered")] == [1, 1]
    assert watcher.of("digits")[0].trouble == ""


def test_an_alias_that_is_taken_away_changes_nothing(
    control: WatchingControl, registry: Registry
) -> None:
    control.watched()
    registry.champion = None
    control.drive(lambda: "watch_failed" in control.kinds())
    assert control.pins() == ["models:/m/1"]


def limit(control: WatchingControl, quota: str) -> None:
    body = f"namespaces: {{team: {{{quota}}}}}".encode()
    assert control.call("PUT", "/access", body=body)[0] == 200


def test_a_move_that_is_refused_is_told_and_tried_again(
    control: WatchingControl, registry: Registry
) -> None:
    name = "team/digits"
    control.watched(name, STEPS)
    limit(control, "replicas: 1")
    registry.champion = 2
    control.drive(
        lambda: "watch_failed" in control.kinds(name), looked(registry),
        then(lambda: limit(control, "replicas: 9")), has(control, 1, 2, name=name),
        lambda: "watch_recovered" in control.kinds(name),
    )  # fmt: skip
    (event,) = [one for one in control.store.events(name) if one.kind == "watch_failed"]
    assert event.message.startswith(f"cannot follow {CHAMPION}: namespace 'team' may have 1")


@pytest.mark.parametrize("is_recorded", [True, False])
def test_a_controller_that_dies_in_a_move_makes_it_once(
    control: WatchingControl,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    is_recorded: bool,
) -> None:
    control.watched()
    died, recorded = threading.Event(), Deployments._recorded

    def dying(self: Deployments, asked: AskedRevision) -> Any:
        """Write the move or not, and do nothing more in this life."""
        if is_recorded:
            recorded(self, asked)
        died.set()
        raise asyncio.CancelledError

    monkeypatch.setattr(Deployments, "_recorded", dying)
    registry.champion = 2
    control.drive(died.is_set)
    assert len(control.pins()) == 1 + is_recorded
    monkeypatch.undo()
    control.drive(has(control, 1, 2), looked(registry, 3))
    assert control.pins() == ["models:/m/1", "models:/m/2"]
    assert control.kinds().count("model_moved") == 1


def test_status_says_what_is_watched(control: WatchingControl, registry: Registry) -> None:
    control.watched()
    assert control.call("GET", "/graphs/digits")[1]["watches"] == []
    registry.champion = 2
    control.drive(has(control, 1, 2), watcher=control.parts.watcher)
    (found,) = control.call("GET", "/graphs/digits")[1]["watches"]
    assert found.pop("looked_at")
    assert found == {
        "model": CHAMPION, "nodes": ["m"], "every": 1.0, "pin": "models:/m/1",
        "found": "models:/m/2", "trouble": "", "since": None,
    }  # fmt: skip
    text = status_text(control.call("GET", "/graphs/digits")[1])
    assert re.search(rf"{CHAMPION}  m      1           2      \d+s ago", text)
    assert control.call("GET", "/graphs")[1]["graphs"][0]["unfollowed"] == []


def test_status_of_all_graphs_lists_what_cannot_be_followed(
    control: WatchingControl, registry: Registry
) -> None:
    control.watched()
    registry.away = True
    failed = lambda: "watch_failed" in control.kinds()  # noqa: E731
    control.drive(failed, looked(registry), watcher=control.parts.watcher)
    found = {**control.call("GET", "/graphs")[1], "namespaces": []}
    ((one,),) = [graph["unfollowed"] for graph in found["graphs"]]
    assert (one["model"], one["pin"]) == (CHAMPION, "models:/m/1") and one["since"]
    line = rf"digits  {CHAMPION} +.*answers 503.* \(since .+\)"
    assert re.search(rf"GRAPH   DOES NOT FOLLOW +TROUBLE\n{line}", status_text(found))
    own = status_text(control.call("GET", "/graphs/digits")[1])
    assert re.search(rf"WATCHES .* TROUBLE\n{CHAMPION} .*answers 503.* \(since .+\)", own)


def test_a_file_is_watched_by_its_digest(
    control: WatchingControl, registry: Registry, tmp_path: Path
) -> None:
    place = tmp_path / "model.skops"
    place.write_bytes(b"one")
    assert control.deploy(spec=watching_spec(place.as_uri()))[0] == 202
    control.arrive(1)

    def revisions() -> int:
        return len(control.store.revisions("digits"))

    control.drive(then(lambda: place.write_bytes(b"two")), lambda: revisions() == 2)
    made = control.store.revision("digits", 2)
    digest = hashlib.sha256(b"two").hexdigest()
    assert made.pins == {place.as_uri(): f"sha256:{digest}"}
    assert (made.author, made.message) == ("watch", f"{place.as_uri()} is {digest[:12]}")


def test_metrics(control: WatchingControl, registry: Registry) -> None:
    metrics, seen = MetricRegistry(), []
    watcher = control.watcher()
    watcher._metrics = WatchMetrics(metrics)
    control.watched()
    registry.champion = 2
    control.drive(
        has(control, 1, 2), looked(registry), then(lambda: seen.append(metrics.snapshot())),
        then(lambda: setattr(registry, "away", True)), lambda: "watch_failed" in control.kinds(),
        looked(registry), watcher=watcher,
    )  # fmt: skip
    (shown,) = seen
    assert shown[WATCH_MOVES.name] == {("digits",): 1.0}
    assert 0 <= shown[WATCH_AGE.name]["digits", CHAMPION] < 30  # type: ignore[operator]
    assert shown[WATCH_TROUBLE.name] == {("digits", CHAMPION): 0.0}
    assert metrics.snapshot()[WATCH_TROUBLE.name]["digits", CHAMPION] > 0  # type: ignore[operator]
    control.change("digits", operations.deleted)
    asyncio.run(watcher._round())
    assert metrics.snapshot()[WATCH_AGE.name] == metrics.snapshot()[WATCH_TROUBLE.name] == {}
