"""Ray's helpers, the supervisor and the head die or stop, and the engine mends itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from benchmarks.deaths import ALONE, BEHIND, WITH_RAY
from benchmarks.holding import held
from tests.actors import command_line
from tests.e2e.conftest import Given, node, spec, value
from tests.engines import BODY, Engine, done
from tests.waiting import until

pytestmark = pytest.mark.e2e

CODE = """
class Double:
    def transform(self, x):
        return x * 2
"""
ZYGOTE = "anabranch.serve.workers.zygote"
NEEDED_BY_NO_REQUEST = {
    "Serve's controller": BEHIND["Serve's controller"],
    "zygote": ZYGOTE,
    "supervisor": ALONE["supervisor"],
}
"""Processes that are watched for their end or their stop, and of which an answer is not asked."""
FRUIT = {"inputs": [{"name": "fruit", "datatype": "FP32", "shape": [1, 2], "data": [0.9, 0.2]}]}
CLIENTS = 8
EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart" / "graph.yaml"


def found(engine: Engine, part: str) -> list[psutil.Process]:
    """The processes of an engine with this part in their command lines."""
    state = engine.state
    assert state is not None
    return [process for process in engine.processes(state) if part in line_of(process)]


def line_of(process: psutil.Process) -> str:
    try:
        return command_line(process)
    except psutil.Error:
        return ""


def oldest(engine: Engine, part: str) -> psutil.Process:
    """The process of this part; those that it has just forked look like it."""
    return min(found(engine, part), key=lambda one: one.create_time())


def hit(engine: Engine, part: str, number: signal.Signals) -> int:
    (victim,) = found(engine, part)
    os.kill(victim.pid, number)
    return victim.pid


def is_replaced(engine: Engine, part: str, old: int) -> bool:
    return any(process.pid != old for process in found(engine, part))


def survives(
    engine: Engine, given: Given, load: Callable[..., Any], helper: str, number: signal.Signals
) -> str:
    """Hit a helper under load, and return the name of the graph that was asked meanwhile."""
    name = given.deployed(spec("mended", double=node("Double")), CODE)
    with load(name) as running:
        old = hit(engine, ALONE[helper], number)
        running.until(lambda: is_replaced(engine, ALONE[helper], old))
        running.until_asked(200)
    assert running.failures == {}
    return name


@pytest.mark.parametrize(
    "helper",
    ["GCS", *(pytest.param(one, marks=pytest.mark.nightly) for one in ALONE if one != "GCS")],
)
def test_a_helper_that_is_killed_is_replaced_and_no_request_fails(
    engine: Engine, given: Given, load: Callable[..., Any], helper: str
) -> None:
    name = survives(engine, given, load, helper, signal.SIGKILL)
    again = spec(name, double=node("Double"), again=node("Double", "double"))
    given.deployed(again, CODE)
    assert value(engine.infer(name)) == [4, 8]
    until(lambda: done_or_not(engine, "doctor"))


@pytest.mark.nightly
@pytest.mark.parametrize("helper", ALONE)
def test_a_helper_that_is_stopped_is_replaced_and_no_request_fails(
    engine: Engine, given: Given, load: Callable[..., Any], helper: str
) -> None:
    survives(engine, given, load, helper, signal.SIGSTOP)


@pytest.mark.nightly
@pytest.mark.parametrize("part", NEEDED_BY_NO_REQUEST)
def test_requests_go_on_while_a_process_hangs_that_is_not_asked(
    engine: Engine, given: Given, load: Callable[..., Any], part: str
) -> None:
    name = given.deployed(spec("beside", double=node("Double")), CODE)
    process = oldest(engine, NEEDED_BY_NO_REQUEST[part])
    with ExitStack() as stack:
        try:
            stack.enter_context(held(process.pid))
        except PermissionError:
            pytest.skip("this system lets no process hold another")
        with load(name) as running:
            running.until_asked(500)
    assert running.failures == {}
    until(lambda: done_or_not(engine, "doctor"))


@pytest.mark.nightly
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_replicas_start_where_the_zygote_does_not_answer(
    engine: Engine, given: Given, load: Callable[..., Any], number: signal.Signals
) -> None:
    name = given.deployed(spec("before-zygote", double=node("Double")), CODE)
    with load(name) as running:
        old = oldest(engine, ZYGOTE).pid
        os.kill(old, number)
        after = given.deployed(spec("after-zygote", double=node("Double")), CODE)
        assert value(engine.infer(after)) == [2, 4]
        running.until(lambda: is_replaced(engine, ZYGOTE, old))
    assert running.failures == {}


@pytest.mark.nightly
@pytest.mark.parametrize("process", BEHIND)
def test_what_is_stopped_behind_the_ports_is_replaced(
    engine: Engine, given: Given, load: Callable[..., Any], process: str
) -> None:
    """Each client loses what HAProxy has of it, and no request passes through the others."""
    name = given.deployed(spec("mended", double=node("Double")), CODE)
    with load(name, clients=CLIENTS) as running:
        old = hit(engine, BEHIND[process], signal.SIGSTOP)
        running.until(lambda: is_replaced(engine, BEHIND[process], old))
        running.until_asked(200)
    assert sum(running.failures.values()) <= (CLIENTS if process == "HAProxy" else 0)
    assert running.failed_again == 0
    until(lambda: done_or_not(engine, "doctor"))


def status_of(engine: Engine, name: str, body: Any = BODY) -> int:
    try:
        return engine.infer(name, body, timeout=5).status_code
    except httpx.HTTPError:
        return 0


def done_or_not(engine: Engine, command: str) -> bool:
    return engine.command(command).returncode == 0


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Engine]:
    """An engine of its own, with a graph."""
    engine = Engine(tmp_path / "home")
    engine.up()
    done(engine.process("deploy", EXAMPLE))
    yield engine
    engine.down()


@pytest.mark.nightly
@pytest.mark.parametrize("helper", WITH_RAY)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_ray_is_started_anew_with_all_graphs(
    own: Engine, helper: str, number: signal.Signals
) -> None:
    old = hit(own, "/raylet ", signal.SIGCONT)
    hit(own, WITH_RAY[helper], number)
    until(lambda: is_replaced(own, "/raylet ", old), 120)
    until(lambda: status_of(own, "quickstart", FRUIT) == 200, 120)
    assert "starting Ray anew" in (own.home / "logs" / "supervisor.log").read_text()
    assert done(own.process("up")).returncode == 0


@pytest.mark.nightly
def test_an_engine_in_the_foreground_ends_as_it_is_told_and_says_if_it_ends_by_itself(
    tmp_path: Path,
) -> None:
    engine = Engine(tmp_path / "home")
    up = engine.command_line("up", "--foreground", *engine.ports.options())
    try:
        with subprocess.Popen(up, env=engine.environment(), stderr=subprocess.PIPE) as first:
            until(lambda: engine.state is not None and engine.state.ready, 120)
            report = engine.process("doctor", "-o", "json")
            parts = {one["part"]: one for one in json.loads(report.stdout)}
            assert report.returncode == 0, report.stdout
            assert parts["Ray's GCS"]["state"] == "answers"
            first.send_signal(signal.SIGTERM)
            assert first.wait(60) == 0
        assert engine.state is None
        assert engine.process("doctor").returncode == 1
        with subprocess.Popen(up, env=engine.environment(), stderr=subprocess.PIPE) as second:
            until(lambda: engine.state is not None and engine.state.ready, 120)
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for part in (WITH_RAY["head"], ALONE["supervisor"]):
                    hit(engine, part, number)
            assert second.wait(60) == 1
            assert second.stderr is not None
            assert b"the engine has ended" in second.stderr.read()
        ill = engine.process("doctor")
        assert ill.returncode == 1 and "supervisor: anabranch up" in ill.stdout
    finally:
        engine.down()
