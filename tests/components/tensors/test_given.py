"""Values as programs give them become what the same values mean in JSON, or are refused."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.components.tensors.datatypes import DTYPES, to_datatype
from anabranch.components.tensors.given import by_input, fit, nested_shape, to_tensor, to_tensors
from anabranch.errors import InvalidRequest
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.envelope import Header
from anabranch.router.oip.json_elements import decode_elements
from anabranch.specs.models import TensorSpec
from tests.examples import examples

NUMERIC = sorted(set(DTYPES) - {"BYTES"})
ELEMENTS = st.one_of(
    st.integers(-(2**65), 2**65), st.integers(-300, 300), st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False), st.integers(-300, 300).map(float),
    st.text(max_size=3),
)  # fmt: skip


def spec(datatype: str, *shape: int) -> TensorSpec:
    return TensorSpec(datatype=datatype, shape=shape)


def by_json(values: list[Any], datatype: str) -> np.ndarray[Any, Any] | None:
    """What the engine reads of the values in JSON; None where it refuses them."""
    header = Header("x", datatype, [len(values)])
    try:
        return decode_elements(header, msgspec.json.encode(values), RequestLimits())
    except InvalidRequest:
        return None


@settings(max_examples=examples(600))
@given(st.sampled_from(sorted(DTYPES)), st.lists(ELEMENTS, max_size=4))
def test_a_list_is_what_it_is_in_json(datatype: str, values: list[Any]) -> None:
    expected = by_json(values, datatype)
    if expected is None:
        with pytest.raises(InvalidRequest, match=f"input 'x' is {datatype}"):
            to_tensor("x", values, spec(datatype, -1))
        return
    found = to_tensor("x", values, spec(datatype, -1))
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=examples(300))
@given(
    st.sampled_from(NUMERIC),
    st.one_of(
        st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4).map(np.int64),
        st.lists(st.integers(0, 2**64 - 1), max_size=4).map(np.uint64),
        st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=4).map(np.float64),
        st.lists(st.booleans(), max_size=4).map(np.bool_),
    ),
)
def test_a_series_is_what_its_list_is(datatype: str, values: np.ndarray[Any, Any]) -> None:
    pandas = pytest.importorskip("pandas")
    expected = by_json(values.tolist(), datatype)
    series = pandas.Series(values)
    if expected is None:
        with pytest.raises(InvalidRequest, match=f"input 'x' is {datatype}"):
            to_tensor("x", series, spec(datatype, -1))
    elif len(values):
        np.testing.assert_array_equal(to_tensor("x", series, spec(datatype, -1)), expected)


@pytest.mark.parametrize("array", [np.ones((1, 2)), np.int8([3]), np.array(["a", b"b"], object)])
def test_an_array_stays_as_it_is(array: np.ndarray[Any, Any]) -> None:
    assert to_tensor("x", array, spec("FP32", -1, 2)) is array
    found = to_tensors({"x": array})
    assert found is not None and found["x"] is array


def test_where_a_value_is_plain_the_types_are_needed() -> None:
    assert to_tensors({"x": np.ones(1), "y": [1.0]}) is None


@pytest.mark.parametrize("value", [None, {"a": 1}, np.array([object()])])
def test_what_cannot_be_a_tensor_is_refused_by_the_name_of_its_input(value: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^input 'x': .*cannot be a tensor"):
        to_tensor("x", value, spec("FP32", -1))
    with pytest.raises(InvalidRequest, match=r"^input 'x': .*cannot be a tensor"):
        to_tensors({"x": value})


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "BF16"])
def test_nan_and_infinity_are_numbers(datatype: str) -> None:
    found = to_tensor("x", [float("nan"), float("inf"), -float("inf")], spec(datatype, -1))
    assert to_datatype(found.dtype) == datatype
    np.testing.assert_array_equal(found.astype(np.float64), [np.nan, np.inf, -np.inf])


def test_a_frame_is_one_input_by_its_columns() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})
    found = to_tensor("x", frame, spec("FP32", -1, 2))
    np.testing.assert_array_equal(found, np.float32([[1, 0.5], [2, 1.5]]))


def test_columns_of_a_frame_are_inputs_by_their_names() -> None:
    pandas = pytest.importorskip("pandas")
    inputs = {"age": spec("INT64", -1), "city": spec("BYTES", -1, 1), "old": spec("BOOL", -1)}
    frame = pandas.DataFrame({"age": [20, 30], "city": ["Rome", "Oslo"], "old": [False, True]})
    frame["city"] = frame["city"].astype("category")
    given_values = by_input(frame, inputs, "g")
    found = {name: to_tensor(name, value, inputs[name]) for name, value in given_values.items()}
    np.testing.assert_array_equal(found["age"], np.int64([20, 30]))
    np.testing.assert_array_equal(found["city"], np.array([["Rome"], ["Oslo"]], object))
    np.testing.assert_array_equal(found["old"], [False, True])


def test_a_missing_value_of_a_frame_is_refused() -> None:
    pandas = pytest.importorskip("pandas")
    column = pandas.Series([1, None], dtype="Int64")
    with pytest.raises(
        InvalidRequest, match=r"input 'age' is INT64, and (nan|<NA>) is no such value"
    ):
        to_tensor("age", column, spec("INT64", -1))


def test_lists_that_are_too_deep_and_numbers_that_are_too_long_are_refused() -> None:
    deep: list[Any] = [1.0]
    for _ in range(32):
        deep = [deep]
    endless: list[Any] = []
    endless.append(endless)
    for value in (deep, endless):
        with pytest.raises(InvalidRequest, match=r"input 'x': lists are nested 32 deep at most"):
            to_tensor("x", value, spec("FP32", -1))
    for datatype in ("INT8", "FP32", "BYTES"):
        with pytest.raises(InvalidRequest, match=r"the number of about 4983 digits is no such"):
            to_tensor("x", [10**5000], spec(datatype, -1))


def test_a_name_that_is_no_text_is_no_input() -> None:
    with pytest.raises(InvalidRequest, match=r"has no input 1 \(available: x\)"):
        by_input({1: [1.0]}, {"x": spec("FP32", -1)}, "g")


def test_a_bare_value_is_the_only_input() -> None:
    assert by_input([1], {"x": spec("FP32", -1)}, "g") == {"x": [1]}
    with pytest.raises(InvalidRequest, match="has 2 inputs: give values by name, for x, y"):
        by_input([1], {"x": spec("FP32"), "y": spec("FP32")}, "g")


def test_an_unknown_input_is_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidRequest, match=r"graph 'g' has no input 'pixel'.*pixels"):
        by_input({"pixel": [1]}, {"pixels": spec("FP32", -1)}, "g")


@pytest.mark.parametrize(
    ("shape", "declared", "expected"),
    [
        ([3], [-1, 3], [1, 3]),
        ([2, 3], [-1, 3], [2, 3]),
        ([], [-1], [1]),
        ([], [], []),
        ([], [1, -1], [1, 1]),
        ([4], [1, 1, 4], [1, 1, 4]),
    ],
)
def test_leading_dimensions_of_one_may_be_left_out(
    shape: list[int], declared: list[int], expected: list[int]
) -> None:
    assert fit("x", shape, declared) == expected


@pytest.mark.parametrize(("shape", "declared"), [([3], [2, 3]), ([1, 3], [3]), ([], [4])])
def test_other_data_is_refused(shape: list[int], declared: list[int]) -> None:
    with pytest.raises(InvalidRequest, match="the graph takes"):
        fit("x", shape, declared)


def test_ragged_lists_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="same length"):
        nested_shape("x", [[1, 2], [3]])
