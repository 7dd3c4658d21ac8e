"""Endpoints of machines, over a cluster of values."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from anabranch.access.identity import TOKEN, Identity
from anabranch.access.roles import Grant
from anabranch.client.connection.engine_state import RAY_TOKEN_FILE
from anabranch.control.access.authority import write_certificates
from anabranch.control.api.endpoints import ApiCall
from anabranch.control.api.nodes import NodeApi
from anabranch.control.nodes.node import ClusterLook, Node
from anabranch.control.nodes.ticket import Ticket, versions
from anabranch.control.nodes.turns import JoinTurns
from anabranch.control.settings.settings import Settings
from anabranch.errors import Conflict, InvalidRequest, NotFound, Unavailable
from anabranch.router.between_nodes import AUTHORITY, NODE
from tests.control.control_api import TestControl
from tests.control.nodes.machines import app, node

ASKED = {"name": "two", "address": "10.0.0.3", "machine": "m2", "versions": versions()}
ENV = {
    "ANABRANCH_LOOPBACK": "0",
    "ANABRANCH_ENGINE_ID": "e1",
    "ANABRANCH_SHARED": "ANABRANCH_GRACE",
    "ANABRANCH_GRACE": "30",
    "ANABRANCH_STORE": "secret",
}


class Cluster:
    """Machines that drain as soon as they are told to."""

    def __init__(self, *nodes: Node) -> None:
        self.nodes = {one.id: one for one in nodes}
        self.told: list[str] = []

    def address(self) -> str:
        return "10.0.0.1:10001"

    def look(self) -> ClusterLook:
        return ClusterLook(tuple(self.nodes.values()))

    def drain(self, node: str, why: str) -> None:
        self.told.append(why)
        self.nodes[node] = replace(self.nodes[node], state="draining")


class Log:
    def __init__(self) -> None:
        self.events: list[tuple[str, str, Any]] = []

    def log(self, graph: str, revision: int | None, kind: str, message: str, data: Any) -> None:
        self.events.append((kind, message, data))


class Machines:
    """The endpoints, and what is behind them."""

    def __init__(self, home: Path, *nodes: Node, **env: str) -> None:
        (home / RAY_TOKEN_FILE).write_text("ray-secret\n")
        self.cluster, self.log = Cluster(node("head", is_head=True), *nodes), Log()
        apps = {"g": app(router=["head", "two"])}
        settings = Settings.from_env({"ANABRANCH_HOME": str(home)})
        write_certificates(home, {AUTHORITY: b"the-authority", NODE: b"the-node"})
        self.starting: set[str] = set()
        turns = JoinTurns(lambda: self.starting)
        self.api = NodeApi(settings, self.log, self.cluster, lambda: apps, turns, ENV | env)

    def ask(self, method: str, path: str, body: Any = None, node: str = "") -> tuple[int, Any]:
        content = b"" if body is None else orjson.dumps(body)
        call = ApiCall("", 0, "", {}, content, TOKEN, node=node)
        found = self.api.routes[path][method]
        status, _, answer = asyncio.run(found.endpoint(call))  # type: ignore[arg-type]
        return status, orjson.loads(answer)

    def join(self, **changes: Any) -> tuple[int, Any]:
        return self.ask("POST", "/nodes", ASKED | changes)

    def drain(self, named: str) -> tuple[int, Any]:
        return self.ask("POST", "/nodes/(?P<node>[^/]{1,128})/drain", node=named)


def test_a_machine_that_may_join_gets_a_ticket_and_the_log_says_so(tmp_path: Path) -> None:
    machines = Machines(tmp_path)
    status, found = machines.join()
    assert status == 201
    assert Ticket.from_json(found) == Ticket(
        "e1",
        "10.0.0.1:10001",
        "ray-secret",
        {"ANABRANCH_GRACE": "30"},
        {AUTHORITY: "the-authority", NODE: "the-node"},
    )
    ((kind, message, data),) = machines.log.events
    assert (kind, message) == ("node_joining", "machine 'two' (10.0.0.3) was let join")
    assert "secret" not in str(data)


def test_a_machine_of_an_earlier_start_waits_its_turn(tmp_path: Path) -> None:
    machines = Machines(tmp_path, node("three"))
    machines.starting = {"shop"}
    with pytest.raises(Unavailable, match="has to wait until graphs are up: shop"):
        machines.join(again=True)
    assert machines.log.events == []
    # One that joins for the first time has nothing to lose, nor one whose Ray has ended.
    assert machines.join()[0] == 201
    assert machines.join(again=True, machine="m-three", address="10.0.0.5")[0] == 201
    machines.starting = set()
    assert machines.join(again=True)[0] == 201


def test_an_engine_on_loopback_says_how_machines_could_join(tmp_path: Path) -> None:
    machines = Machines(tmp_path, ANABRANCH_LOOPBACK="1")
    with pytest.raises(Conflict, match="on loopback: start it with `anabranch up --host ADDRESS`"):
        machines.join()
    assert machines.log.events == []


def test_on_a_ray_of_somebody_else_machines_come_and_go_by_ray_s_means(tmp_path: Path) -> None:
    machines = Machines(tmp_path, node("two"), ANABRANCH_HOME_NODE="ab12")
    with pytest.raises(Conflict, match="by `ray start --address HOST:PORT`, is the engine's, too"):
        machines.join()
    with pytest.raises(Conflict, match=r"'two' is a machine of a Ray .*`ray drain-node`"):
        machines.drain("two")
    assert machines.log.events == [] and machines.cluster.told == []


def test_other_versions_get_no_ticket(tmp_path: Path) -> None:
    with pytest.raises(Conflict, match=r"ray 1\.0, and the engine ray"):
        Machines(tmp_path).join(versions=versions() | {"ray": "1.0"})


@pytest.mark.parametrize(
    "changes", [{"name": ""}, {"more": 1}, {"versions": "2"}, {"address": "a" * 129}]
)
def test_what_is_no_machine_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        Machines(tmp_path).join(**changes)


def test_no_two_machines_have_one_address(tmp_path: Path) -> None:
    other = node("other", address="10.0.0.3")
    with pytest.raises(Conflict, match=r"10\.0\.0\.3 is a machine of this engine already, 'other'"):
        Machines(tmp_path, other).join()
    assert Machines(tmp_path, replace(other, state="lost")).join()[0] == 201


def test_a_machine_that_starts_anew_may_join_before_its_last_node_is_given_up(
    tmp_path: Path,
) -> None:
    before = node("two", address="10.0.0.3", labels={"anabranch.io/machine": "m2"})
    assert Machines(tmp_path, before).join()[0] == 201


def test_what_was_drained_comes_back_only_if_somebody_says_so(tmp_path: Path) -> None:
    before = node("two", state="drained", labels={"anabranch.io/machine": "m2"})
    machines = Machines(tmp_path, before)
    with pytest.raises(Conflict, match="'two' was drained: `anabranch join` there"):
        machines.join()
    assert machines.join(machine="m3")[0] == 201


def test_a_machine_is_drained_once(tmp_path: Path) -> None:
    machines = Machines(tmp_path, node("two"))
    for _ in range(2):
        status, found = machines.drain("two")
        assert (status, found["state"], len(found["segments"])) == (202, "draining", 1)
    assert machines.cluster.told == ["machine 'two' (10.0.0.3) is drained"]
    assert [kind for kind, _, _ in machines.log.events] == ["node_draining"]


def test_the_head_stays_and_unknown_machines_are_told(tmp_path: Path) -> None:
    machines = Machines(tmp_path, node("two"))
    with pytest.raises(Conflict, match=r"'head' is the engine's head machine.*`anabranch down`"):
        machines.drain("head")
    with pytest.raises(NotFound, match="there are: head, two"):
        machines.drain("three")
    assert machines.cluster.told == []


def test_the_list_says_what_runs_where(tmp_path: Path) -> None:
    status, found = Machines(tmp_path, node("two")).ask("GET", "/nodes")
    assert status == 200
    assert [len(one["segments"]) for one in found["nodes"]] == [1, 1]


def test_only_who_may_do_all_gets_a_ticket(tmp_path: Path) -> None:
    engine = TestControl(tmp_path)
    body = orjson.dumps(ASKED)
    for role, status in (("viewer", 403), ("operator", 403), ("deployer", 403)):
        asker = Identity("key", role, (Grant(role),))  # type: ignore[arg-type]
        assert engine.call("POST", "/nodes", body=body, identity=asker)[0] == status
    team = Identity("key", "lead", (Grant("admin", "team-a-*"),))
    assert engine.call("POST", "/nodes", body=body, identity=team)[0] == 403
    assert engine.call("GET", "/nodes", identity=team)[0] == 403
