"""Inputs that share a dimension."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch import Graph
from anabranch.errors import InvalidRequest, SpecError
from anabranch.graph.plan.symbols import check_symbols, symbols_of
from anabranch.specs.models import InputSpec

SUM = """
import numpy as np


class Add:
    def predict(self, price, features):
        return price + features.sum(axis=1)
"""
sizes = st.integers(0, 2)
shapes = st.lists(sizes | st.sampled_from(["rows", "n"]), max_size=3)


def spec(*shape: int | str) -> InputSpec:
    return InputSpec(datatype="FP32", shape=shape)


@given(st.lists(shapes, min_size=1, max_size=3), st.data())
def test_a_symbol_has_one_size_in_a_request(declared: list[Any], data: st.DataObject) -> None:
    inputs = {f"x{index}": spec(*shape) for index, shape in enumerate(declared)}
    arrays = {}
    found: dict[str, set[int]] = {}
    for name, one in inputs.items():
        shape = [data.draw(sizes) if isinstance(size, str) else size for size in one.shape]
        arrays[name] = np.zeros(shape)
        for symbol, size in zip(one.shape, shape, strict=True):
            found.setdefault(str(symbol), set()).add(size)
    unequal = [s for s in found if not s.isdigit() and len(found[s]) > 1]
    if not unequal:
        check_symbols(symbols_of(inputs), arrays)
        return
    with pytest.raises(InvalidRequest) as raised:
        check_symbols(symbols_of(inputs), arrays)
    told = re.fullmatch(
        r"the size '(\w+)' must be the same in a request, but dimension (\d) of '(\w+)' has size "
        r"(\d), dimension (\d) of '(\w+)' has size (\d)",
        str(raised.value),
    )
    assert told is not None
    symbol, axis, one, size, other_axis, other, other_size = told.groups()
    assert symbol in unequal
    assert inputs[one].shape[int(axis)] == inputs[other].shape[int(other_axis)] == symbol
    assert arrays[one].shape[int(axis)] == int(size) != int(other_size)
    assert arrays[other].shape[int(other_axis)] == int(other_size)


def test_what_a_symbol_is_to_components_and_to_people() -> None:
    assert str(spec("rows", 3, -1)) == "FP32[rows, 3, -1]"
    assert spec("rows", 3, -1).tensor.shape == (-1, 3, -1)
    assert symbols_of({"a": spec("rows", "n"), "b": spec("n")}) == {"n": (("a", 1), ("b", 0))}


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[Graph]:
    (tmp_path / "components.py").write_text(SUM)
    made = Graph("demo", root=tmp_path).input("price", "FP32", ["rows"])
    made.input("features", "FP32", ["rows", 3])
    made.predictor(
        "add",
        component="components.py:Add",
        inputs={"price": "price", "features": "features"},
        batching={"max_size": 64},
    )
    with made.output("sum", "add") as open_graph:
        yield open_graph


def rows(count: int) -> dict[str, Any]:
    return {
        "price": np.arange(count, dtype=np.float32),
        "features": np.ones((count, 3), np.float32),
    }


def test_a_graph_refuses_unequal_rows_before_a_node_runs(graph: Graph) -> None:
    wrong = {**rows(2), "price": np.zeros(3, np.float32)}
    with pytest.raises(InvalidRequest) as raised:
        graph.run(wrong)
    assert str(raised.value) == (
        "the size 'rows' must be the same in a request, but dimension 0 of 'price' has size 3, "
        "dimension 0 of 'features' has size 2"
    )
    assert graph.run(rows(2))["sum"].tolist() == [3, 4]


def test_requests_of_different_rows_may_share_a_batch(graph: Graph) -> None:
    async def together() -> list[Any]:
        return await asyncio.gather(*(asyncio.to_thread(graph.run, rows(n)) for n in (1, 2, 3)))

    found = asyncio.run(together())
    assert [one["sum"].tolist() for one in found] == [[3], [3, 4], [3, 4, 5]]


def test_the_spec_keeps_the_symbol(graph: Graph) -> None:
    assert "features: {datatype: FP32, shape: [rows, 3]}" in graph.to_yaml()
    assert Graph.from_spec(graph.spec).spec == graph.spec
    assert "features: FP32[rows, 3]" in graph.to_mermaid()


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("batch size", "is not a symbol of a size: at most 63 letters, digits and _"),
        (1.5, "must be a whole number"),
        (-2, "must be at least -1"),
        (True, "must be a size, -1 for any size, or a symbol such as rows, not true"),
    ],
)
def test_what_is_no_size(size: Any, message: str) -> None:
    graph = Graph("demo").input("x", "FP32", [size])
    graph.transformer("a", method="softmax", inputs={"x": "x"}).output("y", "a")
    with pytest.raises(SpecError) as raised:
        assert graph.plan
    assert message in str(raised.value)
    assert "spec.inputs.x.shape.0: " in str(raised.value)
