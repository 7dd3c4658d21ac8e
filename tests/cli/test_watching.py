"""Showing something again and again."""

from __future__ import annotations

import io
import sys

import pytest

from anabranch.cli import watching


class Ended(Exception):
    pass


def watched(monkeypatch, states, *, terminal, as_json=False):
    """What is written for states that come one after the other."""
    states = iter(states)

    def fetch():
        try:
            return next(states)
        except StopIteration:
            raise Ended from None

    out = io.StringIO()
    out.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(watching.time, "sleep", lambda seconds: None)
    with pytest.raises(Ended):
        watching.watch(fetch, lambda state: f"state {state}\nmore", as_json=as_json)
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


def test_what_does_not_fit_is_cut():
    frame = watching.screen("a long line\nsecond\nthird\nfourth", columns=6, rows=4)
    assert frame == "\x1b[Ha long\x1b[K\nsecond\x1b[K\nthird\x1b[K\n\x1b[J"
