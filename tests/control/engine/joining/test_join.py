"""Machines that cannot join or leave, and why; those that can are in the end-to-end tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from anabranch.client.connection.engine_state import EngineState, read_state, write_state
from anabranch.control.engine import engine as engines
from anabranch.control.engine.joining import join as joining
from anabranch.control.engine.joining.invitation import keep
from anabranch.control.engine.joining.join import JoinOptions, join, leave
from anabranch.control.engine.runtime import make_runtime
from anabranch.control.nodes.options import MachineOptions
from anabranch.control.nodes.ticket import DRAINED
from anabranch.errors import Conflict, EngineError
from anabranch.serve.workers.environment import MARK
from tests.control.engine.joining.engines import TICKET, Head, head
from tests.ports import free_ports
from tests.waiting import until

STATE = EngineState("m1", "http://10.0.0.1:8000", "", "", "", "/nowhere", ready=True, joined=True)


def silent(text: str) -> None:
    """Hear nothing."""


def try_join(home: Path, url: str, **options: object) -> None:
    join(home, JoinOptions(url, "k", **options), say=silent, warn=silent)  # type: ignore[arg-type]


def try_leave(home: Path, at_once: bool = False) -> bool:
    return leave(home, 60, at_once=at_once, say=silent)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Head]:
    """An engine that this machine reaches by its loopback, which counts as a network here."""
    monkeypatch.setattr(joining, "own_address", lambda url: "10.0.0.3")
    with head() as one:
        yield one


@pytest.fixture
def machine(tmp_path: Path, engine: Head) -> Iterator[EngineState]:
    """A machine that has joined, on which a process sleeps in the place of all others."""
    runtime = make_runtime()
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], env={**os.environ, MARK: "m1"}
    )
    state = replace(STATE, http=engine.url, runtime=str(runtime), pid=process.pid)
    write_state(tmp_path, state)
    keep(tmp_path, "k", TICKET)
    engine.know("m1")
    yield state
    process.kill()
    process.wait()


def test_a_home_with_an_engine_of_its_own_joins_no_other(tmp_path: Path) -> None:
    write_state(tmp_path, replace(STATE, joined=False))
    with pytest.raises(EngineError, match="has an engine of its own: `anabranch down` stops it"):
        try_join(tmp_path, "10.0.0.1:8000")
    with pytest.raises(EngineError, match="has an engine of its own"):
        try_leave(tmp_path)


def test_a_machine_joins_once(tmp_path: Path, machine: EngineState) -> None:
    with pytest.raises(EngineError, match=r"joined the engine at .* already: `anabranch leave`"):
        try_join(tmp_path, "10.0.0.1:8000")
    for command in (engines.up, engines.down):
        with pytest.raises(EngineError, match=r"has joined the engine at .*: `anabranch leave`"):
            command(tmp_path)
    assert read_state(tmp_path) == machine


def test_an_engine_that_cannot_be_reached_leaves_nothing_behind(tmp_path: Path) -> None:
    place = f"127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(EngineError, match=f"cannot reach {place}: the engine does not answer"):
        try_join(tmp_path, place)
    assert read_state(tmp_path) is None


def test_what_the_engine_refuses_leaves_nothing_behind(tmp_path: Path, engine: Head) -> None:
    engine.refusals = [(409, "no machine can join an engine on loopback")]
    with pytest.raises(Conflict, match="no machine can join an engine on loopback"):
        try_join(tmp_path, engine.url)
    with pytest.raises(EngineError, match="its ports of Ray are closed to this machine"):
        try_join(tmp_path, engine.url)
    assert [path.name for path in tmp_path.iterdir()] == ["engine.lock"]


def test_labels_and_resources_are_looked_at_before_anything_is_asked(
    tmp_path: Path, engine: Head
) -> None:
    with pytest.raises(EngineError, match="--labels"):
        try_join(tmp_path, engine.url, machine=MachineOptions(labels="zone"))
    assert engine.asked == []


def test_a_start_that_fails_is_taken_down_again(
    tmp_path: Path, engine: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.ticket = replace(TICKET, gcs=engine.url.removeprefix("http://"))
    seen: list[EngineState | None] = []

    def fails(home: Path, *arguments: object) -> EngineState:
        seen.append(read_state(home))
        raise EngineError("the machine did not join: no room")

    monkeypatch.setattr(joining, "launch", fails)
    with pytest.raises(EngineError, match="no room"):
        try_join(tmp_path, engine.url)
    assert seen[0] is not None and seen[0].joined and not Path(seen[0].runtime).exists()
    assert [path.name for path in tmp_path.iterdir()] == ["engine.lock"]


def test_a_machine_leaves_once_nothing_is_left_on_it(
    tmp_path: Path, engine: Head, machine: EngineState
) -> None:
    assert try_leave(tmp_path)
    assert [asked.path for asked in engine.asked if asked.method == "POST"] == [
        "/control/v1/nodes/m1/drain"
    ]
    assert not Path(machine.runtime).exists()
    assert [path.name for path in tmp_path.iterdir()] == ["engine.lock"]
    assert not try_leave(tmp_path)


def test_without_its_engine_a_machine_leaves_only_at_once(
    tmp_path: Path, engine: Head, machine: EngineState
) -> None:
    write_state(tmp_path, replace(machine, http=f"http://127.0.0.1:{free_ports(1)[0]}"))
    with pytest.raises(EngineError, match=r"nothing can be moved.*`anabranch leave --now`"):
        try_leave(tmp_path)
    assert read_state(tmp_path) is not None
    assert try_leave(tmp_path, at_once=True)
    assert engine.asked == []


def test_in_the_foreground_a_machine_that_was_drained_has_left(
    tmp_path: Path, machine: EngineState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So nobody who keeps services starts it again."""

    def ends(home: Path, take_down: object) -> None:
        raise EngineError(f"the engine has ended: {problem}")

    monkeypatch.setattr(joining.service, "stay", ends)
    problem = "another reason"
    with pytest.raises(EngineError, match="another reason"):
        joining.stay(tmp_path, say=silent, warn=silent)
    assert read_state(tmp_path) is not None
    problem = f"this machine {DRAINED}"
    joining.stay(tmp_path, say=silent, warn=silent)
    assert read_state(tmp_path) is None


def test_in_the_foreground_a_machine_that_has_become_the_head_s_has_left(
    tmp_path: Path, machine: EngineState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_TURN_S", 0.01)
    looked = threading.Event()
    monkeypatch.setattr(engines, "is_running", lambda state: looked.set() or True)
    staying = threading.Thread(target=engines.until_ended, args=(tmp_path,))
    staying.start()
    assert looked.wait(60)
    write_state(tmp_path, replace(machine, joined=False))
    staying.join(60)
    assert not staying.is_alive()


def test_in_the_foreground_a_signal_takes_it_out_even_if_nothing_can_be_moved(
    tmp_path: Path, machine: EngineState
) -> None:
    write_state(tmp_path, replace(machine, http=f"http://127.0.0.1:{free_ports(1)[0]}"))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    warned = list[str]()

    def tell() -> None:
        until(lambda: signal.getsignal(signal.SIGINT) is not handlers[signal.SIGINT])
        os.kill(os.getpid(), signal.SIGTERM)

    telling = threading.Thread(target=tell)
    telling.start()
    try:
        joining.stay(tmp_path, say=silent, warn=warned.append)
    finally:
        telling.join()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, handlers[number])
    assert read_state(tmp_path) is None
    (text,) = warned
    assert "what is left here ends now" in text
