"""A machine that joins again: when it may, and when it must end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from anabranch.client.connection.engine_state import (
    RAY_TOKEN_FILE,
    EngineState,
    read_state,
    write_state,
)
from anabranch.control.engine.joining import worker
from anabranch.control.engine.joining.invitation import Invitation
from anabranch.control.engine.joining.search import EngineSearch
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


def search(home: Path, url: str) -> EngineSearch:
    return EngineSearch(home, Invitation(url, "k", "m1"), "8000")


def test_an_engine_that_does_not_answer_has_lost_no_machine(engine: Head, tmp_path: Path) -> None:
    place = MachinePlace(search(tmp_path, engine.url))
    with pytest.raises(EngineError, match="does not know this machine"):
        place.ask()
    engine.refusals = [(503, "the controller is starting"), (401, "unknown key")]
    place.ask()
    place.ask()
    assert engine.refusals == []
    MachinePlace(search(tmp_path, f"http://127.0.0.1:{free_ports(1)[0]}")).ask()


def test_a_machine_ends_once_it_is_drained_and_nothing_is_left_on_it(
    engine: Head, tmp_path: Path
) -> None:
    place, helpers = MachinePlace(search(tmp_path, engine.url)), Helpers()
    watch = WantedWatch(place, helpers)
    graph = {"graph": "g"}
    for state, segments, ingress in (
        ("alive", [], False), ("draining", [graph], False), ("draining", [], True)
    ):  # fmt: skip
        engine.know("m1", state, segments, ingress)
        place.ask()
        assert watch.watch(1) is None
    engine.know("m1", "draining")
    place.ask()
    with pytest.raises(EngineError, match="this machine was drained"):
        watch.watch(1)
    assert helpers.watched == 3
    watch.forget()
    assert helpers.watched == 0


def rejoin(home: Path, url: str) -> tuple[Rejoin, Launch]:
    words = ["python", "start", "--address=10.0.0.1:1", "--node-ip-address=10.0.0.3"]
    return Rejoin(home, search(home, url), "10.0.0.3"), Launch(words, [], home)


def test_it_starts_with_what_the_engine_says_now(engine: Head, tmp_path: Path) -> None:
    engine.ticket = replace(TICKET, gcs="10.0.0.1:12", ray_token="another")
    write_state(tmp_path, EngineState("m1", "http://10.0.0.9:80", "", "", "", "", joined=True))
    again, launch = rejoin(tmp_path, engine.url)
    found = again(launch, True, threading.Event())
    assert found.head == ["python", "start", "--address=10.0.0.1:12", "--node-ip-address=10.0.0.3"]
    assert found.env is not None
    assert (found.env["ANABRANCH_GRACE"], "PATH" in found.env) == ("30", True)
    assert (tmp_path / RAY_TOKEN_FILE).read_text() == "another\n"
    assert engine.asked[-1].json["again"] is True
    state = read_state(tmp_path)
    assert state is not None
    assert (state.http, state.address) == (engine.url, "10.0.0.1:12")


def test_it_waits_for_an_engine_that_is_away(engine: Head, tmp_path: Path) -> None:
    engine.refusals = [(503, "the controller is starting")] * 3
    again, launch = rejoin(tmp_path, engine.url)
    assert again(launch, True, threading.Event()).env is not None
    assert [one.method for one in engine.asked] == ["GET"] * 4 + ["POST"]


def test_where_nothing_goes_on_it_waits_for_no_turn(engine: Head, tmp_path: Path) -> None:
    again, launch = rejoin(tmp_path, engine.url)
    assert again(launch, False, threading.Event()).env is not None
    assert engine.asked[-1].json["again"] is False


def test_it_waits_for_its_turn(engine: Head, tmp_path: Path) -> None:
    engine.busy = 2
    again, launch = rejoin(tmp_path, engine.url)
    assert again(launch, True, threading.Event()).env is not None
    assert [one.method for one in engine.asked] == ["GET", "POST"] * 3


def test_it_ends_where_the_engine_does_not_want_it(engine: Head, tmp_path: Path) -> None:
    engine.refusals = [(409, "the machine 'two' was drained")]
    again, launch = rejoin(tmp_path, engine.url)
    with pytest.raises(EngineError, match="cannot join again: the machine 'two' was drained"):
        again(launch, True, threading.Event())


def test_it_waits_no_longer_than_until_it_is_told_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_PAUSE_S", 600.0)
    again, launch = rejoin(tmp_path, f"http://127.0.0.1:{free_ports(1)[0]}")
    stopping, found = threading.Event(), list[Launch]()
    waiting = threading.Thread(target=lambda: found.append(again(launch, False, stopping)))
    waiting.start()
    stopping.set()
    waiting.join(60)
    assert found == [launch]
