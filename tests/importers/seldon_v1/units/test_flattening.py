"""Imported trees answer as Seldon's executor does, by an independent model of it."""

from __future__ import annotations

import itertools
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.importers.imported import imported, opened
from tests.importers.seldon_v1.executor import Executor
from tests.importers.seldon_v1.manifests import (
    Node,
    components,
    deployment,
    node,
    sources,
)

RATIO = {"name": "ratioA", "type": "FLOAT"}


def abtest(name: str, ratio: str, *children: Node) -> Node:
    return node(
        name,
        None,
        *children,
        implementation="RANDOM_ABTEST",
        parameters=[{**RATIO, "value": ratio}],
    )


def builtin(name: str, implementation: str, *children: Node, **more: Any) -> Node:
    return node(name, more.pop("type", None), *children, implementation=implementation, **more)


TREES: dict[str, Node] = {
    "a model": node("m", "MODEL"),
    "a node without a type is a model": node("m"),
    "models in a row": node("a", "MODEL", node("b", "MODEL", node("c", "MODEL"))),
    "a transformer before a model": node("t", "TRANSFORMER", node("m", "MODEL")),
    "an output transformer after a model": node("o", "OUTPUT_TRANSFORMER", node("m", "MODEL")),
    "an output transformer without children": node("o", "OUTPUT_TRANSFORMER"),
    "transformers around a model": node(
        "t", "TRANSFORMER", node("o", "OUTPUT_TRANSFORMER", node("m", "MODEL"))
    ),
    "a combiner": node("c", "COMBINER", node("a", "MODEL"), node("b", "MODEL")),
    "a combiner of one": node("c", "COMBINER", node("a", "MODEL")),
    "the mean": builtin(
        "c", "AVERAGE_COMBINER", node("a", "MODEL"), node("b", "MODEL"), type="COMBINER"
    ),
    "a router": node("r", "ROUTER", node("a", "MODEL"), node("b", "MODEL")),
    "a router of one": node("r", "ROUTER", node("a", "MODEL")),
    "a router that joins what it asks": node(
        "r", "ROUTER", node("a", "MODEL"), node("b", "MODEL"), methods=["AGGREGATE"]
    ),
    "a router that transforms at both ends": node(
        "r",
        "ROUTER",
        node("a", "MODEL", node("b", "MODEL")),
        node("c", "MODEL"),
        methods=["TRANSFORM_INPUT", "TRANSFORM_OUTPUT"],
    ),
    "a router in a router": node(
        "r",
        "ROUTER",
        node("s", "ROUTER", node("a", "MODEL"), node("b", "MODEL")),
        node("c", "MODEL"),
    ),
    "the first route always": builtin(
        "r", "SIMPLE_ROUTER", node("a", "MODEL"), node("b", "MODEL"), type="ROUTER"
    ),
    "always A": abtest("r", "1.0", node("a", "MODEL"), node("b", "MODEL")),
    "always B": abtest("r", "0.0", node("a", "MODEL"), node("b", "MODEL")),
    "three fixed values": builtin("m", "SIMPLE_MODEL"),
    "fixed values before a model": builtin("m", "SIMPLE_MODEL", node("n", "MODEL"), type="MODEL"),
    "no combiner, so the first child": node("a", "MODEL", node("b", "MODEL"), node("c", "MODEL")),
    "transform-input wins over predict": node("m", "MODEL", methods=["TRANSFORM_INPUT"]),
    "methods alone": node(
        "x", "UNKNOWN_TYPE", node("m", "MODEL"), methods=["TRANSFORM_INPUT", "AGGREGATE"]
    ),
    "everything in one": node(
        "x",
        None,
        node("a", "MODEL"),
        node("b", "TRANSFORMER"),
        methods=["TRANSFORM_INPUT", "ROUTE", "AGGREGATE", "TRANSFORM_OUTPUT", "SEND_FEEDBACK"],
    ),
}
ROWS = [np.array([[float(value), 1.0], [2.0, -3.0]]) for value in range(5)]


@pytest.mark.parametrize("name", TREES)
def test_a_tree_answers_as_the_executor(name: str, tmp_path: Path) -> None:
    tree = TREES[name]
    model = Executor(components(tree), lambda: 0.5)
    with opened(imported(deployment(tree)), tmp_path, sources(tree)) as graph:
        for row in ROWS:
            found = graph.run({"data": row})["output"]
            np.testing.assert_allclose(found, model.predict(tree, row))


_KINDS = ("MODEL", "TRANSFORMER", "OUTPUT_TRANSFORMER")
_METHODS = ("TRANSFORM_INPUT", "TRANSFORM_OUTPUT", "ROUTE", "AGGREGATE")


@st.composite
def trees(draw: st.DrawFn, depth: int = 3) -> Node:
    """Trees of nodes of all types, with further methods."""
    counter = itertools.count()

    def tree(left: int) -> Node:
        name = f"n{next(counter)}"
        children = [tree(left - 1) for _ in range(draw(st.integers(0, 2 if left else 0)))]
        if not children:
            return node(name, draw(st.sampled_from(_KINDS)))
        kind = draw(st.sampled_from((*_KINDS, "ROUTER", "COMBINER", "UNKNOWN_TYPE")))
        methods = draw(st.lists(st.sampled_from(_METHODS), unique=True, max_size=2))
        if kind == "UNKNOWN_TYPE" and not methods:
            methods = ["AGGREGATE"]
        return node(name, kind, *children, **({"methods": methods} if methods else {}))

    return tree(depth)


@given(trees(), st.lists(st.integers(-9, 9), min_size=2, max_size=2))
def test_any_tree_answers_as_the_executor(tree: Node, row: list[int]) -> None:
    model = Executor(components(tree))
    given_rows = np.array([row], float)
    with (
        TemporaryDirectory() as folder,
        opened(imported(deployment(tree)), Path(folder), sources(tree)) as graph,
    ):
        found = graph.run({"data": given_rows})["output"]
    np.testing.assert_allclose(found, model.predict(tree, given_rows))


def test_an_ab_test_draws_by_its_ratio(tmp_path: Path) -> None:
    tree = abtest("r", "0.25", node("a", "MODEL"), node("b", "MODEL"))
    (one,) = imported(deployment(tree))
    assert one.spec["spec"]["nodes"]["r"]["routes"] == {"a": 0.25, "b": 0.75}
    row = np.array([[1.0, 1.0]])
    answers = {
        ratio: Executor(components(tree), lambda ratio=ratio: ratio).predict(tree, row).tolist()
        for ratio in (0.25, 0.26)
    }
    with opened([one], tmp_path, sources(tree)) as graph:
        found = [graph.run({"data": row})["output"].tolist() for _ in range(400)]
    assert {str(answer) for answer in found} == {str(answer) for answer in answers.values()}
    assert 0.15 < found.count(answers[0.25]) / 400 < 0.35
