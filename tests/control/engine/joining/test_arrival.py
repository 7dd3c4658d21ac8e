"""A machine that joins is there once the engine says so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from anabranch.client.connection.engine_state import EngineState, write_state
from anabranch.control.engine.joining import arrival
from anabranch.control.engine.joining.invitation import keep
from anabranch.errors import EngineError
from tests.control.engine.joining.engines import TICKET, Head, head


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Head]:
    monkeypatch.setattr(arrival, "_PAUSE_S", 0.001)
    with head() as one:
        write_state(tmp_path, EngineState("m1", one.url, "", "", "", "/r", joined=True))
        keep(tmp_path, "k", TICKET)
        yield one


def test_it_waits_for_the_engine_and_until_that_counts_it(engine: Head, tmp_path: Path) -> None:
    engine.refusals = [(503, "the controller is starting")]
    engine.know("m1")
    arrival.wait(tmp_path, time.monotonic() + 60)
    assert len(engine.asked) == 2


def test_it_gives_up_in_time(engine: Head, tmp_path: Path) -> None:
    engine.know("another")
    with pytest.raises(EngineError, match="does not see this machine"):
        arrival.wait(tmp_path, time.monotonic())
    with pytest.raises(EngineError, match="no machine is being started"):
        arrival.wait(tmp_path / "nothing", time.monotonic())


def test_a_key_that_does_not_count_is_told_at_once(engine: Head, tmp_path: Path) -> None:
    engine.refusals = [(401, "the key is not known")]
    with pytest.raises(EngineError, match="the key is not known"):
        arrival.wait(tmp_path, time.monotonic() + 60)
