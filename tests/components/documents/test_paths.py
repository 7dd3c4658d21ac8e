"""GJSON paths against what the original does, by its SYNTAX.md and its tests."""

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


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("name.last", True),
        ("name.middle", False),
        ("age", True),
        ("nothing", True),
        ("wrong", True),
        ("children", True),
        ("children.#", True),
        ("children.1", True),
        ("children.2", False),
        ("child*.1", True),
        ("c?ildren.0", True),
        ("fav\\.movie", True),
        ("fav.movie", False),
        ("friends.#.first", True),
        ("friends.#(first==Dale)", True),
        ('friends.#(first=="Roger").age', True),
        ("friends.#(age>70)", False),
        ("friends.#(age>70)#", True),
        ('friends.#(nets.#(=="tw"))', True),
        ('friends.#(first%"D*")', True),
        ('friends.#(first!%"*")', False),
        ("children|@reverse", True),
        ("missing|@reverse", False),
        ("{name.first,age}", True),
    ],
)
def test_what_gjson_calls_existing(path: str, there: bool) -> None:
    assert path_problem(path) is None
    assert exists(DOCUMENT, path) is there
    assert exists(DOCUMENT.encode(), path) is there


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
        ("a.@keys", "no modifier '@keys' is known"),
        ("@revers", "did you mean 'reverse'"),
        ("@this|@group", "no modifier '@group'"),
        ('{a,"b":!true}', "literals"),
        ("*a*b", "may take very long"),
        ('#(n%"*a*b*c")', "may take very long"),
    ],
)
def test_paths_that_are_refused(path: str, message: str) -> None:
    assert message in str(path_problem(path))
    with pytest.raises(ValueError, match=re.escape(message)):
        exists(DOCUMENT, path)


@pytest.mark.parametrize(
    "path", ["*Sara*", 'a.#(n%"*a*")', "a*.b*.c*", 'x.#(n=="@keys")', "a\\*\\*b"]
)
def test_paths_that_are_fast_are_taken(path: str) -> None:
    assert path_problem(path) is None


@given(st.text(max_size=40), st.text(alphabet='ab.#@|(){}[]"*?=%!<>~\\0', min_size=1, max_size=30))
def test_nothing_but_a_value_error_is_raised(text: str, path: str) -> None:
    for document in (text, json.dumps({"a": text, "b": [{"a": text}]})):
        try:
            assert exists(document, path) in (True, False)
        except ValueError:
            assert path_problem(path) is not None
