"""Strict reading of what comes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.control.api.endpoints import MAX_BODY, read_body, read_query, whole_number
from anabranch.errors import InvalidRequest, TooLarge
from anabranch.specs.models import Model, Share


class Body(Model):
    name: str | None = None
    weights: dict[str, Share] | None = None


@pytest.mark.parametrize("body", [b"", b"  \n", b"{}"])
def test_an_empty_body_has_no_fields(body: bytes) -> None:
    assert read_body(body, Body) == Body()


def test_fields_are_read() -> None:
    found = read_body(b'{"name": "a", "weights": {"1": 2}}', Body)
    assert found == Body(name="a", weights={"1": 2.0})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"nul", "the body is not JSON"),
        (b"[]", "the body must be a JSON object"),
        (b'"x"', "the body must be a JSON object"),
        (b"\xff\xfe\x00", "the body is not JSON"),
        (b"[" * 60_000, "the body is not JSON"),
        (b'{"nmae": "a"}', "nmae: unknown field (did you mean `name`?)"),
        (b'{"name": 1}', "name: must be text"),
        (b'{"name": "a", "name": "b"}', "'name' is given twice"),
        (b'{"weights": {"1": 1, "1": 2}}', "'1' is given twice"),
        (b'{"weights": {"1": NaN}}', "NaN"),
        (b'{"weights": {"1": -Infinity}}', "-Infinity"),
        (b'{"weights": {"1": 1e999}}', "weights.1: must be a finite number"),
        (b'{"weights": {"1": true}}', "weights.1: must be a number, not true"),
        (b'{"weights": {"1": "much"}}', "weights.1: must be a number, not the text 'much'"),
        (b'{"weights": {"1": -1}}', "weights.1: must be at least 0, not -1"),
        (b'{"weights": {"1": 1' + b"0" * 350 + b"}}", "weights.1"),
        (b'{"weights": {"1": 1' + b"0" * 5000 + b"}}", "5001 digits"),
        (b'{"weights": [1]}', "weights: expects fields"),
    ],
)
def test_what_is_wrong_is_named(body: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_body(body, Body)
    assert words in str(caught.value)


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(InvalidRequest, match=r"name: .*; weights\.1: "):
        read_body(b'{"name": 1, "weights": {"1": "x"}}', Body)


def test_a_large_body_is_refused_before_it_is_read() -> None:
    read_body(b" " * MAX_BODY, Body)
    with pytest.raises(TooLarge, match=str(MAX_BODY)):
        read_body(b" " * (MAX_BODY + 1), Body)


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode()))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        read_body(body, Body)
    except InvalidRequest as error:
        assert str(error)


def test_the_last_of_a_field_counts() -> None:
    assert read_query("a=1&b=x%20y&a=2&c=") == {"a": "2", "b": "x y"}


@pytest.mark.parametrize("text", ["x", "-1", "1.0", "", "\u0663", "11", "9" * 5000])
def test_numbers_are_whole_and_bounded(text: str) -> None:
    with pytest.raises(InvalidRequest, match="n="):
        whole_number({"n": text}, "n", 0, 10)


@pytest.mark.parametrize(("query", "expected"), [({}, 7), ({"n": "0"}, 0), ({"n": "10"}, 10)])
def test_numbers(query: Any, expected: int) -> None:
    assert whole_number(query, "n", 7, 10) == expected
