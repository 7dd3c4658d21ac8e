"""Lines of all machines, in the order of time, with a cursor that goes on at each."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from anabranch.control.nodes.everywhere import Everywhere
from anabranch.control.nodes.files import MachineFiles
from anabranch.control.nodes.ingress import AGENT, named
from anabranch.control.nodes.logs import EngineLogs
from anabranch.control.nodes.node import Node
from anabranch.control.observe.logs import Logs, Wanted
from anabranch.errors import InvalidRequest, NotFound
from tests.control.nodes.machines import HEAD, THREE, TWO, numbered


def replica(name: str, machine: Node) -> dict[str, Any]:
    where = {"node_id": machine.id, "node_ip": machine.address}
    return {"replica_id": name, "worker_id": name, **where}


def apps(*replicas: dict[str, Any]) -> dict[str, Any]:
    return {"shop": {"deployments": {"router": {"replicas": list(replicas)}}}}


APPS = apps(replica("a", HEAD), replica("b", TWO), replica("c", THREE))


class RemoteFiles:
    """The files of another machine, as its agent reads them."""

    def __init__(self, folder: Path) -> None:
        self._files = MachineFiles(lambda: folder, None)
        self.is_away = False

    async def call(self, method: str, *arguments: Any, timeout: float | None = None) -> Any:
        if self.is_away:
            raise ConnectionError("the machine is away")
        assert method == "ask"
        asked, *others = arguments
        return await asyncio.to_thread(getattr(self._files, asked), *others)


class Cluster:
    """Machines with a folder of logs each, whose numbers of files may be the same."""

    def __init__(self, folder: Path, *present: Node) -> None:
        self.folder = folder
        self.now = 0
        for one in (HEAD, TWO, THREE):
            (folder / one.name).mkdir()
        self.agents = {named(AGENT, one): RemoteFiles(folder / one.name) for one in (TWO, THREE)}
        own = MachineFiles(lambda: folder / HEAD.name, None)
        everywhere = Everywhere(own, lambda: present, self.agents.__getitem__, lambda: self.now)
        self._logs = EngineLogs(everywhere)

    def write(self, machine: Node, worker: str, text: str, second: int) -> None:
        line = f'{{"time": "2026-01-01T00:00:{second:02}", "level": "INFO", "logger": "mine", '
        path = self.folder / machine.name / f"worker-{worker}-01-9.out"
        with path.open("a") as file:
            file.write(f'{line}"message": "{text}"}}\n')

    def read(
        self, cursor: str | None = None, machine: str = "", applications: Any = APPS, most: int = 10
    ) -> Logs:
        reading = self._logs.read(applications, "shop", Wanted(), most, cursor, machine)
        return asyncio.run(reading)


def told(found: Logs) -> list[tuple[str, str]]:
    return [(line.get("machine", ""), line["message"]) for line in found.lines]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    made = Cluster(tmp_path, HEAD, TWO, THREE)
    for second, (machine, worker) in enumerate([(TWO, "b"), (HEAD, "a"), (THREE, "c")]):
        made.write(machine, worker, str(second), second)
    return made


def test_lines_of_all_machines_come_in_the_order_of_time(cluster: Cluster) -> None:
    assert told(cluster.read()) == [("m2", "0"), ("m1", "1"), ("m3", "2")]
    assert told(cluster.read(most=2)) == [("m1", "1"), ("m3", "2")]


@pytest.mark.parametrize("name", ["m2", "10.0.0.2"])
def test_one_machine_is_chosen_by_its_name_or_address(cluster: Cluster, name: str) -> None:
    assert told(cluster.read(machine=name)) == [("m2", "0")]


def test_an_unknown_machine_is_refused_with_those_that_are_there(cluster: Cluster) -> None:
    with pytest.raises(NotFound, match="no machine of the engine is 'm7'; there are: m1, m2, m3"):
        cluster.read(machine="m7")


def test_a_cursor_goes_on_at_each_machine(cluster: Cluster) -> None:
    cursor = cluster.read().cursor
    assert told(cluster.read(cursor)) == []
    cluster.write(THREE, "c", "late", 8)
    cluster.write(HEAD, "a", "early", 7)
    found = cluster.read(cursor)
    assert told(found) == [("m1", "early"), ("m3", "late")]
    assert told(cluster.read(found.cursor)) == []


def test_a_machine_that_is_away_is_named_once_and_read_on_later(cluster: Cluster) -> None:
    cursor = cluster.read().cursor
    agent = cluster.agents[named(AGENT, TWO)]
    agent.is_away = True
    (first, *others) = told(cluster.read())
    assert first[0] == "m2" and "does not answer" in first[1]
    assert others == [("m1", "1"), ("m3", "2")]
    cluster.write(TWO, "b", "missed", 9)
    found = cluster.read(cursor)
    assert told(found) == []
    agent.is_away, cluster.now = False, 1000
    assert told(cluster.read(found.cursor)) == [("m2", "missed")]


def test_replicas_on_a_machine_that_is_no_more_are_told(cluster: Cluster) -> None:
    lost = numbered(9)
    (first, *_) = told(cluster.read(applications=apps(replica("z", lost), replica("a", HEAD))))
    assert first == ("10.0.0.9", "this machine is gone, and its logs with it")


@pytest.mark.parametrize("cursor", ["x", "1:2", "f0/1:2;3:4", f"{HEAD.id}/x"])
def test_what_is_no_cursor_is_refused(cluster: Cluster, cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="no cursor"):
        cluster.read(cursor)


def test_an_engine_of_one_machine_names_none(tmp_path: Path) -> None:
    alone = Cluster(tmp_path)
    alone.write(HEAD, "a", "here", 1)
    found = alone.read()
    assert told(found) == [("", "here")] and ";" not in found.cursor and "/" not in found.cursor
    with pytest.raises(NotFound, match="no machine 'm1' to choose: the engine has one"):
        alone.read(machine="m1")
