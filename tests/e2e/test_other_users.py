"""Another user of the machine reaches an engine's ports, but runs nothing there and reads nothing.

Needs to be root, for only root can become that user.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from anabranch.client.connection.engine_state import RAY_TOKEN_FILE
from tests.actors import command_line
from tests.e2e import intruder
from tests.e2e.conftest import Given, node, spec, value
from tests.engines import Engine
from tests.waiting import until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user"),
]
STRANGER = "nobody"
CODE = """
class Same:
    def transform(self, x):
        return x
"""

RENEGADE = """
import os
import pwd

import numpy as np
import ray


class Renegade:
    def transform(self, x):
        user = pwd.getpwnam("nobody")
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
        try:
            open(os.environ["RAY_AUTH_TOKEN_PATH"]).close()
            can_read = 1
        except PermissionError:
            can_read = 0
        other = ray.get(ray.remote(num_cpus=0)(lambda: __import__("os").getuid()).remote())
        return np.array([os.getuid(), can_read, other])
"""


@dataclass
class Attack:
    """An engine's servers, and what came of trying them."""

    engine: Engine
    listening: dict[int, str]
    """Processes by the ports on which they listen."""
    folder: Path

    def tried(self, ports: list[int], token: str = "") -> dict[str, Any]:
        """What a stranger's attempts at these ports come to."""
        state = self.engine.state
        assert state is not None
        home, runtime = self.engine.home, Path(state.runtime)
        files = (home, home / "token", home / RAY_TOKEN_FILE, home / "store.db", runtime)
        told = {
            "user": STRANGER, "folder": str(self.folder), "token": token, "ports": ports,
            "files": list(map(str, files)),
            "pids": [process.pid for process in self.engine.processes(state)],
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, intruder.__file__],
            input=json.dumps(told), capture_output=True, text=True, timeout=300,
            cwd=self.folder,
            env={"HOME": str(self.folder), "PATH": os.defpath, "RAY_AUTH_MODE": "token"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
        return found

    @property
    def written(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.name[0].isdigit())

    def port_of(self, process: str, answer: dict[str, str]) -> int:
        """The port of a process at which a call was told to show a token."""
        ports = [
            int(call.partition("/")[0])
            for call, outcome in answer.items()
            if outcome == "UNAUTHENTICATED"
        ]
        return next(port for port in ports if self.listening[port].startswith(process))


def servers(engine: Engine) -> dict[int, str]:
    """Processes of an engine by the TCP ports on which they listen."""
    state = engine.state
    assert state is not None
    found = {}
    for process in engine.processes(state):
        with suppress(psutil.NoSuchProcess):
            for connection in process.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found[connection.laddr.port] = command_line(process)
    return found


@pytest.fixture(scope="module")
def attack(engine: Engine, given_once: Given) -> Iterator[Attack]:
    apart = node("Same", "near", placement={"isolate": True})
    given_once.deployed(spec(intruder.GRAPH, near=node("Same"), far=apart), CODE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield Attack(engine, servers(engine), folder)


@pytest.fixture(scope="module")
def tried(attack: Attack) -> dict[str, Any]:
    """What all attempts came to, at every port."""
    return attack.tried(sorted(attack.listening))


def test_no_port_runs_anything(attack: Attack, tried: dict[str, Any]) -> None:
    assert tried["user"] != os.geteuid()
    assert attack.written == []
    for kind in ("pages", "jobs", "runtime environments"):
        taken = {where: status for where, status in tried[kind].items() if status[0] == "2"}
        # Servers of metrics answer whatever they are asked with these.
        assert not [where for where, status in taken.items() if "text/plain" not in status], taken
    for kind in ("ray", "serve"):
        assert not [where for where, status in tried[kind].items() if status == "OK"]


def test_every_server_of_ray_asks_for_the_token(attack: Attack, tried: dict[str, Any]) -> None:
    """Each kind is met: an attempt at a port that is none of that kind proves nothing."""
    for call in (*intruder.RAY, *intruder.SERVE):
        asked = (tried["ray"] | tried["serve"]).items()
        outcomes = {status for where, status in asked if where.endswith(call)}
        assert "UNAUTHENTICATED" in outcomes, (call, outcomes)
    for kind in ("pages", "jobs", "runtime environments"):
        assert any(status.startswith("401") for status in tried[kind].values()), tried[kind]


def test_nothing_private_can_be_read(tried: dict[str, Any]) -> None:
    """Neither files, nor variables, memory and open files of processes."""
    assert len(tried["files"]) == 5
    assert set(tried["files"].values()) == {"PermissionError"}
    gone = {"FileNotFoundError", "ProcessLookupError"}
    assert set(tried["processes"].values()) - gone == {"PermissionError"}


def test_the_engines_own_doors_ask_for_a_key_and_nothing_changes(
    attack: Attack, tried: dict[str, Any]
) -> None:
    engine = attack.engine
    there = {call: tried["own"][f"{engine.ports.http}{call}"][:3] for call in intruder.OWN}
    assert there == dict.fromkeys(intruder.OWN, "401")
    taken = {where: status for where, status in tried["own"].items() if status[0] in "23"}
    # Servers of metrics answer whatever they are asked with these.
    assert not [where for where, status in taken.items() if "text/plain" not in status], taken
    assert tried["unload"][f"{engine.ports.grpc}{intruder.UNLOAD}"] == "UNAUTHENTICATED"
    assert "OK" not in tried["unload"].values()
    events = engine.api("GET", "/events", params={"graph": intruder.GRAPH}).json()["events"]
    actors = {one["kind"] for one in events if one["actor"]["kind"] == "anonymous"}
    assert actors <= {"refused"}
    assert value(engine.infer(intruder.GRAPH)) == [1, 2]


@pytest.mark.nightly
def test_with_the_token_the_same_attempts_succeed(attack: Attack, tried: dict[str, Any]) -> None:
    """So that their failure says something."""
    token = (attack.engine.home / RAY_TOKEN_FILE).read_text().strip()
    dashboard = attack.engine.ports.dashboard
    replica = attack.port_of("ray::ServeReplica:coveted", tried["serve"])
    found = attack.tried([dashboard, replica], token)
    assert found["jobs"][f"{dashboard}{intruder.JOBS[0]}"].startswith("200")
    until(lambda: any(name.startswith(f"{dashboard}-") for name in attack.written))
    until(lambda: any(name.startswith(f"{replica}-") for name in attack.written))


@pytest.mark.nightly
def test_a_component_that_became_another_user_runs_code_as_the_engine_s(
    engine: Engine, given: Given
) -> None:
    """Why there is no ``run_as``: its worker has the Ray token in memory, and Ray has one user."""
    given.deployed(spec("renegade", one=node("Renegade", placement={"isolate": True})), RENEGADE)
    reply = engine.infer("renegade")
    stranger = pwd.getpwnam(STRANGER).pw_uid
    assert value(reply) == [stranger, 0, os.geteuid()]
