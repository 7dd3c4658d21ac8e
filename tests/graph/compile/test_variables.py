"""Nodes that share a process agree on its environment variables."""

from __future__ import annotations

from typing import Any

import pytest

from anabranch import Graph
from anabranch.errors import SpecError

FAST, SLOW = {"env": {"MODE": "fast"}}, {"env": {"MODE": "slow"}}
TOKEN = {"secrets": {"MODE": {"env": "TOKEN"}}}
APART = {"placement": {"isolate": True}}


def problems(graph: Graph) -> list[str]:
    try:
        graph.plan  # noqa: B018
    except SpecError as error:
        return [f"{'.'.join(map(str, one.path[2:]))}: {one.message}" for one in error.problems]
    return []


def pair(a: dict[str, Any], b: dict[str, Any], **graph: Any) -> Graph:
    made = Graph("g", **graph).input("x", "FP32", [-1, 4])
    made.transformer("a", method="softmax", inputs={"x": "x"}, **a)
    return made.transformer("b", method="softmax", inputs={"x": "a"}, **b).output("y", "b")


def differ(who: str, other: str, field: str = "env") -> str:
    return (
        f"{who}.{field}.MODE: {who!r} and {other!r} share a process, and each gives MODE another "
        "value; give one of the nodes a process of its own (`placement: {isolate: true}`), or the "
        "variables different names"
    )


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (FAST, FAST, []),
        (TOKEN, TOKEN, []),
        (FAST, {"env": {"OTHER": "slow"}}, []),
        (FAST, SLOW, [differ("b", "a")]),
        (FAST, TOKEN, [differ("b", "a", "secrets")]),
        (FAST, SLOW | APART, []),
        (FAST | APART, SLOW | {"placement": {"with": "a"}}, None),
    ],
)
def test_nodes_of_one_process_agree(
    a: dict[str, Any], b: dict[str, Any], expected: list[str] | None
) -> None:
    found = problems(pair(a, b))
    if expected is None:
        assert differ("b", "a") in found
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("explained", "more", "expected"),
    [
        (FAST, {"explains": "b"}, [differ("why", "b")]),
        (FAST | APART, {"explains": "b"}, [differ("why", "b")]),
        (FAST | APART, {"colocate": True}, [differ("why", "b")]),
        (FAST | APART, {}, []),
        (SLOW, {"explains": "b"}, []),
    ],
)
def test_an_explainer_agrees_with_the_nodes_that_it_may_load_a_copy_of(
    explained: dict[str, Any], more: dict[str, Any], expected: list[str]
) -> None:
    graph = pair({}, explained)
    graph.explainer("why", component="c.py:Why", **more, **SLOW)
    assert problems(graph) == expected


def test_a_process_of_several_graphs_has_no_variables_of_one() -> None:
    (found,) = problems(pair({}, FAST, serving={"pool": "small"}))
    assert found.startswith("b.env: a node of a graph in a pool ('small') has no `env`, for it")
    (found,) = problems(pair(TOKEN, {}, serving={"pool": "small"}))
    assert found.startswith("a.secrets: a node of a graph in a pool ('small') has no `secrets`")
