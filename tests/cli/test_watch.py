"""Showing something again and again."""

from __future__ import annotations

import io
import sys

import pytest

from anabranch.cli import watch
from anabranch.client.http import EngineUnreachable
from anabranch.errors import Unavailable


class Ended(Exception):
    pass


def watched(monkeypatch, states, *, terminal, as_json=False, end=Ended):
    """What is written for states that come one after the other."""
    states = iter(states)

    def fetch():
        try:
            state = next(states)
        except StopIteration:
            raise Ended from None
        if isinstance(state, Exception):
            raise state
        return state

    out = io.StringIO()
    out.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(watch.time, "sleep", lambda seconds: None)
    with pytest.raises(end):
        watch.watch(fetch, lambda state: f"state {state}\nmore", as_json=as_json)
    return out.getvalue()


def test_a_pipe_gets_each_change_once(monkeypatch):
    text = watched(monkeypatch, [1, 1, 2, 2, 1], terminal=False)
    assert text == "state 1\nmore\nstate 2\nmore\nstate 1\nmore\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_json_is_one_line_per_change(monkeypatch, terminal):
    text = watched(monkeypatch, [{"a": 1}, {"a": 1}, {"a": 2}], terminal=terminal, as_json=True)
    assert text == '{"a": 1}\n{"a": 2}\n'


def test_a_terminal_is_drawn_over_every_time(monkeypatch):
    text = watched(monkeypatch, [1, 1], terminal=True)
    frame = "\x1b[Hstate 1\x1b[K\nmore\x1b[K\n\x1b[J"
    assert text == f"\x1b[2J{frame}{frame}"


def test_a_controller_that_restarts_is_waited_for(monkeypatch, capsys):
    gone = [Unavailable("the controller is restarting"), EngineUnreachable("nobody there")]
    text = watched(monkeypatch, [1, *gone, 2], terminal=False)
    assert text == "state 1\nmore\nstate 2\nmore\n"
    assert capsys.readouterr().err == "the controller is restarting; waiting for it\n"


def test_an_engine_that_stays_away_ends_it(monkeypatch):
    away = [Unavailable("away")] * (watch.TRIES + 1)
    watched(monkeypatch, [1, *away], terminal=False, end=Unavailable)
    watched(monkeypatch, away[:1], terminal=False, end=Unavailable)  # nothing was ever there


def test_what_does_not_fit_is_cut():
    frame = watch.screen("a long line\nsecond\nthird\nfourth", columns=6, rows=4)
    assert frame == "\x1b[Ha long\x1b[K\nsecond\x1b[K\nthird\x1b[K\n\x1b[J"
