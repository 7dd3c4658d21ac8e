"""Transformers against plain NumPy, and their types against what they return."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from anabranch.components import registry
from anabranch.components.binding import bind
from anabranch.components.tensors.datatypes import DTYPES, matches, to_datatype
from anabranch.components.tensors.types import TypeConflict
from anabranch.components.transformers import Split, Stack
from anabranch.specs.models import TensorSpec

NUMBERS = [dtype for dtype in DTYPES.values() if dtype.kind not in "OV"]  # BF16: test_bf16.py
FLOATS = [dtype for dtype in NUMBERS if dtype.kind == "f"]


def tensors(dtypes=NUMBERS, min_dims=0, min_side=0):
    shapes = array_shapes(min_dims=min_dims, max_dims=3, min_side=min_side, max_side=4)
    return st.sampled_from(dtypes).flatmap(lambda dtype: arrays(dtype, shapes))


def spec_of(array, *, sizes=True):
    shape = array.shape if sizes else (-1,) * array.ndim
    return TensorSpec(datatype=to_datatype(array.dtype), shape=shape)


def run(node, method, array, **args):
    """Transform one array, and check that the inferred types hold."""
    array.flags.writeable = False
    bound = bind("n", node(type="transformer", method=method, args=args), Path())
    result = bound.call(x=array)
    assert type(result) is np.ndarray
    infer = registry.get("transformer", method).infer
    for sizes in (True, False):
        inferred = infer({"x": spec_of(array, sizes=sizes)}, args)
        assert matches(inferred["output"], result) is None
    return result


def refused(node, method, array, message, **args):
    """Check that a call is refused with the message, and that types tell it before."""
    bound = bind("n", node(type="transformer", method=method, args=args), Path())
    with pytest.raises(ValueError, match=message):
        bound.call(x=array)
    with pytest.raises(TypeConflict, match=message):
        registry.get("transformer", method).infer({"x": spec_of(array)}, args)


def float_of(dtype):
    return dtype if dtype.kind == "f" else np.dtype(np.float64)


@given(tensors(), st.floats(-9, 9), st.floats(0.1, 9), st.floats(-9, 9), st.floats(-9, 9))
def test_scale(node, array, subtract, divide_by, multiply_by, add):
    args = {"subtract": subtract, "divide_by": divide_by, "multiply_by": multiply_by, "add": add}
    result = run(node, "scale", array, **args)
    dtype = float_of(array.dtype)
    assert result.dtype == dtype
    if dtype == np.float16:
        array = array.astype(np.float32)
    array = array.astype(float_of(array.dtype))
    one = array.dtype.type
    with np.errstate(all="ignore"):
        expected = (array - one(subtract)) / one(divide_by) * one(multiply_by) + one(add)
        np.testing.assert_array_equal(result, np.asarray(expected).astype(dtype))


def test_scale_by_lists_follows_the_last_axis(node):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    result = run(node, "scale", array, subtract=[0, 1, 2], divide_by=[1, 2, 4])
    np.testing.assert_array_equal(result, (array - [0, 1, 2]) / [1, 2, 4])
    refused(node, "scale", array, "has 2 numbers, but the shape is", subtract=[0, 1])
    refused(node, "scale", np.float32(1) * np.ones(()), "has 2 numbers", subtract=[0, 1])


@given(tensors(), st.sampled_from(NUMBERS))
def test_cast_keeps_values_or_says_which_does_not_fit(node, array, dtype):
    wanted = to_datatype(dtype)
    with np.errstate(all="ignore"):
        expected = array.astype(dtype)
        whole = dtype.kind in "iu"
        fits = not whole or all(
            np.isfinite(one) and np.iinfo(dtype).min <= int(one) <= np.iinfo(dtype).max
            for one in array.flat
        )
    if fits:
        np.testing.assert_array_equal(run(node, "cast", array, datatype=wanted), expected)
    else:
        with pytest.raises(ValueError, match=f"does not fit {wanted}"):
            run(node, "cast", array, datatype=wanted)


@given(tensors([one for one in NUMBERS if one.kind != "b"]))
def test_cast_to_texts_and_back(node, array):
    written = run(node, "cast", array, datatype="BYTES")
    assert all(isinstance(one, str) for one in written.flat)
    back = run(node, "cast", written, datatype=to_datatype(array.dtype))
    np.testing.assert_array_equal(back, array)


def test_cast_of_texts_says_what_it_cannot_read(node):
    array = np.array(["7", b"8"], object)
    assert run(node, "cast", array, datatype="INT8").tolist() == [7, 8]
    assert run(node, "cast", np.array(["a"]), datatype="BYTES").dtype == object
    refused(node, "cast", array, "BYTES into BOOL", datatype="BOOL")
    bound = bind("n", node(type="transformer", method="cast", args={"datatype": "UINT8"}), Path())
    with pytest.raises(ValueError, match=r"cast to UINT8: invalid literal.*'x'"):
        bound.call(x=np.array(["x"], object))
    with pytest.raises(ValueError, match="300 does not fit UINT8"):
        bound.call(x=np.array(["300"], object))


@given(st.data())
def test_softmax(node, data):
    array = data.draw(tensors(min_dims=1))
    axis = data.draw(st.integers(-array.ndim, array.ndim - 1))
    result = run(node, "softmax", array, axis=axis)
    assert result.dtype == float_of(array.dtype)
    if array.size == 0:
        return
    with np.errstate(all="ignore"):
        exact = array.astype(np.float64)
        powers = np.exp(exact - exact.max(axis=axis, keepdims=True))
        expected = powers / powers.sum(axis=axis, keepdims=True)
    np.testing.assert_allclose(result, expected, rtol=1e-2, atol=1e-3)


def test_softmax_of_large_values_does_not_overflow(node):
    result = run(node, "softmax", np.array([[1e30, 1e30], [-1e30, 0]], np.float32))
    np.testing.assert_array_equal(result, np.array([[0.5, 0.5], [0, 1]], np.float32))


@given(st.data())
def test_argmax(node, data):
    array = data.draw(tensors(min_dims=1))
    axis = data.draw(st.integers(-array.ndim, array.ndim - 1))
    assume(array.shape[axis] > 0)
    result = run(node, "argmax", array, axis=axis)
    np.testing.assert_array_equal(result, np.argmax(array, axis=axis))


def test_argmax_of_an_empty_axis_is_refused_but_not_of_an_empty_batch(node):
    assert run(node, "argmax", np.zeros((0, 3))).shape == (0,)
    refused(node, "argmax", np.zeros((3, 0)), "axis 1 has size 0")


@given(tensors(), st.floats(-9, 9))
def test_threshold(node, array, at):
    np.testing.assert_array_equal(run(node, "threshold", array, at=at), array >= at)


@given(st.data())
def test_select(node, data):
    array = data.draw(tensors([*NUMBERS], min_dims=1, min_side=1))
    axis = data.draw(st.integers(-array.ndim, array.ndim - 1))
    index = st.integers(-array.shape[axis], array.shape[axis] - 1)
    indices = data.draw(index | st.lists(index, max_size=5))
    result = run(node, "select", array, indices=indices, axis=axis)
    chosen = np.array(indices, dtype=int)
    np.testing.assert_array_equal(result, np.take(array, chosen, axis=axis))


def test_select_of_texts_and_out_of_range(node):
    array = np.array(["a", "b"], dtype=object)
    assert run(node, "select", array, indices=1)[()] == "b"
    refused(node, "select", array, "index 2 is out of range for size 2", indices=[0, 2])


def test_rename(node):
    fields = {"inputs": {"a": "x", "b": "y"}, "args": {"names": {"a": "scores"}}}
    bound = bind("n", node(type="transformer", method="rename", **fields), Path())
    left, right = np.ones(1), np.ones(2)
    result = bound.call(a=left, b=right)
    assert result["scores"] is left
    assert result["b"] is right
    spec = spec_of(left)
    types = registry.get("transformer", "rename").infer({"a": spec, "b": None}, fields["args"])
    assert types == {"scores": spec, "b": None}


def test_several_inputs_keep_their_names(node):
    both = {"a": "x", "b": "y"}
    bound = bind("n", node(type="transformer", method="argmax", inputs=both), Path())
    result = bound.call(a=np.array([1, 2]), b=np.array([2, 1]))
    assert {name: int(value) for name, value in result.items()} == {"a": 1, "b": 0}
    types = registry.get("transformer", "argmax").infer({"a": None, "b": spec_of(np.ones(2))}, {})
    assert types == {"a": None, "b": TensorSpec(datatype="INT64", shape=())}


@pytest.mark.parametrize("method", ["softmax", "argmax", "select"])
def test_an_axis_out_of_range_is_refused(node, method):
    args = {"indices": [0]} if method == "select" else {}
    message = "axis -3 is out of range for a tensor of rank 2"
    refused(node, method, np.zeros((1, 1)), message, axis=-3, **args)


@pytest.mark.parametrize(
    ("method", "args"),
    [("scale", {"add": 1}), ("softmax", {}), ("argmax", {}), ("threshold", {"at": 1})],
)
def test_bytes_cannot_be_calculated_with(node, method, args):
    refused(node, method, np.array(["a"], object), f"{method} cannot calculate with BYTES", **args)


@pytest.mark.parametrize(
    ("method", "args", "path", "message"),
    [
        ("scale", {}, ("args",),
         "scale needs at least one of subtract, divide_by, multiply_by, add"),
        ("scale", {"divide_by": 0}, ("args", "divide_by"), "cannot divide by 0"),
        ("scale", {"divide_by": [1, 0.0]}, ("args", "divide_by"), "cannot divide by 0"),
        ("scale", {"add": []}, ("args", "add"), "must be at least 1 long, not []"),
        ("scale", {"add": True}, ("args", "add"), "True is not a number or a list, each a number"),
        ("cast", {}, ("args",), "transformer 'cast' needs the argument 'datatype'"),
        ("softmax", {"axis": 1.5}, ("args", "axis"), "1.5 is not a whole number"),
        ("softmax", {"axis": True}, ("args", "axis"), "True is not a whole number"),
        ("softmax", {"axes": 1}, ("args", "axes"),
         "unknown argument of transformer 'softmax' (did you mean 'axis'? available: axis)"),
        ("rename", {"names": {"y": "z"}}, ("args", "names", "y"),
         "there is no input 'y' (available: x)"),
        ("rename", {"names": {"x": "no good"}}, ("args", "names", "x"),
         "'no good' is no name of a tensor"),
        ("threshold", {"at": "1"}, ("args", "at"), "'1' is not a number"),
    ],
)  # fmt: skip
def test_arguments_are_checked(node, method, args, path, message):
    assert (path, message) in registry.problems(node(type="transformer", method=method, args=args))


def test_outputs_of_one_name_are_refused(node):
    fields = {"inputs": {"a": "x", "b": "y"}, "args": {"names": {"a": "b"}}}
    found = registry.problems(node(type="transformer", method="rename", **fields))
    assert found == [(("args", "names"), "2 outputs would be called 'b'")]


@given(st.data(), st.sampled_from(NUMBERS), st.integers(1, 4), st.integers(0, 5))
def test_columns_become_a_matrix_and_columns_again(data, dtype, count, rows):
    names = [f"c{index}" for index in range(count)]
    columns = {name: data.draw(arrays(dtype, (rows,))) for name in names}
    order = data.draw(st.permutations(names))
    stack = Stack(columns=order)
    matrix = stack.transform(**columns)
    given_as = {name: one.reshape(-1, 1) for name, one in columns.items()}
    np.testing.assert_array_equal(stack.transform(**given_as), matrix)
    types = {name: spec_of(one) for name, one in columns.items()}
    assert matches(Stack.infer(types, {"columns": order})["output"], matrix) is None
    found = Split(columns=order).transform(x=matrix)
    assert list(found) == order
    inferred = Split.infer({"x": spec_of(matrix)}, {"columns": order})
    for name, column in found.items():
        np.testing.assert_array_equal(column, columns[name])
        assert matches(inferred[name], column) is None


def test_columns_that_differ_have_a_common_datatype():
    matrix = Stack(columns=["b", "a"]).transform(a=np.int32([1, 2]), b=np.float64([0.5, 1.5]))
    np.testing.assert_array_equal(matrix, [[0.5, 1], [1.5, 2]])
    texts = Stack(columns=["a"]).transform(a=np.array(["x"], object))
    assert texts.tolist() == [["x"]]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"a": np.zeros(2), "b": np.zeros(3)}, "shapes differ"),
        ({"a": np.zeros((2, 2)), "b": np.zeros(2)}, r"a column is \[rows\] or \[rows, 1\]"),
        ({"a": np.zeros(2), "b": np.array(["x", "y"], object)}, "stack cannot mix BYTES with"),
    ],
)
def test_columns_that_do_not_fit_are_refused_before_and_at_the_call(inputs, message):
    with pytest.raises(ValueError, match=message):
        Stack(columns=["a", "b"]).transform(**inputs)
    with pytest.raises(TypeConflict, match=message):
        Stack.infer({name: spec_of(one) for name, one in inputs.items()}, {"columns": ["a", "b"]})


def test_a_matrix_of_another_width_is_refused_before_and_at_the_call():
    matrix = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"split needs \[rows, 2\], but the shape is \[2, 3\]"):
        Split(columns=["a", "b"]).transform(x=matrix)
    with pytest.raises(TypeConflict, match=r"split needs \[rows, 2\]"):
        Split.infer({"x": spec_of(matrix)}, {"columns": ["a", "b"]})


@pytest.mark.parametrize(
    ("method", "inputs", "columns", "message"),
    [
        ("stack", ["age", "income"], ["age", "incom"], "there is no input 'incom' (did you mean"),
        ("stack", ["age", "income"], ["age"], "the input 'income' has no place in the matrix"),
        ("stack", ["age"], ["age", "age"], "'age' stands there 2 times"),
        ("split", ["x", "y"], ["a"], "split takes one matrix, not 2 inputs"),
        ("split", ["x"], [], "must be at least 1 long, not []"),
        ("split", ["x"], ["a b"], "'a b' is no name of a tensor"),
        ("split", ["x"], ["a", "a"], "2 outputs would be called 'a'"),
    ],
)
def test_mistakes_in_columns(node, method, inputs, columns, message):
    sources = {name: name for name in inputs}
    made = node(type="transformer", method=method, args={"columns": columns}, inputs=sources)
    assert any(message in said for _, said in registry.problems(made))
