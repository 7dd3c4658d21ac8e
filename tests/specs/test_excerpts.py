"""Words for messages are short, printable, and name the nearest choice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.specs.excerpts import (
    clean,
    did_you_mean,
    hint,
    in_words,
    listing,
    nearest,
    quoted_all,
    shown,
)


@given(st.text(max_size=200))
def test_excerpts_are_short_and_printable(text: str) -> None:
    cut = clean(text)
    assert cut.isprintable()
    assert len(cut) <= 60 * len(r"\U0010ffff")
    assert text.isprintable() is False or len(text) > 60 or cut == text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "nothing"), (True, "true"), ("x", "the text 'x'"), ("", "empty text"),
        (3, "the number 3"), (1.5, "the number 1.5"), (float("inf"), "the number .inf"),
        ({}, "an empty map"), ({"a": 1}, "a map"), ([1], "a list"),
        (object(), "a value of type object"),
        ("\x1b[31m", "the text '\\x1b[31m'"), (10**50, "the number of about 50 digits"),
    ],
)  # fmt: skip
def test_values_in_words(value: object, words: str) -> None:
    assert in_words(value) == words


def test_the_nearest_name_whatever_its_case() -> None:
    assert nearest("fp32", ["FP16", "FP32"]) == "FP32"
    assert nearest("qqq", ["FP16", "FP32"]) is None
    assert nearest("x" * 65, ["x" * 65]) is None
    assert did_you_mean("modle", ["model", "method"]) == " (did you mean `model`?)"
    assert did_you_mean("qqq", ["a", "b"]) == " (choose from a, b)"
    assert did_you_mean("qqq", [f"choice{i}" for i in range(20)]) == ""


def test_lists_of_names() -> None:
    assert quoted_all(["a"]) == "`a`"
    assert quoted_all(["a", "b", "c"]) == "`a`, `b` and `c`"


def test_hint_says_what_was_meant_and_what_there_is() -> None:
    assert hint("maen", ["max", "mean"]) == " (did you mean 'mean'? available: max, mean)"
    assert hint("zzz", ["max", "mean"]) == " (available: max, mean)"
    assert hint("zzz", []) == ""


def test_many_names_are_counted() -> None:
    assert listing(f"n{index}" for index in range(14)).endswith("n11, … and 2 more")


def test_hostile_names_stay_short_and_printable() -> None:
    hostile = "\x1b[31m" + "x" * 100_000
    for text in (hint(hostile, [hostile]), listing([hostile]), shown(hostile)):
        assert len(text) < 200
        assert text.isprintable()


@given(st.text(max_size=10), st.lists(st.text(max_size=10), min_size=1))
def test_names_of_a_hostile_spec_are_never_shown_raw(word: str, names: list[str]) -> None:
    for text in (did_you_mean(word, names), hint(word, names), listing(names), quoted_all(names)):
        assert text.isprintable()
