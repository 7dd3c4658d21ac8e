from __future__ import annotations

from anabranch.components.hints import hint, listing, shown


def test_hint_says_what_was_meant_and_what_there_is():
    assert hint("maen", ["max", "mean"]) == " (did you mean 'mean'? available: max, mean)"
    assert hint("zzz", ["max", "mean"]) == " (available: max, mean)"
    assert hint("zzz", []) == ""


def test_many_names_are_counted():
    assert listing(f"n{index}" for index in range(14)).endswith("n11, … and 2 more")


def test_hostile_names_stay_short_and_printable():
    hostile = "\x1b[31m" + "x" * 100_000
    for text in (hint(hostile, [hostile]), listing([hostile]), shown(hostile)):
        assert len(text) < 200
        assert text.isprintable()
