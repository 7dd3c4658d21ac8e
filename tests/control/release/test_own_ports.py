"""A deploy of a graph with a port of its own that something of the engine has."""

from __future__ import annotations

from pathlib import Path
from threading import Barrier, Thread

import pytest

from anabranch.client.connection.engine_state import EngineState, write_state
from anabranch.control.lifecycle import operations
from tests.control.control_api import SPEC, TestControl


@pytest.fixture
def engine(tmp_path: Path) -> TestControl:
    return TestControl(tmp_path)


def with_port(port: int) -> str:
    return f"{SPEC}  serving: {{port: {port}}}\n"


def refusal(engine: TestControl, name: str, port: int, status: int) -> str:
    found, body = engine.deploy(name, spec=with_port(port))
    assert found == status, body
    message: str = body["error"]
    return message


@pytest.mark.parametrize(
    ("port", "owner"),
    [
        (8000, "the --http-port"),
        (9000, "the --grpc-port"),
        (8265, "the --dashboard-port"),
        (13_000, "in the block of ports 13000 to 13999"),
        (13_999, "in the block of ports 13000 to 13999"),
    ],
)
def test_the_engine_s_own_ports_are_refused(engine: TestControl, port: int, owner: str) -> None:
    state = EngineState(
        "id", "http://127.0.0.1:8000", "127.0.0.1:9000", "http://127.0.0.1:8265",
        "127.0.0.1:13001", "/nowhere",
    )  # fmt: skip
    write_state(engine.folder / "home", state)
    assert refusal(engine, "digits", port, 400) == (
        f"spec.serving.port: {port} is {owner} of the engine; choose another port"
    )
    assert engine.call("GET", "/graphs")[1] == {"graphs": []}
    for free in (12_999, 14_000):
        assert engine.deploy(spec=with_port(free))[0] == 202


@pytest.mark.parametrize("state", ["on its way", "up", "warm", "unloaded"])
def test_another_graph_s_port_is_refused_while_that_may_need_it(
    engine: TestControl, state: str
) -> None:
    assert engine.deploy("digits", spec=with_port(7000))[0] == 202
    if state != "on its way":
        engine.arrive(1)
    if state == "warm":
        engine.deploy("digits")
        engine.arrive(2)
    if state == "unloaded":
        engine.change("digits", operations.unloaded)
    assert refusal(engine, "iris", 7000, 409) == (
        "spec.serving.port: 7000 is the port of graph 'digits' (revision 1); choose another port"
    )
    assert engine.deploy("iris", spec=with_port(7001))[0] == 202
    assert engine.deploy("wine")[0] == 202


@pytest.mark.parametrize("way", ["failed", "replaced", "deleted"])
def test_a_port_that_is_needed_no_more_is_free(engine: TestControl, way: str) -> None:
    engine.deploy("digits", spec=with_port(7000))
    if way == "failed":
        engine.fail(1, "it has a reason")
    else:
        engine.arrive(1)
    if way == "replaced":
        engine.deploy("digits")
        engine.arrive(2)
        engine.expire()
    if way == "deleted":
        engine.change("digits", operations.deleted)
    assert engine.deploy("iris", spec=with_port(7000))[0] == 202


def test_a_graph_keeps_its_port_from_revision_to_revision(engine: TestControl) -> None:
    for number in (1, 2):
        assert engine.deploy(spec=with_port(7000))[0] == 202
        engine.arrive(number)


def test_of_two_deployed_at_once_one_gets_the_port(engine: TestControl) -> None:
    names = ("digits", "iris")
    bodies = {name: engine.bundle(name, with_port(7000)) for name in names}
    both, found = Barrier(2), []

    def deploy(name: str) -> None:
        both.wait(30)
        found.append(engine.call("POST", f"/graphs/{name}/revisions", "", bodies[name])[0])

    threads = [Thread(target=deploy, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(found) == [202, 409]


def test_beside_tls_there_is_none(tmp_path: Path) -> None:
    files = {"ANABRANCH_TLS_CERT": "/cert.pem", "ANABRANCH_TLS_KEY": "/key.pem"}
    engine = TestControl(tmp_path, **files)
    assert refusal(engine, "digits", 7000, 400) == (
        "spec.serving.port: 7000: the engine speaks TLS, and graphs' own ports do not; "
        "leave the port out"
    )
    assert engine.deploy("digits")[0] == 202
