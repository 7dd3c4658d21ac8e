"""A machine that joins again: when it may, and when it must end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from anabranch.client.connection.engine_state import RAY_TOKEN_FILE
from anabranch.control.engine.joining import worker
from anabranch.control.engine.joining.invitation import Invitation
from anabranch.control.engine.joining.worker import MachinePlace, Rejoin, WantedWatch
from anabranch.control.engine.supervision.supervisor import Launch
from anabranch.errors import EngineError
from tests.control.engine.joining.engines import TICKET, Head, head
from tests.ports import free_ports


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Head]:
    monkeypatch.setattr(worker, "_PAUSE_S", 0.001)
    with head() as one:
        yield one


class Helpers:
    """Watches that find nothing."""

    def __init__(self) -> None:
        self.watched = 0

    def watch(self, head: int) -> str | None:
        self.watched += 1
        return None

    def forget(self) -> None:
        self.watched = 0


def test_an_engine_that_does_not_answer_has_lost_no_machine(engine: Head) -> None:
    place = MachinePlace(Invitation(engine.url, "k", "m1"))
    with pytest.raises(EngineError, match="does not know this machine"):
        place.ask()
    engine.refusals = [(503, "the controller is starting"), (401, "unknown key")]
    place.ask()
    place.ask()
    assert engine.refusals == []
    MachinePlace(Invitation(f"http://127.0.0.1:{free_ports(1)[0]}", "k", "m1")).ask()


def test_a_machine_ends_once_it_is_drained_and_nothing_is_left_on_it(engine: Head) -> None:
    place, helpers = MachinePlace(Invitation(engine.url, "k", "m1")), Helpers()
    watch = WantedWatch(place, helpers)
    for state, segments in (("alive", []), ("draining", [{"graph": "g"}])):
        engine.know("m1", state, segments)
        place.ask()
        assert watch.watch(1) is None
    engine.know("m1", "draining")
    place.ask()
    with pytest.raises(EngineError, match="this machine was drained"):
        watch.watch(1)
    assert helpers.watched == 2
    watch.forget()
    assert helpers.watched == 0


def rejoin(home: Path, url: str) -> tuple[Rejoin, Launch]:
    words = ["python", "start", "--address=10.0.0.1:1", "--node-ip-address=10.0.0.3"]
    return Rejoin(home, Invitation(url, "k", "m1"), "10.0.0.3"), Launch(words, [], home)


def test_it_starts_with_what_the_engine_says_now(engine: Head, tmp_path: Path) -> None:
    engine.ticket = replace(TICKET, gcs="10.0.0.1:12", ray_token="another")
    again, launch = rejoin(tmp_path, engine.url)
    found = again(launch, threading.Event())
    assert found.head == ["python", "start", "--address=10.0.0.1:12", "--node-ip-address=10.0.0.3"]
    assert found.env is not None
    assert (found.env["ANABRANCH_GRACE"], "PATH" in found.env) == ("30", True)
    assert (tmp_path / RAY_TOKEN_FILE).read_text() == "another\n"


def test_it_waits_for_an_engine_that_is_away(engine: Head, tmp_path: Path) -> None:
    engine.refusals = [(503, "the controller is starting")] * 3
    again, launch = rejoin(tmp_path, engine.url)
    assert again(launch, threading.Event()).env is not None
    assert len(engine.asked) == 4


def test_it_ends_where_the_engine_does_not_want_it(engine: Head, tmp_path: Path) -> None:
    engine.refusals = [(409, "the machine 'two' was drained")]
    again, launch = rejoin(tmp_path, engine.url)
    with pytest.raises(EngineError, match="cannot join again: the machine 'two' was drained"):
        again(launch, threading.Event())


def test_it_waits_no_longer_than_until_it_is_told_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_PAUSE_S", 600.0)
    again, launch = rejoin(tmp_path, f"http://127.0.0.1:{free_ports(1)[0]}")
    stopping, found = threading.Event(), list[Launch]()
    waiting = threading.Thread(target=lambda: found.append(again(launch, stopping)))
    waiting.start()
    stopping.set()
    waiting.join(60)
    assert found == [launch]
