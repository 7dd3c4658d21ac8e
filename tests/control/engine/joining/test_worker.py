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
from anabranch.control.engine.joining.worker import Rejoin
from anabranch.control.engine.supervision.supervisor import Launch
from anabranch.errors import EngineError
from tests.control.engine.joining.engines import TICKET, Head, head
from tests.ports import free_ports


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Head]:
    monkeypatch.setattr(worker, "_PAUSE_S", 0.001)
    with head() as one:
        yield one


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
