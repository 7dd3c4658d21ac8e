"""Commands that are killed in the middle or given twice: the graph is as before or as asked for.

A command is killed once it has connected to the engine, or together with the controller; whatever
moment that is, giving it once more leads to what was asked for.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from threading import Thread

import psutil
import pytest

from tests.e2e.conftest import Given, node, spec, value
from tests.engines import Engine, actor_processes, done
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
CODE = """
class Add:
    def transform(self, x):
        return x + {number}
"""


def change(given: Given, name: str, number: int) -> Path:
    return given.bundle(spec(name, add=node("Add")), CODE.format(number=number))


def begun(engine: Engine, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        engine.command_line(*arguments), env=engine.environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def until_connected(process: subprocess.Popen[str], port: int) -> None:
    def connects() -> bool:
        if process.poll() is not None:
            return True  # it has ended
        found = psutil.Process(process.pid).net_connections(kind="tcp")
        return any(one.raddr and one.raddr.port == port for one in found)

    until(connects)


def revisions(engine: Engine, name: str) -> list[int]:
    return sorted(one["revision"] for one in engine.graph(name)["revisions"])


def test_the_same_deploy_twice_at_once_is_one_revision(engine: Engine, given: Given) -> None:
    name = "twins"
    given.made.append(name)
    path = change(given, name, 1)
    twins = [begun(engine, "deploy", path) for _ in range(2)]
    said = [one.communicate(timeout=300) for one in twins]
    assert [one.returncode for one in twins] == [0, 0], said
    assert value(engine.infer(name)) == [2, 3]
    assert revisions(engine, name) == [1]


def test_a_deploy_that_is_killed_is_made_or_not_and_can_be_given_again(
    engine: Engine, given: Given
) -> None:
    name = given.deployed(spec("cut-short", add=node("Add")), CODE.format(number=1))
    path = change(given, name, 2)
    killed = begun(engine, "deploy", path)
    until_connected(killed, engine.ports.http)
    killed.kill()
    killed.communicate()
    assert value(engine.infer(name)) in ([2, 3], [3, 4])
    done(engine.process("deploy", path))
    assert value(engine.infer(name)) == [3, 4]
    assert revisions(engine, name) == [1, 2]
    assert not list((engine.home / "bundles").glob("*.partial"))


@pytest.mark.parametrize("word", ["promote", "delete"])
@pytest.mark.parametrize("victim", ["command", "controller"])
def test_a_change_that_is_killed_is_made_or_not_and_can_be_given_again(
    engine: Engine, given: Given, word: str, victim: str
) -> None:
    name = given.deployed(spec(f"cut-{word}-{victim}", add=node("Add")), CODE.format(number=1))
    given.beside(spec(name, add=node("Add")), CODE.format(number=2), "--canary", "50")
    command = begun(engine, word, name, *(["--yes"] if word == "delete" else []))
    until_connected(command, engine.ports.http)
    if victim == "command":
        command.kill()
    else:
        (controller,) = actor_processes(engine, "Controller")
        os.kill(controller.pid, signal.SIGKILL)
    ends = Thread(target=command.communicate)
    ends.start()
    until(lambda: engine.command("status").returncode == 0, 120)
    ends.join(300)
    assert command.returncode is not None, "the command hangs"
    if word == "promote":
        promoted(engine, name)
    else:
        deleted(engine, name)


def promoted(engine: Engine, name: str) -> None:
    assert engine.graph(name)["live"] in (1, 2)
    assert value(engine.infer(name)) in ([2, 3], [3, 4])
    engine.command("promote", name)
    until(lambda: engine.graph(name)["live"] == 2)
    assert value(engine.infer(name)) == [3, 4]


def deleted(engine: Engine, name: str) -> None:
    engine.command("delete", name, "--yes")
    until(lambda: engine.api("GET", f"/graphs/{name}").status_code == 404)
    until(lambda: engine.infer(name).status_code == 404)
