"""A machine looks for its engine: where it was, and on the machines that it knew last."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from anabranch.control.engine.joining.invitation import MACHINES_FILE, Invitation, forget
from anabranch.control.engine.joining.search import EngineSearch
from anabranch.errors import EngineError
from tests.control.engine.joining.engines import Head, head


@pytest.fixture
def engine() -> Iterator[Head]:
    with head() as one:
        yield one


@pytest.fixture
def other() -> Iterator[Head]:
    """Another machine of the engine, which the first one names by its address and its own port."""
    with head() as one:
        yield one


def search(home: Path, engine: Head, other: Head) -> EngineSearch:
    port = str(urlsplit(other.url).port)
    return EngineSearch(home, Invitation(engine.url, "k", "m1"), port)


def know_both(engine: Head) -> None:
    engine.know("m1")
    for machine, state in (("m2", "alive"), ("m3", "lost")):
        one = {"machine": machine, "state": state, "segments": [], "address": "127.0.0.1"}
        engine.nodes.append(one)


def test_an_engine_that_answers_is_asked_alone(tmp_path: Path, engine: Head, other: Head) -> None:
    know_both(engine)
    finding = search(tmp_path, engine, other)
    for _ in range(2):
        found = finding.find()
        assert found is not None and found.own is not None
        assert found.invitation.url == engine.url
    assert (len(engine.asked), other.asked) == (2, [])


def test_the_machine_that_has_become_the_head_s_is_found(
    tmp_path: Path, engine: Head, other: Head
) -> None:
    know_both(engine)
    assert search(tmp_path, engine, other).find() is not None
    assert stat.S_IMODE((tmp_path / MACHINES_FILE).stat().st_mode) & 0o077 == 0
    engine.refusals = [(503, "no controller")] * 4
    finding = search(tmp_path, engine, other)  # also after a new start
    found = finding.find()
    assert found is not None and found.own is None
    assert found.invitation.url == other.url
    assert other.asked[0].headers["authorization"] == "Bearer k"
    # What it does not know yet is not forgotten, and it is asked first from now on.
    asked = len(engine.asked)
    other.refusals = [(503, "no controller")]
    assert finding.find() is None
    assert (len(engine.asked), len(other.asked)) == (asked + 1, 2)
    assert search(tmp_path, engine, other).find() is not None
    forget(tmp_path)
    assert not (tmp_path / MACHINES_FILE).exists()


def test_where_nobody_answers_none_is_found(tmp_path: Path, engine: Head, other: Head) -> None:
    know_both(engine)
    finding = search(tmp_path, engine, other)
    assert finding.find() is not None
    engine.refusals = other.refusals = [(503, "no controller")] * 2
    assert finding.find() is None


def test_who_refuses_the_key_is_told_if_nobody_else_answers(
    tmp_path: Path, engine: Head, other: Head
) -> None:
    know_both(engine)
    finding = search(tmp_path, engine, other)
    assert finding.find() is not None
    engine.refusals = [(503, "no controller")] * 2
    other.refusals = [(401, "the key is not known")]
    with pytest.raises(EngineError, match="not known"):
        finding.find()
    assert finding.find() is not None


def test_a_damaged_file_is_no_list_of_machines(tmp_path: Path, engine: Head, other: Head) -> None:
    (tmp_path / MACHINES_FILE).write_text("[half")
    engine.refusals = [(503, "no controller")]
    assert search(tmp_path, engine, other).find() is None
