"""Combiners against their definitions in plain NumPy, and their types against what they return."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from anabranch.components import registry
from anabranch.components.binding import bind
from anabranch.components.tensors.datatypes import DTYPES, matches, to_datatype
from anabranch.components.tensors.types import TypeConflict
from anabranch.specs.models import TensorSpec

NUMBERS = [dtype for dtype in DTYPES.values() if dtype.kind not in "OV"]  # BF16: test_bf16.py
SHAPES = array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


def texts(shape):
    return arrays(
        object, shape, elements=st.sampled_from(["a", "b", b"a", "ü", ""]), fill=st.nothing()
    )


@st.composite
def groups(draw, dtypes=NUMBERS, mixed=True, most=4):
    """A few arrays of one shape, of several dtypes where ``mixed``."""
    shape = draw(SHAPES)
    one = draw(st.sampled_from(dtypes))
    count = draw(st.integers(1, most))
    kinds = [draw(st.sampled_from(dtypes)) if mixed else one for _ in range(count)]
    made = [draw(texts(shape) if kind.kind == "O" else arrays(kind, shape)) for kind in kinds]
    for array in made:
        array.flags.writeable = False
    return made


def combine(node, strategy, arrays, **args):
    names = [f"i{index}" for index in range(len(arrays))]
    made = node(type="combiner", strategy=strategy, inputs=names, args=args)
    result = bind("n", made, Path()).call(arrays)
    assert type(result) is np.ndarray
    inferred = registry.get("combiner", strategy).infer(
        {str(index): spec_of(array) for index, array in enumerate(arrays)}, args
    )
    assert matches(inferred["output"], result) is None
    open_ended = registry.get("combiner", strategy).infer(
        {str(index): open_spec_of(array) for index, array in enumerate(arrays)}, args
    )
    assert matches(open_ended["output"], result) is None
    return result


def spec_of(array):
    return TensorSpec(datatype=to_datatype(array.dtype), shape=array.shape)


def open_spec_of(array):
    return TensorSpec(datatype=to_datatype(array.dtype), shape=(-1,) * array.ndim)


def float_of(arrays):
    dtype = np.result_type(*arrays)
    return dtype if dtype.kind == "f" else np.dtype(np.float64)


def close(result, expected):
    dtype = result.dtype
    scale = max([1.0, *np.abs(expected[np.isfinite(expected)]).ravel().astype(float)], default=1.0)
    rounding = 8 * float(np.finfo(dtype).eps) * scale
    return np.allclose(result, expected.astype(dtype), rtol=1e-3, atol=rounding, equal_nan=True)


@given(st.data())
def test_mean(node, data):
    inputs = data.draw(groups())
    dtype = float_of(inputs)
    result = combine(node, "mean", inputs)
    assert result.dtype == dtype
    with np.errstate(all="ignore"):
        wide = np.float32 if dtype == np.float16 else dtype
        expected = sum(array.astype(wide) for array in inputs) / len(inputs)
        np.testing.assert_allclose(result, np.asarray(expected).astype(dtype), rtol=1e-3)


@given(st.data())
def test_weighted_mean(node, data):
    inputs = data.draw(groups(dtypes=[np.dtype("f4"), np.dtype("i2"), np.dtype("?")]))
    inputs = [
        np.nan_to_num(array, nan=1, posinf=2, neginf=3) % 1000 for array in map(np.float64, inputs)
    ]
    weights = data.draw(st.lists(st.floats(0.1, 9), min_size=len(inputs), max_size=len(inputs)))
    result = combine(node, "weighted_mean", inputs, weights=weights)
    expected = np.average(np.stack(inputs), axis=0, weights=weights)
    np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-9)


def test_equal_weights_are_the_mean_in_float_32(node):
    inputs = [np.array([1, 2], np.float32), np.array([3, np.nan], np.float32)]
    result = combine(node, "weighted_mean", inputs, weights=[2, 2])
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, np.array([2, np.nan], np.float32))


@given(st.data())
def test_vote(node, data):
    kinds = [np.dtype(np.int8), np.dtype(np.uint64), np.dtype(np.bool_), np.dtype(object)]
    inputs = data.draw(groups(dtypes=kinds, mixed=False))
    result = combine(node, "vote", inputs)
    assert result.dtype == inputs[0].dtype
    for index in np.ndindex(inputs[0].shape):
        labels = [array[index] for array in inputs]
        votes = [one.encode() if isinstance(one, str) else one for one in labels]
        winner = max(votes, key=lambda vote: (votes.count(vote), -votes.index(vote)))
        assert result[index] == labels[votes.index(winner)]


@given(st.data())
def test_max(node, data):
    inputs = data.draw(groups(dtypes=[one for one in NUMBERS if one != np.uint64]))
    result = combine(node, "max", inputs)
    assert result.dtype == np.result_type(*inputs)
    expected = np.max(np.stack([array.astype(result.dtype) for array in inputs]), axis=0)
    np.testing.assert_array_equal(result, expected)
    assert not any(result is array for array in inputs)


@given(st.data())
def test_concat(node, data):
    kinds = data.draw(st.sampled_from([[np.dtype(object)], [np.dtype("i4"), np.dtype("f4")]]))
    inputs = [array for array in data.draw(groups(dtypes=kinds)) if array.ndim]
    if not inputs:
        return
    axis = data.draw(st.integers(-inputs[0].ndim, inputs[0].ndim - 1))
    inputs[0] = np.concatenate([inputs[0], inputs[0]], axis=axis)
    result = combine(node, "concat", inputs, axis=axis)
    np.testing.assert_array_equal(result, np.concatenate(inputs, axis=axis))


@given(groups(dtypes=[*NUMBERS, np.dtype(object)]))
def test_first(node, inputs):
    assert combine(node, "first", inputs) is inputs[0]


def test_weights_by_name_follow_parameters_or_sources(node):
    fields = {
        "type": "combiner",
        "strategy": "weighted_mean",
        "args": {"weights": {"b": 3, "a": 1}},
    }
    named = bind("n", node(**fields, inputs={"a": "x", "b": "y"}), Path())
    assert named.call(b=np.array(4.0), a=np.array(0.0)) == 3
    listed = bind("n", node(**fields, inputs=["a", "b"]), Path())
    assert listed.call([np.array(0.0), np.array(4.0)]) == 3


def test_vote_takes_a_text_and_its_utf_8_for_one_label(node):
    inputs = [np.array([label], object) for label in ("a", "é", "é".encode(), b"\xff")]
    assert combine(node, "vote", inputs).tolist() == ["é"]


@pytest.mark.parametrize("strategy", ["mean", "max", "vote"])
def test_shapes_must_be_equal(node, strategy):
    arrays = [np.zeros((2, 3), int), np.zeros((2, 1), int)]
    bound = bind("n", node(type="combiner", strategy=strategy, inputs=["a", "b"]), Path())
    with pytest.raises(
        ValueError, match=rf"{strategy} needs inputs of one shape, got \[2, 3\], \[2, 1\]"
    ):
        bound.call(arrays)
    with pytest.raises(TypeConflict, match=r"shapes differ: \[2, 3\], \[2, 1\]"):
        registry.get("combiner", strategy).infer(
            dict(zip("ab", map(spec_of, arrays), strict=True)), {}
        )


@pytest.mark.parametrize(
    ("strategy", "arrays", "message"),
    [
        ("mean", [np.array(["a"], object)], "mean cannot calculate with BYTES"),
        ("max", [np.array(["a"])], "max cannot calculate with BYTES"),
        ("vote", [np.array([1.0])], "vote counts labels, not floats"),
        ("vote", [np.array([1], np.uint64), np.array([1])], "both INT64 and UINT64"),
        ("concat", [np.array(["a"], object), np.array([1])], "cannot mix BYTES with numbers"),
        ("concat", [np.array(1)], "axis -1 is out of range for a tensor of rank 0"),
        ("concat", [np.zeros((2, 2)), np.zeros(2)], "."),
        ("concat", [np.zeros((2, 2)), np.zeros((3, 2))], "."),
    ],
)
def test_what_does_not_go_together_is_refused_before_and_at_the_call(
    node, strategy, arrays, message
):
    names = [f"i{index}" for index in range(len(arrays))]
    bound = bind("n", node(type="combiner", strategy=strategy, inputs=names), Path())
    with pytest.raises(ValueError, match=message):
        bound.call(arrays)
    with pytest.raises(TypeConflict, match=message):
        registry.get("combiner", strategy).infer(
            dict(zip(names, map(spec_of, arrays), strict=True)), {}
        )


def test_an_unknown_input_makes_an_unknown_output_but_conflicts_still_show():
    infer = registry.get("combiner", "mean").infer
    known, other = (TensorSpec(datatype="FP32", shape=shape) for shape in ((2,), (3,)))
    assert infer({"0": known, "1": None}, {}) == {"output": None}
    assert infer({"0": None}, {}) == {"output": None}
    with pytest.raises(TypeConflict):
        infer({"0": known, "1": None, "2": other}, {})


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1], "1 weights for 2 inputs (a, b)"),
        ([1, -1], "a weight may not be negative, such as -1"),
        ([0, 0], "the sum of the weights must be above 0 and finite"),
        ([1e308, 1e308], "the sum of the weights must be above 0 and finite"),
        ({"a": 1}, "the weights are for a, the inputs are a, b"),
        ({"a": 1, "c": 1}, "the weights are for a, c, the inputs are a, b"),
        ({}, "the weights are for none, the inputs are a, b"),
        ("1", "'1' is not a list, each a number or a map of names, each to a number"),
    ],
)
def test_weights_are_checked(node, weights, message):
    fields = {"type": "combiner", "strategy": "weighted_mean", "inputs": ["a", "b"]}
    found = registry.problems(node(**fields, args={"weights": weights}))
    assert (("args", "weights"), message) in found
