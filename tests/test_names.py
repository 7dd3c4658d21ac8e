from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.errors import NotFound
from anabranch.names import (
    GRAPH_IN_PATH,
    GRAPH_NAME,
    MAX_NAME,
    PATH_WORDS,
    graph_in,
    graph_path,
    namespace_of,
    refuse_path_word,
    slashless,
    with_slash,
)
from tests.strategies import graph_names

LONGEST = "a" * 63
rests = st.sampled_from(["", "/", *(f"/{word}" for word in PATH_WORDS), "/versions/3/infer"])


@given(graph_names, rests)
def test_a_path_says_where_the_name_in_it_ends(name: str, rest: str) -> None:
    assert graph_in(name + rest) == name
    found = re.fullmatch(f"(?P<graph>{GRAPH_IN_PATH})(?P<rest>/.*)?", name + rest)
    assert found is not None and (found["graph"], found["rest"] or "") == (name, rest)


@given(graph_names)
def test_a_name_without_its_slash_is_read_back(name: str) -> None:
    assert with_slash(slashless(name)) == name
    assert "/" not in slashless(name)


@given(st.text(max_size=20) | st.lists(st.text("a/-_.", max_size=3)).map("/".join))
def test_any_path_has_a_beginning(path: str) -> None:
    assert path.startswith(graph_in(path))
    assert graph_in(path).count("/") <= 1


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("digits", True),
        ("team/digits", True),
        ("a/a", True),
        ("infer/digits", True),
        (f"{LONGEST}/{LONGEST}", True),
        (f"{LONGEST}a", False),
        (f"a/{LONGEST}a", False),
        ("a/b/c", False),
        ("/a", False),
        ("a/", False),
        ("a//b", False),
        ("a-/b", False),
        ("a/-b", False),
        ("a/b_c", False),
        ("a/B", False),
        ("a/1", False),
        ("../a", False),
        ("a/b\n", False),
        ("", False),
    ],
)
def test_a_name_has_one_or_two_parts(name: str, is_one: bool) -> None:
    assert (re.search(GRAPH_NAME.replace("$", r"\Z"), name) is not None) is is_one
    assert not is_one or len(name) <= MAX_NAME


@pytest.mark.parametrize("word", sorted(PATH_WORDS))
def test_words_of_paths_are_no_second_parts(word: str) -> None:
    with pytest.raises(ValueError, match=f"{re.escape(repr(word))} is reserved"):
        refuse_path_word(f"team/{word}")
    assert refuse_path_word(f"{word}/team") == f"{word}/team"
    assert refuse_path_word(word) == word


@pytest.mark.parametrize("text", ["a/traffic", "a/b/c", "a/", "a/b/", "a/rollout/abort", "a//b"])
def test_a_text_that_is_no_name_has_no_path(text: str) -> None:
    with pytest.raises(NotFound, match="there is no graph"):
        graph_path(text)


def test_every_graph_has_a_namespace() -> None:
    assert [namespace_of(name) for name in ("a", "team/a", "default/a")] == [
        "default", "team", "default",
    ]  # fmt: skip
