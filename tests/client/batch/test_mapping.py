"""Columns become inputs: by name, by --map, and by the rules of the protocol's JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anabranch.client.batch.formats.contract import OutputColumn
from anabranch.client.batch.formats.lines import objects
from anabranch.client.batch.mapping import (
    ROW,
    GraphTypes,
    mapped,
    numbered,
    output_columns,
    read_map,
)
from anabranch.client.batch.rows import InputRows
from anabranch.components.tensors.arrays import Array
from anabranch.errors import InvalidRequest, JobError
from anabranch.specs.models import TensorSpec


def graph(**inputs: tuple[str, tuple[int, ...]]) -> GraphTypes:
    specs = {name: TensorSpec(datatype=d, shape=s) for name, (d, s) in inputs.items()}  # type: ignore[arg-type]
    return GraphTypes("g", specs, {})


def tensor(datatype: str, shape: tuple[int, ...], values: Any) -> Array:
    """Return the tensor of a column with these values."""
    column = values if isinstance(values, np.ndarray) else objects(values)
    mapping = mapped(graph(x=(datatype, shape)), ["x"], {}, [])
    return mapping.tensors(InputRows(0, len(column), {"x": column}))["x"]


TWO = graph(x=("FP32", (-1, 3)), note=("BYTES", (-1,)))
COLUMNS = ["id", "a", "b", "c", "note"]


def test_inputs_have_the_columns_of_their_names_and_those_that_are_mapped() -> None:
    found = mapped(TWO, COLUMNS, {"x": ["a", "b", "c"]}, ["id"])
    assert found.columns == {"x": ("a", "b", "c"), "note": ("note",)}
    assert found.kept == ("id",)
    assert found.read == ["id", "a", "b", "c", "note"]
    assert found.missing == []
    assert mapped(TWO, COLUMNS, {"x": ["[abc]"]}, ["*"]).columns["x"] == ("a", "b", "c")
    assert mapped(TWO, COLUMNS, {"x": ["[abc]"]}, ["*"]).kept == tuple(COLUMNS)


def test_the_only_input_has_all_columns_that_are_not_copied() -> None:
    only = graph(x=("FP32", (-1, 3)))
    assert mapped(only, ["id", "a", "b", "c"], {}, ["id"]).columns == {"x": ("a", "b", "c")}


def test_an_input_without_a_column_is_left_out() -> None:
    found = mapped(TWO, ["x"], {}, [])
    assert (found.columns, found.missing) == ({"x": ("x",)}, ["note"])


@pytest.mark.parametrize(
    ("given", "kept", "message"),
    [
        ({"y": ["a"]}, [], "graph 'g' has no input 'y'.*it has x, note"),
        ({"x": ["a", "d"]}, [], "input 'x': there is no column 'd' .*available: a, "),
        ({"x": ["a", "b", "c"]}, ["idd"], "--id and --keep: there is no column 'idd'.*'id'"),
        ({"x": ["a", "b"]}, [], r"x' of graph 'g' is FP32\[-1, 3\].* has 3 elements, and 2 col"),
    ],
)
def test_mistakes_name_what_there_is(
    given: dict[str, list[str]], kept: list[str], message: str
) -> None:
    with pytest.raises(JobError, match=message):
        mapped(TWO, COLUMNS, given, kept)


def test_columns_of_no_input_are_a_mistake() -> None:
    with pytest.raises(JobError, match="no column has the name of an input of graph 'g'"):
        mapped(TWO, ["p", "q"], {}, [])


@pytest.mark.parametrize("text", ["x", "=a", "x=", "x=,"])
def test_maps_that_map_nothing_are_refused(text: str) -> None:
    with pytest.raises(JobError, match="maps no columns: write input=column"):
        read_map([text])


def test_maps_are_read() -> None:
    assert read_map(["x=a, b", "y=c"]) == {"x": ("a", "b"), "y": ("c",)}
    with pytest.raises(JobError, match="'x' is mapped twice"):
        read_map(["x=a", "x=b"])


@pytest.mark.parametrize(
    ("datatype", "values", "expected"),
    [
        ("FP32", ["1.5", "-2", " 3 ", ""], np.array([1.5, -2, 3, np.nan], np.float32)),
        ("FP64", [None, 1], np.array([np.nan, 1])),
        ("INT64", ["9007199254740993", "2.0"], np.array([9007199254740993, 2])),
        ("UINT8", np.array([1.0, 255.0]), np.array([1, 255], np.uint8)),
        ("BOOL", ["true", "FALSE", "1"], np.array([True, False, True])),
        ("BYTES", ["a", ""], np.array(["a", ""], object)),
    ],
)
def test_values_become_the_datatype_of_the_input(datatype: str, values: Any, expected: Any) -> None:
    found = tensor(datatype, (-1,), values)
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected, equal_nan=expected.dtype.kind == "f")


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        ("FP32", ["x"]),
        ("INT32", [""]),
        ("INT32", [None]),
        ("INT8", ["128"]),
        ("INT32", ["1.5"]),
        ("BOOL", ["yes"]),
        ("BYTES", [None]),
        ("FP32", ["1e39"]),
    ],
)
def test_values_that_the_input_cannot_have_are_refused(datatype: str, values: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"input 'x' is {datatype}, and"):
        tensor(datatype, (-1,), values)


def test_lists_and_columns_become_dimensions() -> None:
    assert tensor("FP32", (-1, 2), [[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
    assert tensor("FP32", (-1, 2, 1), [[1, 2], [3, 4]]).shape == (2, 2, 1)
    assert tensor("BYTES", (-1, 2), [["a", "b"]]).tolist() == [["a", "b"]]
    assert tensor("FP32", (-1, 1), ["1", "2"]).tolist() == [[1], [2]]
    with pytest.raises(InvalidRequest, match="do not all have the same length"):
        tensor("FP32", (-1, 2), [[1, 2], [3]])
    mapping = mapped(TWO, COLUMNS, {"x": ["a", "b", "c"]}, [])
    columns = {"a": np.array([1, 2]), "b": objects(["3", "4"]), "c": np.array([5.5, 6.5])}
    rows = InputRows(0, 2, {**columns, "note": objects(["p", "q"])})
    assert mapping.tensors(rows)["x"].tolist() == [[1, 3, 5.5], [2, 4, 6.5]]


def test_a_graph_without_rows_gets_the_row_alone() -> None:
    mapping = mapped(graph(x=("FP32", (1, 2))), ["a", "b"], {}, [])
    assert not mapping.graph.takes_rows
    rows = InputRows(4, 1, {"a": objects(["1"]), "b": objects(["2"])})
    assert mapping.tensors(rows)["x"].tolist() == [[1, 2]]
    one = mapped(graph(x=("INT32", ())), ["x"], {}, [])
    assert one.tensors(InputRows(0, 1, {"x": np.array([7])}))["x"].shape == ()


def test_the_output_has_a_number_for_each_row_unless_columns_are_copied() -> None:
    outputs = {
        "label": TensorSpec(datatype="BYTES", shape=(-1,)),
        "one": TensorSpec(datatype="FP32", shape=(-1, 1)),
        "p": TensorSpec(datatype="FP32", shape=(-1, 3)),
        "any": TensorSpec(datatype="FP32", shape=(-1, -1)),
    }
    types = GraphTypes("g", TWO.inputs, outputs)
    found = output_columns(mapped(types, ["x"], {}, []), {})
    assert found == [
        OutputColumn(ROW, "INT64", is_copied=True),
        OutputColumn("label", "BYTES"),
        OutputColumn("one", "FP32"),
        OutputColumn("p", "FP32", 1, 3),
        OutputColumn("any", "FP32", 1),
    ]
    kept = output_columns(mapped(types, ["x", "id"], {}, ["id"]), {"id": "int64"})
    assert kept[0] == OutputColumn("id", arrow="int64", is_copied=True)
    with pytest.raises(JobError, match="has the output 'p', and a column that is copied"):
        output_columns(mapped(types, ["x", "p"], {}, ["p"]), {})


def test_rows_are_numbered_unless_a_column_has_that_name() -> None:
    found = numbered(InputRows(0, 2, {"a": np.arange(2)}), 7)
    assert (found.start, found.columns[ROW].tolist(), found.made) == (7, [7, 8], (ROW,))
    own = numbered(InputRows(0, 2, {ROW: np.array([5, 6])}), 7)
    assert (own.start, own.columns[ROW].tolist(), own.made) == (7, [5, 6], ())


def test_a_row_of_fewer_elements_than_the_input_has_is_no_row_of_another_size() -> None:
    said = r"input 'x' is FP32\[-1, 2\], and its columns hold 1 element a row$"
    with pytest.raises(InvalidRequest, match=said):
        tensor("FP32", (-1, 2), [1.0, 3.0])  # two rows, not one of two elements
    with pytest.raises(InvalidRequest, match="hold 6 elements a row"):
        tensor("FP32", (-1, -1, 3), [[1.0] * 6])


def test_a_row_of_one_element_fits_any_size() -> None:
    assert tensor("FP32", (-1, -1), [1.0, 3.0]).tolist() == [[1.0], [3.0]]
    assert tensor("FP32", (-1, -1, 3), [[1.0] * 3] * 2).shape == (2, 1, 3)
