"""Names of graphs, nodes, folders and classes from any text."""

from __future__ import annotations

import keyword
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.importers.graph_names import class_name, folder_name, graph_name, node_name
from anabranch.names import GRAPH_NAME, PATH_WORDS
from anabranch.specs.models import NODE_NAME


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_text_gives_a_graph_s_name(name: str, namespace: str) -> None:
    found = graph_name(name, namespace)
    assert re.fullmatch(GRAPH_NAME, found)
    assert found.partition("/")[2] not in PATH_WORDS


@pytest.mark.parametrize(
    ("name", "namespace", "expected"),
    [
        ("iris", "", "iris"),
        ("iris", "default", "iris"),
        ("iris", "ml", "ml/iris"),
        ("Iris.v2", "", "iris-v2"),
        ("2nd", "", "g-2nd"),
        ("infer", "ml", "ml/infer-graph"),
    ],
)
def test_graph_names(name: str, namespace: str, expected: str) -> None:
    assert graph_name(name, namespace) == expected


def test_two_long_names_stay_apart() -> None:
    names = {graph_name("x" * 80 + end) for end in "abc"}
    assert len(names) == 3
    assert {len(name) for name in names} == {63}


@given(st.lists(st.text(max_size=70), max_size=6))
def test_any_texts_give_names_of_nodes_that_are_apart(texts: list[str]) -> None:
    taken: set[str] = set()
    for text in texts:
        name = node_name(text, taken)
        assert re.fullmatch(NODE_NAME, name)
        assert name not in taken
        taken.add(name)


@given(st.lists(st.text(max_size=70), max_size=6))
def test_any_texts_give_folders_that_are_apart(texts: list[str]) -> None:
    taken: list[str] = []
    for text in texts:
        name = folder_name(text, taken)
        assert re.fullmatch(r"[-A-Za-z0-9_]{1,63}", name)
        assert name not in taken
        taken.append(name)


@given(st.text(max_size=70))
def test_any_text_gives_a_class_s_name(text: str) -> None:
    name = class_name(text, ["Model"])
    assert name.isidentifier()
    assert not keyword.iskeyword(name)
    assert name != "Model"
