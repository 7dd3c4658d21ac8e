"""Conditions on the texts of documents: what is refused, and what is no JSON."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.documents.paths import exists, json_of, path_problem

DOCUMENT = json.dumps(
    {
        "name": {"first": "Tom", "last": "Anderson"},
        "age": 37,
        "children": ["Sara", "Alex"],
        "fav.movie": "Deer Hunter",
        "nothing": None,
        "wrong": False,
        "friends": [
            {"first": "Dale", "age": 44, "nets": ["ig", "fb"]},
            {"first": "Roger", "age": 68, "nets": ["fb", "tw"]},
        ],
    }
)


def test_what_gjson_calls_existing() -> None:
    for text in (DOCUMENT, DOCUMENT.encode()):
        assert exists(text, "nothing")
        assert exists(text, "friends.#(age>70)#")
        assert not exists(text, "friends.#(age>70)")


@pytest.mark.parametrize("text", ["", "{", "{'a': 1}", "[1] 2", "[" * 2000 + "]" * 2000, b"\xff"])
def test_a_text_that_is_no_json_has_nothing(text: str | bytes) -> None:
    assert not exists(text, "@this")
    assert json_of(text) is None


def test_values_are_those_of_json() -> None:
    assert json_of(DOCUMENT) == json.loads(DOCUMENT)
    with pytest.raises(TypeError, match="a text is needed, not 5"):
        json_of(5)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "has 1 to 1024 characters, not 0"),
        ("a" * 1025, "not 1025"),
        ("{a,b,c,d,e,f,g,h,i,j,k,l}", "at most 10 commas, not 11"),
        ("@dig:a.@dig:b", "one `@dig`"),
        ("@tostr|@tostr", "one `@tostr`"),
        ("@dig:@tostr", "neither `@tostr` nor `@flatten:` behind `@dig`"),
        ('@dig:@flatten:{"deep":true}', "behind `@dig`"),
    ],
)
def test_paths_that_are_refused(path: str, message: str) -> None:
    assert message in str(path_problem(path))
    with pytest.raises(ValueError, match=re.escape(message)):
        exists(DOCUMENT, path)


def test_a_pattern_takes_time_in_proportion_to_the_text() -> None:
    text = json.dumps({"a" * 100_000: 1})
    assert not exists(text, "*a" * 8 + "*b")
    assert exists(text, "*a" * 8 + "*")


def test_a_document_deeper_than_the_stack_has_nothing() -> None:
    text = "[" * 1000 + "]" * 1000
    assert exists(text, "@dig:0")
    assert not exists(text, "@flatten:" + '{"deep":true}' + "." + ".".join("0" * 500))
    assert not exists(text, "@tostr")


def test_an_array_that_selectors_make_of_one_many_times_has_a_bound() -> None:
    text = json.dumps([0] * 2**18)
    twice = "[@this,@this]|@flatten"
    assert exists(text, "|".join([twice] * 2))
    with pytest.raises(ValueError, match="at most 1048576 elements"):
        exists(text, "|".join([twice] * 3))


def test_modifiers_take_time_in_proportion_to_the_text() -> None:
    assert exists("[" * 900 + "1," * 100_000 + "1" + "]" * 900, '@flatten:{"deep":true}.100000')
    assert exists(json.dumps([{f"k{place}": 1} for place in range(50_000)]), "@join.k49999")
    columns: dict[str, list[int]] = {f"k{place}": [] for place in range(50_000)}
    assert exists(json.dumps({**columns, "z": [1] * 50_000}), "@group.49999.z")


@given(st.text(max_size=40), st.text(alphabet='ab.#@|(){}[]"*?=%!<>~\\0', min_size=1, max_size=30))
def test_nothing_but_a_value_error_is_raised(text: str, path: str) -> None:
    for document in (text, json.dumps({"a": text, "b": [{"a": text}]})):
        try:
            assert exists(document, path) in (True, False)
        except ValueError:
            assert path_problem(path) is not None
