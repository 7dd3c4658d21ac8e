"""Built-ins on BF16: as on FP32 with the result rounded once, and typed BF16 where floats stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from anabranch.components import registry
from anabranch.components.binding import bind
from anabranch.components.tensors.datatypes import BF16, DTYPES, matches, to_datatype
from anabranch.components.tensors.types import TypeConflict, common, floating
from anabranch.specs.models import TensorSpec

SHAPES = array_shapes(min_dims=1, max_dims=2, min_side=1, max_side=4)
VALUES = st.floats(-99, 99, width=16)
OTHERS = {
    "BOOL": "FP32", "UINT8": "FP32", "INT16": "FP32", "INT32": "FP64", "INT64": "FP64",
    "UINT64": "FP64", "FP16": "FP32", "FP32": "FP32", "FP64": "FP64", "BF16": "BF16",
}  # fmt: skip


def bf16(values):
    return np.asarray(values, np.float32).astype(BF16)


def same(left, right):
    alike = left.dtype == right.dtype and left.shape == right.shape
    return alike and left.tobytes() == right.tobytes()


def spec_of(array):
    return TensorSpec(datatype=to_datatype(array.dtype), shape=array.shape)


def run(node, kind, name, *inputs, **args):
    """Call a built-in, and check that the inferred type holds."""
    names = [f"i{index}" for index in range(len(inputs))]
    field, given = ("method", {"x": "x"}) if kind == "transformer" else ("strategy", names)
    made = node(type=kind, args=args, inputs=given, **{field: name})
    call = bind("n", made, Path()).call
    result = call(x=inputs[0]) if kind == "transformer" else call(list(inputs))
    types = {str(index): spec_of(array) for index, array in enumerate(inputs)}
    (inferred,) = registry.get(kind, name).infer(types, args).values()
    assert matches(inferred, result) is None
    return result


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("scale", {"subtract": 1.5, "divide_by": 3.0}),
        ("softmax", {}),
        ("argmax", {}),
        ("select", {"indices": [0, -1]}),
        ("cast", {"datatype": "FP64"}),
        ("cast", {"datatype": "INT32"}),
        ("cast", {"datatype": "FP16"}),
        ("cast", {"datatype": "BYTES"}),
    ],
)
@given(arrays(np.float32, SHAPES, elements=VALUES))
def test_transformers(node, method, args, values):
    array = bf16(values)
    expected = run(node, "transformer", method, array.astype(np.float32), **args)
    found = run(node, "transformer", method, array, **args)
    stays = expected.dtype == np.float32 and method != "cast"
    wanted = expected.astype(BF16) if stays else expected
    assert found.tolist() == wanted.tolist()
    assert found.dtype == wanted.dtype


@pytest.mark.parametrize("strategy", ["mean", "max", "concat", "first"])
@given(st.lists(VALUES, min_size=3, max_size=3))
def test_combiners(node, strategy, values):
    inputs = [bf16([value, -value]) for value in values]
    expected = run(node, "combiner", strategy, *[one.astype(np.float32) for one in inputs])
    found = run(node, "combiner", strategy, *inputs)
    assert same(found, expected.astype(BF16))


@pytest.mark.parametrize(("other", "result"), OTHERS.items())
def test_beside_others_it_counts_as_fp32(node, other, result):
    assert common([BF16, DTYPES[other]], "mean") == DTYPES[result]
    assert floating([DTYPES[other], BF16], "mean") == DTYPES[result]
    inputs = bf16([1, 2]), np.array([0, 1]).astype(DTYPES[other])
    for strategy, expected in (("mean", [0.5, 1.5]), ("max", [1, 2]), ("concat", [1, 2, 0, 1])):
        found = run(node, "combiner", strategy, *inputs)
        assert (found.dtype, found.tolist()) == (DTYPES[result], expected)
    weighted = run(node, "combiner", "weighted_mean", *inputs, weights=[1, 1])
    assert weighted.tolist() == [0.5, 1.5]


def test_votes_are_no_floats(node):
    with pytest.raises(TypeConflict, match="vote counts labels, not floats"):
        registry.get("combiner", "vote").infer({"a": spec_of(bf16([1]))}, {})


def test_threshold_compares_in_its_own_precision(node):
    array = bf16([0.7, 0.8, np.nan])
    assert run(node, "transformer", "threshold", array, at=0.7).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("value", "nearest"),
    [
        (1 + 2**-8 + 2**-40, 1 + 2**-7),
        (np.int64(2**40 + 1), 2**40),
        (np.float16(0.1), 0.10009765625),
        (True, 1),
        ("-1.5", -1.5),
        (b"3.3e38", 3.2964854295465914e38),
        (1e300, np.inf),
    ],
)
def test_casts_to_bf16_round_to_the_nearest(node, value, nearest):
    array = np.array([value], object if isinstance(value, str | bytes) else None)
    found = run(node, "transformer", "cast", array, datatype="BF16")
    assert found.tolist() == [nearest]


def test_casts_from_bf16_check_the_range(node):
    with pytest.raises(ValueError, match=r"cast: 300(\.0)? does not fit UINT8"):
        run(node, "transformer", "cast", bf16([300]), datatype="UINT8")
