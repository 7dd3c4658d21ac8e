"""Tickets, and the versions without which nobody gets one."""

from __future__ import annotations

import platform

import pytest

from anabranch.control.nodes.ticket import Ticket, require_same, versions
from anabranch.errors import Conflict, EngineError

TICKET = Ticket("e", "10.0.0.1:10001", "secret", {"A": "secret"}, {"key": "secret"})


def test_the_same_versions_are_taken() -> None:
    require_same(versions())
    assert versions()["python"] == platform.python_version()


def test_all_versions_that_differ_are_named() -> None:
    with pytest.raises(Conflict) as told:
        require_same({**versions(), "ray": "2.1.0", "python": "3.9.1"})
    text = str(told.value)
    assert f"python 3.9.1, and the engine python {platform.python_version()}" in text
    assert "ray 2.1.0, and the engine ray " in text
    assert "anabranch " not in text


def test_a_machine_that_says_nothing_is_told_so() -> None:
    with pytest.raises(Conflict, match="ray unknown"):
        require_same({})


def test_a_ticket_is_read_as_it_was_written() -> None:
    assert Ticket.from_json(vars(TICKET)) == TICKET


@pytest.mark.parametrize("found", [{}, {"engine": "e"}, {**vars(TICKET), "more": 1}])
def test_what_is_no_ticket_is_refused(found: dict[str, object]) -> None:
    with pytest.raises(EngineError, match="is no ticket"):
        Ticket.from_json(found)


def test_nobody_sees_the_secrets_of_a_ticket_by_accident() -> None:
    assert "secret" not in repr(TICKET)
