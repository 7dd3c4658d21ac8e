"""What takes requests on a machine is bound to it, and answers at its address."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anabranch.control.nodes import faces
from anabranch.control.nodes.faces import FaceRunner, applications, edge
from anabranch.control.nodes.ingress import AGENT, named
from anabranch.control.nodes.node import Node
from anabranch.control.reconcile import serving
from anabranch.control.settings.settings import Settings
from anabranch.serve.edge.listener import EdgeAddress
from anabranch.serve.edge.tls.certificates import TlsFiles
from anabranch.serve.replicas.edge import EDGE_ACTOR, SecuredEdge
from anabranch.serve.replicas.front import FRONT_APP
from anabranch.serve.replicas.gateway import GATEWAY_APP
from anabranch.serve.sockets import EDGE
from tests.control.nodes.machines import HEAD, TWO


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    env = {"ANABRANCH_HOME": str(tmp_path), "ANABRANCH_HTTP_HOST": "10.0.0.1"}
    return Settings.from_env(env)


@pytest.mark.parametrize(
    ("node", "resource", "host"),
    [(HEAD, "node:__internal_head__", "10.0.0.1"), (TWO, "node:10.0.0.2", "10.0.0.2")],
)
def test_a_gateway_and_a_front_are_bound_to_their_machine(
    settings: Settings, node: Node, resource: str, host: str
) -> None:
    for kind, port in ((GATEWAY_APP, 8000), (FRONT_APP, 9000)):
        made: Any = applications(settings, node)[kind]()
        bound = made._bound_deployment
        assert bound.ray_actor_options["resources"] == {resource: 0.001}
        assert bound.init_args[-1] == (host, port)


@pytest.mark.parametrize("loopback", [False, True])
def test_only_on_loopback_the_console_is_read_without_a_key(
    settings: Settings, loopback: bool
) -> None:
    settings = replace(settings, anonymous=("invoker",))
    made: Any = applications(settings, HEAD, loopback)[GATEWAY_APP]()
    assert made._bound_deployment.init_args[2] is loopback


class Started:
    """Takes down the edges that are started, in Ray's place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.edges: list[tuple[Any, ...]] = []
        monkeypatch.setattr(faces, "start_edge", lambda *arguments: self.edges.append(arguments))


def test_an_edge_has_the_address_of_its_machine_and_only_the_head_s_has_files(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EDGE, "/haproxy")
    started, tls = Started(monkeypatch), TlsFiles(Path("/c"), Path("/k"), Path("/ca"))
    secured = replace(settings, tls=tls)
    for node in (HEAD, TWO):
        edge(secured, node)
        edge(replace(settings, http_host="0.0.0.0"), node)
    found = [(*one[:3], one[4]) for one in started.edges]
    two = named(EDGE_ACTOR, TWO)
    everywhere = EdgeAddress("0.0.0.0", 8000, 9000)
    assert found == [
        (HEAD.id, EDGE_ACTOR, EdgeAddress("10.0.0.1", 8000, 9000), SecuredEdge(tls, True)),
        (HEAD.id, EDGE_ACTOR, everywhere, None),
        (TWO.id, two, EdgeAddress("10.0.0.2", 8000, 9000), SecuredEdge(None, True)),
        (TWO.id, two, everywhere, None),
    ]


def test_without_an_haproxy_there_is_no_edge(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(EDGE, raising=False)
    started = Started(monkeypatch)
    assert edge(settings, TWO) is None and started.edges == []


def test_an_application_that_runs_already_is_not_started_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would get new replicas; what is known of applications is some seconds old."""
    there: dict[str, Any] = {}
    started: list[str] = []
    monkeypatch.setattr(serving, "details", lambda: there)
    monkeypatch.setattr(serving, "start_application", lambda name, build: started.append(name))
    runner = FaceRunner(settings, serving, dict)
    runner.start(GATEWAY_APP, TWO)
    there[named(GATEWAY_APP, TWO)] = {}
    runner.start(GATEWAY_APP, TWO)
    runner.start(FRONT_APP, TWO)
    assert started == [named(GATEWAY_APP, TWO), named(FRONT_APP, TWO)]


@pytest.mark.parametrize("kind", [AGENT, EDGE_ACTOR])
def test_actors_and_applications_stop_in_their_own_ways(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    stopped: list[tuple[str, str]] = []
    monkeypatch.setattr(serving, "delete", lambda name: stopped.append((name, "")))
    monkeypatch.setattr(faces.bound_actors, "stop", lambda name, last: stopped.append((name, last)))
    runner = FaceRunner(settings, serving, dict)
    runner.stop(named(kind, TWO))
    runner.stop(named(FRONT_APP, TWO))
    assert stopped == [(named(kind, TWO), "close"), (named(FRONT_APP, TWO), "")]


@pytest.mark.parametrize(("answer", "expected"), [(True, True), (False, False), (None, False)])
def test_an_edge_that_does_not_say_so_has_not_closed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, answer: bool | None, expected: bool
) -> None:
    asked: list[tuple[str, str]] = []

    def ask(name: str, method: str) -> bool | None:
        asked.append((name, method))
        return answer

    monkeypatch.setattr(faces.bound_actors, "ask", ask)
    edge = named(EDGE_ACTOR, TWO)
    assert FaceRunner(settings, serving, dict).has_closed(edge) is expected
    assert asked == [(edge, "drain")]
