from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.control.lifecycle.operations import Intent
from anabranch.control.store.records import (
    MAX_DATA,
    MAX_TEXT,
    read_intent,
    read_shares,
    write_data,
    write_shares,
    write_text,
)

SHARES = st.dictionaries(st.integers(1, 2**31), st.floats(0, 1e300), max_size=8)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


@given(SHARES)
def test_shares_come_back(shares: dict[int, float]) -> None:
    assert read_shares(write_shares(shares)) == shares


def test_whole_numbers_are_shares_too() -> None:
    assert read_shares(write_shares({3: 90, 4: 10})) == {3: 90.0, 4: 10.0}


@pytest.mark.parametrize("intent", [Intent(), Intent("canary", 0.5), Intent("mirror", 100.0)])
def test_intents_come_back(intent: Intent) -> None:
    assert read_intent(json.dumps(intent.to_json())) == intent


def test_a_revision_without_an_intent_replaces() -> None:
    assert read_intent(None) == Intent()


@given(st.text(st.characters(codec=None), max_size=50), st.integers(1, 60))
def test_text_is_what_every_database_takes(text: str, limit: int) -> None:
    kept = write_text(text, limit)
    assert "\0" not in kept and len(kept) <= limit
    kept.encode("utf-8")
    if len(text) <= limit and text.isascii() and "\0" not in text:
        assert kept == text


def test_long_text_says_that_it_was_cut() -> None:
    assert write_text("x" * (MAX_TEXT + 1)) == "x" * (MAX_TEXT - 1) + "…"


@given(st.dictionaries(st.text(), ANYTHING, min_size=1))
def test_any_data_is_kept_as_json_in_bounds(data: dict[str, Any]) -> None:
    text = write_data(data)
    assert text is not None and len(text.encode()) <= MAX_DATA and "\0" not in text
    json.loads(text, parse_constant=pytest.fail)


def test_what_json_has_no_number_for_is_null() -> None:
    text = write_data({"p95": math.nan, "more": (1, -math.inf, 0.1)})
    assert json.loads(text or "") == {"p95": None, "more": [1, None, 0.1]}


def test_too_much_data_is_left_out_and_says_so() -> None:
    text = write_data({"measurements": ["x" * 1000] * 100})
    assert "bytes of data" in json.loads(text or "")["left_out"]


def test_no_data_is_none() -> None:
    assert write_data({}) is None
