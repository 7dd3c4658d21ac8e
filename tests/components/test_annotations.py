"""Tags, names and measures that travel with a request."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.annotations import (
    MAX_MEASURES,
    MAX_NAME,
    MAX_TAGS,
    MAX_TEXT,
    Annotations,
    Measure,
    Names,
    Tags,
)

names = st.text(min_size=1, max_size=8)
values = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | names
tags = st.dictionaries(names, values, max_size=8)


def filled(given: dict[str, Any]) -> Tags:
    found = Tags()
    found.update(given)
    return found


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("a", [1], "bool, number or text"),
        ("a", None, "bool, number or text"),
        ("a", math.nan, "finite"),
        ("a", math.inf, "finite"),
        ("a", "x" * (MAX_TEXT + 1), f"limit is {MAX_TEXT}"),
        ("", 1, f"1 to {MAX_NAME}"),
        ("x" * (MAX_NAME + 1), 1, f"1 to {MAX_NAME}"),
        (7, 1, "text of 1"),
    ],
)
def test_a_tag_that_no_answer_can_carry_is_refused(name: Any, value: Any, words: str) -> None:
    found = Tags()
    with pytest.raises((TypeError, ValueError), match=words):
        found[name] = value
    assert not found


def test_tags_are_bounded_but_can_be_replaced() -> None:
    found = filled({str(number): number for number in range(MAX_TAGS)})
    found["0"] = "again"
    with pytest.raises(ValueError, match=f"limit of {MAX_TAGS}"):
        found["one more"] = 1
    assert len(found) == MAX_TAGS and found["0"] == "again"


@given(tags, tags)
def test_what_another_process_adds_makes_the_same_tags_here(
    before: dict[str, Any], later: dict[str, Any]
) -> None:
    here, there = Annotations(filled(before)), Annotations(filled(before))
    there.tags.update(later)
    here.merge(there.since(before, {}))
    assert here.tags == there.tags
    assert [type(one) for one in here.tags.values()] == [type(one) for one in there.tags.values()]


def test_a_value_of_another_type_is_another_value() -> None:
    found = Annotations(filled({"a": True})).since({"a": 1}, {})
    assert found.tags == {"a": True}


def test_names_of_columns_are_texts() -> None:
    found = Names()
    found["x"] = ["a", "b"]
    with pytest.raises(ValueError, match="texts"):
        found["x"] = ["a", 3]  # type: ignore[list-item]
    assert found == {"x": ["a", "b"]}


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [("counter", -1, "cannot be"), ("timer", math.nan, "cannot be"), ("sum", 1, "use counter")],
)
def test_a_measure_that_no_metric_can_hold_is_refused(kind: Any, value: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Annotations().measure("n", "m", value, kind)


def test_measures_are_counted_once_where_they_were_made() -> None:
    here, there = Annotations(), Annotations()
    here.measure("a", "first", 1, "counter")
    there.measure("b", "there", -2, "gauge")
    here.merge(there)
    assert [one.name for one in here.to_count()] == ["first"]
    assert list(here.to_count()) == []
    here.measure("a", "second", 3, "timer")
    assert list(here.to_count()) == [Measure("a", "timer", "second", 3.0)]
    assert {one.name for one in here.measures} == {"first", "there", "second"}


def test_measures_of_a_request_are_bounded() -> None:
    found, others = Annotations(), Annotations()
    for number in range(MAX_MEASURES):
        found.measure("n", f"m{number}", 1, "counter")
        others.measure("o", f"m{number}", 1, "counter")
    with pytest.raises(ValueError, match=f"limit of {MAX_MEASURES}"):
        found.measure("n", "more", 1, "counter")
    found.merge(others)
    assert len(found.measures) == MAX_MEASURES
