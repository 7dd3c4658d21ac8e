"""Watched models on a real MLflow server and on files: moves, verdicts, and what gets in the way.

The server is killed and started again, the controller is killed in the middle of moves.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.conftest import Given, spec, value
from tests.e2e.mlflow_server import TrackingProcess, call, log_models, set_alias, tags
from tests.engines import Engine, actor_processes
from tests.waiting import until, until_true

pytestmark = pytest.mark.e2e

MODEL = "watched"
SLOPES = (2.0, 5.0, 7.0, 9.0)
"""Of the versions from 1 on; what is in the place of version 4 is no model."""
STEPS = {
    "steps": [50],
    "hold": "1h",
    "analysis": {"interval": "1s", "metrics": [{"metric": "error_rate", "max": 0.5}]},
}


@pytest.fixture(scope="module")
def server(mlflow_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingProcess]:
    """The server that the session's engine was told of, with a version for each slope."""
    one = TrackingProcess(mlflow_url, tmp_path_factory.mktemp("mlflow"))
    try:
        one.start()
        log_models(one.url, MODEL, *SLOPES)
        model_file(one, 4).write_bytes(b"this is no model")
        yield one
    finally:
        one.stop()


@pytest.fixture
def tracking(server: TrackingProcess) -> TrackingProcess:
    """The server with the alias on version 1."""
    set_alias(server.url, MODEL, 1)
    return server


def watching(name: str, model: str, rollout: dict[str, Any] | None = None) -> dict[str, Any]:
    predictor = {
        "type": "predictor", "runtime": "sklearn", "inputs": {"x": "x"}, "model": model,
        "watch": {"every": "1s"},
    }  # fmt: skip
    graph = spec(name, model=predictor)
    if rollout is not None:
        graph["spec"]["rollout"] = rollout
    return graph


def aliased(name: str, rollout: dict[str, Any] | None = None) -> dict[str, Any]:
    return watching(name, f"models:/{MODEL}@champion#model.skops", rollout)


def answer(engine: Engine, name: str) -> float:
    reply = engine.infer(name)
    assert reply.status_code == 200, reply.text
    return round(float(np.asarray(value(reply)).ravel()[0]), 6)


def states(engine: Engine, name: str) -> dict[int, str]:
    return {one["revision"]: one["state"] for one in engine.graph(name)["revisions"]}


def is_state(engine: Engine, name: str, number: int, wanted: str) -> bool:
    """Whether a revision is in a state, and that in force; False while the controller starts."""
    reply = engine.api("GET", f"/graphs/{name}/revisions/{number}")
    return bool(reply.status_code == 200 and reply.json()["state"] == wanted)


def kinds(engine: Engine, name: str) -> list[str]:
    found = engine.api("GET", f"/events?graph={name}&limit=1000").json()["events"]
    return [one["kind"] for one in found]


def until_told(tracking: TrackingProcess, version: int, graph: str, **wanted: Any) -> None:
    """Wait until a version has a graph's verdict among its tags."""

    def check() -> None:
        found = tags(tracking.url, MODEL, version).get(f"graph.{graph}", "{}")
        verdict = json.loads(found)
        assert {key: verdict.get(key) for key in wanted} == wanted

    until_true(check, 90)


def test_two_graphs_follow_an_alias_and_the_verdicts_are_tags(
    engine: Engine, given: Given, tracking: TrackingProcess
) -> None:
    given.deployed(aliased("watch-at-once"))
    given.deployed(aliased("watch-in-steps", STEPS))
    assert [answer(engine, one) for one in ("watch-at-once", "watch-in-steps")] == [6.0, 6.0]
    notes = {"name": MODEL, "version": "2"}
    call(tracking.url, "PATCH", "model-versions/update", **notes, description="sharper")
    call(tracking.url, "POST", "model-versions/set-tag", **notes, key="f1", value="0.97")
    until_told(tracking, 1, "watch-at-once", state="live", revision=1)

    set_alias(tracking.url, MODEL, 2)
    until(lambda: is_state(engine, "watch-at-once", 2, "live"), 120)
    assert answer(engine, "watch-at-once") == 15.0
    until(lambda: is_state(engine, "watch-in-steps", 2, "ready"), 120)
    first = engine.graph("watch-at-once")["revisions"][0]
    assert (first["author"], first["pins"]) == (
        "mlflow", {f"models:/{MODEL}@champion": f"models:/{MODEL}/2"},
    )  # fmt: skip
    assert "is 2: sharper (f1=0.97)" in first["message"]
    until_told(tracking, 2, "watch-at-once", state="live", revision=2)
    until_told(tracking, 1, "watch-at-once", state="replaced", revision=1)
    until_told(tracking, 2, "watch-in-steps", state="canary", revision=2)

    until(lambda: tags(tracking.url, MODEL, 2)["analysis"] != "[]")
    done = engine.command("abort", "watch-in-steps")
    assert done.returncode == 0, done.stderr
    until_told(tracking, 2, "watch-in-steps", state="aborted", revision=2)
    found = tags(tracking.url, MODEL, 2)
    assert (found["graph"], found["state"]) == ("watch-in-steps", "aborted")
    assert found["reason"].startswith("aborted")
    assert [one["metric"] for one in json.loads(found["analysis"])] == ["error_rate"]

    events = engine.command("events", "watch-at-once").stdout
    assert "model_moved" in events and "mlflow" in events
    shown = engine.command("status", "watch-at-once").stdout
    assert f"models:/{MODEL}@champion" in shown and "ago" in shown
    done = engine.command("delete", "watch-in-steps", "--yes")
    assert done.returncode == 0, done.stderr
    until_told(tracking, 2, "watch-in-steps", state="removed")


@pytest.mark.nightly
def test_a_stage_and_the_latest_version(
    engine: Engine, given: Given, tracking: TrackingProcess
) -> None:
    def to_production(version: int) -> None:
        call(
            tracking.url, "POST", "model-versions/transition-stage", name="staged",
            version=str(version), stage="Production", archive_existing_versions=True,
        )  # fmt: skip

    log_models(tracking.url, "staged", *SLOPES[:2])
    to_production(1)
    given.deployed(watching("watch-stage", "models:/staged/Production#model.skops"))
    given.deployed(watching("watch-latest", "models:/staged/latest#model.skops"))
    assert [answer(engine, one) for one in ("watch-stage", "watch-latest")] == [6.0, 15.0]
    to_production(2)
    until(lambda: answer(engine, "watch-stage") == 15.0, 120)
    log_models(tracking.url, "staged", SLOPES[2])
    until(lambda: answer(engine, "watch-latest") == 21.0, 120)
    assert answer(engine, "watch-stage") == 15.0


@pytest.mark.nightly
def test_what_happens_in_the_middle_of_a_rollout(
    engine: Engine, given: Given, tracking: TrackingProcess
) -> None:
    name = given.deployed(aliased("watch-rolling", STEPS))
    set_alias(tracking.url, MODEL, 2)
    until(lambda: is_state(engine, name, 2, "ready"), 120)
    set_alias(tracking.url, MODEL, 3)
    until(lambda: is_state(engine, name, 3, "ready"), 120)
    assert engine.graph(name)["rollout"]["revision"] == 3
    until_told(tracking, 2, name, state="replaced", revision=2)
    until_told(tracking, 3, name, state="canary", revision=3)

    set_alias(tracking.url, MODEL, 1)  # what the stable revision has
    until(lambda: engine.graph(name)["rollout"]["phase"] == "aborted", 60)
    assert states(engine, name)[1] == "live" and len(states(engine, name)) == 3
    assert answer(engine, name) == 6.0
    set_alias(tracking.url, MODEL, 3)  # and again
    until(lambda: is_state(engine, name, 4, "ready"), 120)


@pytest.mark.nightly  # tests/control/watching has a version that fails, too
def test_a_version_that_does_not_load_is_told_and_not_tried_again(
    engine: Engine, given: Given, tracking: TrackingProcess
) -> None:
    name = given.deployed(aliased("watch-broken"))
    set_alias(tracking.url, MODEL, 4)
    until(lambda: is_state(engine, name, 2, "failed"), 120)
    until_told(tracking, 4, name, state="failed-to-load", revision=2)
    assert "deploy_failed" in kinds(engine, name)
    assert answer(engine, name) == 6.0
    set_alias(tracking.url, MODEL, 3)
    until(lambda: is_state(engine, name, 3, "live"), 120)
    assert answer(engine, name) == 21.0
    assert states(engine, name)[2] == "failed" and len(states(engine, name)) == 3


@pytest.mark.nightly  # tests/control/watching plays a registry that goes away
def test_a_registry_that_is_away_changes_nothing(
    engine: Engine, given: Given, tracking: TrackingProcess
) -> None:
    name = given.deployed(aliased("watch-away"))
    until_told(tracking, 1, name, state="live")
    tracking.kill()
    try:
        until(lambda: "watch_failed" in kinds(engine, name))
        (watch,) = engine.graph(name)["watches"]
        assert "does not answer" in watch["trouble"]
        assert "does not answer" in engine.command("status", name).stdout
        assert answer(engine, name) == 6.0
        done = engine.command("rollback", name, "--to", "1")  # a verdict that cannot be told now
        assert done.returncode == 0 or "live" in done.stderr
    finally:
        tracking.start()
    set_alias(tracking.url, MODEL, 2)
    until(lambda: is_state(engine, name, 2, "live"), 180)
    until_told(tracking, 2, name, state="live", revision=2)
    until_told(tracking, 1, name, state="replaced", revision=1)
    assert [kinds(engine, name).count(one) for one in ("watch_failed", "watch_recovered")] == [1, 1]
    assert engine.graph(name)["watches"][0]["trouble"] == ""


@pytest.mark.nightly  # tests/control/watching ends a controller in a move, too
def test_a_controller_that_dies_in_a_move_makes_it_once(
    engine: Engine, given: Given, tracking: TrackingProcess
) -> None:
    times = 10
    name = given.deployed(aliased("watch-killed"))
    for turn in range(times):
        version = 2 + turn % 2
        set_alias(tracking.url, MODEL, version)
        pause = (turn + 0.5) / times * 1.5  # from before a look to after the move
        kill_controller(engine, pause)
        until(partial(is_state, engine, name, turn + 2, "live"), 120)
        until(lambda: answer(engine, name) == SLOPES[version - 1] * 3)  # noqa: B023
    assert sorted(states(engine, name)) == list(range(1, times + 2))
    assert kinds(engine, name).count("model_moved") == times
    until_told(tracking, version, name, state="live", revision=times + 1)


def kill_controller(engine: Engine, pause: float) -> None:
    (controller,) = actor_processes(engine, "Controller")
    time.sleep(pause)  # any moment may be the wrong one
    os.kill(controller.pid, signal.SIGKILL)
    until(lambda: any(one.pid != controller.pid for one in actor_processes(engine, "Controller")))


@pytest.mark.nightly
def test_a_file_is_followed_and_a_revision_keeps_its_bytes(
    engine: Engine, given: Given, tracking: TrackingProcess, tmp_path: Path
) -> None:
    versions = [model_file(tracking, version) for version in (1, 2)]
    place = tmp_path / "model.skops"
    shutil.copy(versions[0], place)
    name = given.deployed(watching("watch-file", place.as_uri()))
    assert answer(engine, name) == 6.0
    shutil.copy(versions[1], place.with_suffix(".new"))
    place.with_suffix(".new").rename(place)
    until(lambda: is_state(engine, name, 2, "live"), 120)
    assert answer(engine, name) == 15.0
    assert engine.graph(name)["revisions"][0]["author"] == "watch"

    until(lambda: is_state(engine, name, 1, "retired"), 120)
    done = engine.command("rollback", name, "--to", "1")
    assert done.returncode == 0, done.stderr
    assert answer(engine, name) == 6.0  # from the cache; the file has moved on


def model_file(tracking: TrackingProcess, version: int) -> Path:
    """Return the file of a version in the server's folder."""
    found = call(
        tracking.url, "GET", "model-versions/get-download-uri", name=MODEL, version=str(version)
    )
    (place,) = re.findall(r"m-[0-9a-f]{16,}", found["artifact_uri"])
    (path,) = [one for one in tracking.folder.rglob("model.skops") if place in one.parts]
    return path
