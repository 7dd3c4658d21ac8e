"""Whatever dies, the graphs come back, and requests do not notice where they need not."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.conftest import Given, node, spec, value
from tests.engines import Engine, actor_processes

pytestmark = pytest.mark.e2e

CODE = """
class Double:
    def transform(self, x):
        return x * 2
"""


def test_the_dashboard_shows_graphs_by_their_names(engine: Engine, given: Given) -> None:
    apart = {"placement": {"isolate": True}}
    name = given.deployed(
        spec("shown", light=node("Double"), heavy=node("Double", "light", **apart)), CODE
    )
    found = engine.dashboard("/api/serve/applications/").json()["applications"]
    assert set(found[name]["deployments"]) == {"router"}
    assert set(found[f"{name}.r1"]["deployments"]) == {"heavy"}


@pytest.mark.nightly
def test_every_graph_is_back_after_ray_was_stopped_entirely(engine: Engine, given: Given) -> None:
    light = given.deployed(spec("back-light", double=node("Double")), CODE)
    apart = {"placement": {"isolate": True}}
    heavy = given.deployed(spec("back-heavy", double=node("Double", **apart)), CODE)
    given.deployed(spec("back-light", double=node("Double"), again=node("Double", "double")), CODE)
    engine.down()
    engine.up()
    assert value(engine.infer(light)) == [4, 8]
    assert value(engine.infer(heavy)) == [2, 4]
    with engine.control() as control:
        assert [r["revision"] for r in control.graph(light)["revisions"]] == [2, 1]


def test_killing_the_controller_under_load_fails_no_request(
    engine: Engine, given: Given, load: Callable[..., Any]
) -> None:
    name = given.deployed(spec("headless", double=node("Double")), CODE)
    with load(name) as running:
        (controller,) = actor_processes(engine, "Controller")
        os.kill(controller.pid, signal.SIGKILL)
        running.until_asked(200)
        running.until(lambda: back(engine, controller.pid))
        running.until_asked(200)
    assert running.failures == {}
    done = given.deploy(spec(name, double=node("Double"), again=node("Double", "double")), CODE)
    assert done.returncode == 0, done.stderr
    assert value(engine.infer(name)) == [4, 8]


def back(engine: Engine, old: int) -> bool:
    return any(process.pid != old for process in actor_processes(engine, "Controller")) and (
        engine.command("status").returncode == 0
    )


@pytest.mark.nightly
def test_a_deploy_goes_on_when_the_controller_dies_in_it(engine: Engine, given: Given) -> None:
    name = given.deployed(spec("carried-on", double=node("Double")), CODE)
    path = given.bundle(spec(name, double=node("Double"), again=node("Double", "double")), CODE)
    sent = engine.command("deploy", str(path), "--no-wait")
    assert sent.returncode == 0, sent.stderr
    (controller,) = actor_processes(engine, "Controller")
    os.kill(controller.pid, signal.SIGKILL)
    deadline = time.monotonic() + 90
    while (reply := engine.infer(name)).json()["model_version"] != "2":
        assert value(reply) == [2, 4]
        assert time.monotonic() < deadline
    assert value(engine.infer(name)) == [4, 8]


@pytest.mark.nightly
def test_a_deploy_is_sent_again_while_the_controller_is_away(engine: Engine, given: Given) -> None:
    name = given.deployed(spec("sent-again", double=node("Double")), CODE)
    path = given.bundle(spec(name, double=node("Double"), again=node("Double", "double")), CODE)
    (controller,) = actor_processes(engine, "Controller")
    os.kill(controller.pid, signal.SIGKILL)
    done = engine.command("deploy", str(path))
    assert done.returncode == 0, done.stderr
    assert value(engine.infer(name)) == [4, 8]


@pytest.mark.nightly
def test_a_killed_segment_replica_is_replaced(engine: Engine, given: Given) -> None:
    apart = {"placement": {"isolate": True}}
    name = given.deployed(spec("phoenix", double=node("Double", **apart)), CODE)
    (replica,) = actor_processes(engine, "ServeReplica:phoenix.r1:double")
    os.kill(replica.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while (reply := engine.infer(name)).status_code != 200:
        # Never anything but "try again".
        assert reply.status_code == 503, reply.text
        assert "retry-after" in reply.headers
        assert time.monotonic() < deadline
    assert value(reply) == [2, 4]
