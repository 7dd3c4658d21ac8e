from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from anabranch.components.tensors.datatypes import BF16
from anabranch.router.traffic.agreement import Comparison, compare
from anabranch.specs.models import Compare
from tests.examples import examples

NAN, INF = np.nan, np.inf
RULE = Compare()
BOTH, AGREED, NEITHER = Comparison(True, True), Comparison(True, False), Comparison(False, False)
U64 = 2**63


def f(*values: Any, dtype: Any = np.float64) -> Any:
    return np.array(values, dtype)


def texts(*values: Any) -> Any:
    array = np.empty(len(values), object)
    array[:] = values
    return array


@pytest.mark.parametrize(
    ("primary", "copy", "expected"),
    [
        # floats that are no scores: close, or neither
        (f(1.0, 2.0), f(1.0, 2.0), BOTH),
        (f(1000.0), f(1000.9), BOTH),
        (f(1000.0), f(1001.1), NEITHER),
        (f(0.0), f(9e-7), BOTH),
        (f(0.0), f(2e-6), NEITHER),
        (f(NAN, 1.0), f(NAN, 1.0), BOTH),
        (f(NAN), f(1.0), NEITHER),
        (f(1.0), f(NAN), NEITHER),
        (f(INF, -INF), f(INF, -INF), BOTH),
        (f(INF), f(-INF), NEITHER),
        (f(INF), f(1.0), NEITHER),
        (f(1.0), f(INF), NEITHER),
        (f(1.7e308), f(-1.7e308), NEITHER),
        (f(65504, dtype=np.float16), f(65472, dtype=np.float16), BOTH),
        (f(65504, dtype=np.float16), f(-65504, dtype=np.float16), NEITHER),
        (f(0.1), f(0.1, dtype=np.float32), BOTH),
        (f(0.1, dtype=np.float16), f(0.1, dtype=">f8"), BOTH),
        (f(0.1, dtype=BF16), f(0.1, dtype=BF16), BOTH),
        (f(0.1, dtype=BF16), f(-0.1, dtype=BF16), NEITHER),
        (f([1.0], [2.0]), f([1.0], [3.0]), NEITHER),
        (np.array(1.0), np.array(1.0), BOTH),
        (np.zeros(0), np.zeros(0), BOTH),
        # class scores: the class decides whether they agree
        (f([0.1, 0.9]), f([0.1, 0.9]), BOTH),
        (f([0.1, 0.9]), f([0.4, 0.6]), AGREED),
        (f([0.1, 0.9]), f([0.6, 0.4]), NEITHER),
        (f([0.1, 0.9], [0.9, 0.1]), f([0.4, 0.6], [0.4, 0.6]), NEITHER),
        (f([[0.1, 0.9], [0.9, 0.1]]), f([[0.3, 0.9], [0.9, 0.3]]), AGREED),
        (f([0.1, 0.9]), f([0.4, 0.6], dtype=np.float16), AGREED),
        (f([0.1, 0.9]), f([0.4, 0.6], dtype=BF16), AGREED),
        (f([0.5, 0.5000001]), f([0.5000001, 0.5]), BOTH),
        (f([NAN, 0.5]), f([NAN, 0.5]), BOTH),
        (f([NAN, 0.5]), f([0.5, NAN]), AGREED),
        (f([NAN, 0.5]), f([0.9, 0.5]), NEITHER),
        (f([0.9, 0.5]), f([NAN, 0.5]), NEITHER),
        (np.zeros((0, 3)), np.zeros((0, 3)), BOTH),
        (np.zeros((3, 0)), np.zeros((3, 0)), BOTH),
        # integers: exactly equal, whatever their width
        (f(1, 2, dtype=int), f(1, 2, dtype=int), BOTH),
        (f(1, 2, dtype=int), f(1, 3, dtype=int), NEITHER),
        (f(1, dtype=np.int64), f(1, dtype=np.int32), BOTH),
        (f(1, dtype=np.int64), f(1, dtype=np.uint8), BOTH),
        (f(-1, dtype=np.int8), f(255, dtype=np.uint8), NEITHER),
        (f(255, dtype=np.uint8), f(-1, dtype=np.int8), NEITHER),
        (f(-1, dtype=np.int64), f(2**64 - 1, dtype=np.uint64), NEITHER),
        (f(U64 - 1, dtype=np.int64), f(U64, dtype=np.uint64), NEITHER),
        (f(U64 - 1, dtype=np.int64), f(U64 - 1, dtype=np.uint64), BOTH),
        (f([1, 2], dtype=int), f([2, 1], dtype=int), NEITHER),
        # BOOL
        (f(True, dtype=bool), f(True, dtype=bool), BOTH),
        (f(True, dtype=bool), f(False, dtype=bool), NEITHER),
        # BYTES
        (texts("a", b"b"), texts(b"a", "b"), BOTH),
        (texts("a"), texts("b"), NEITHER),
        (texts("é"), texts("é".encode()), BOTH),
        (texts("\ud800"), texts("\ud800"), BOTH),
        (texts("a"), np.array(["a"]), BOTH),
        (np.array([b"a"]), np.array(["a"]), BOTH),
        (texts(None), texts(None), NEITHER),
        (texts([1]), texts([1]), NEITHER),
        (texts("1"), texts(1), NEITHER),
        (np.zeros(0, object), np.zeros(0, object), BOTH),
        # other shapes and kinds
        (f(1.0), f(1.0, 1.0), NEITHER),
        (f(1.0), np.array(1.0), NEITHER),
        (f([1.0, 2.0]), f([1.0], [2.0]), NEITHER),
        (np.zeros((0, 3)), np.zeros((0, 2)), NEITHER),
        (f(1.0), f(1, dtype=int), NEITHER),
        (f(1, dtype=int), f(True, dtype=bool), NEITHER),
        (f(1, dtype=int), texts("1"), NEITHER),
        (f([0.1, 0.9]), f([0, 1], dtype=int), NEITHER),
        (f(1, dtype=complex), f(1, dtype=complex), NEITHER),
        (np.zeros(1, "M8[s]"), np.zeros(1, "M8[s]"), NEITHER),
        (np.zeros(1, "i4,f4"), np.zeros(1, "i4,f4"), NEITHER),
    ],
)
def test_one_output(primary: Any, copy: Any, expected: Comparison) -> None:
    assert compare({"y": primary}, {"y": copy}, RULE) == expected


@pytest.mark.parametrize(
    ("primary", "copy", "expected"),
    [
        ({}, {}, BOTH),
        ({"y": f(1.0)}, {}, NEITHER),
        ({}, {"y": f(1.0)}, NEITHER),
        ({"y": f(1.0)}, {"z": f(1.0)}, NEITHER),
        ({"y": f(1.0), "z": f(1.0)}, {"z": f(1.0), "y": f(1.0)}, BOTH),
        ({"y": f(1.0), "z": f([0.1, 0.9])}, {"y": f(1.0), "z": f([0.3, 0.9])}, AGREED),
        ({"y": f(1.0), "z": f([0.1, 0.9])}, {"y": f(2.0), "z": f([0.1, 0.9])}, NEITHER),
    ],
)
def test_all_outputs_together(primary: Any, copy: Any, expected: Comparison) -> None:
    assert compare(primary, copy, RULE) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Compare(rtol=0.1, atol=0), BOTH),
        (Compare(rtol=0.05, atol=0), NEITHER),
        (Compare(rtol=0, atol=11), BOTH),
        (Compare(rtol=0, atol=9), NEITHER),
        (Compare(rtol=0, atol=0), NEITHER),
        (Compare(rtol=1, atol=1e308), BOTH),
    ],
)
def test_the_tolerance_is_relative_to_what_the_client_got(
    rule: Compare, expected: Comparison
) -> None:
    assert compare({"y": f(100.0)}, {"y": f(110.0)}, rule) == expected


def test_the_last_of_many_elements_counts() -> None:
    one = np.zeros(300_000, np.float32)
    other = one.copy()
    other[-1] = 1
    assert compare({"y": one}, {"y": one.copy()}, RULE) == BOTH
    assert compare({"y": one}, {"y": other}, RULE) == NEITHER
    assert compare({"y": other}, {"y": other[::-1]}, RULE) == NEITHER


ARRAYS = hnp.arrays(
    st.one_of(
        hnp.floating_dtypes(), hnp.integer_dtypes(), hnp.unsigned_integer_dtypes(),
        hnp.boolean_dtypes(), hnp.byte_string_dtypes(), hnp.unicode_string_dtypes(),
        hnp.complex_number_dtypes(), hnp.datetime64_dtypes(),
    ),
    hnp.array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=3),
)  # fmt: skip
TENSORS = ARRAYS.filter(lambda array: array.dtype.kind in "fiubSU")


@settings(max_examples=examples(200), deadline=None)
@given(ARRAYS, ARRAYS)
def test_it_never_raises_and_close_implies_agreed(one: Any, other: Any) -> None:
    found = compare({"y": one}, {"y": other}, RULE)
    assert found.agreed or not found.close
    same_shape = compare({"y": one}, {"y": np.resize(other, one.shape)}, RULE)
    assert same_shape.agreed or not same_shape.close


@settings(max_examples=examples(100), deadline=None)
@given(TENSORS)
def test_every_answer_is_equal_to_itself(array: Any) -> None:
    assert compare({"y": array}, {"y": array.copy()}, Compare(rtol=0, atol=0)) == BOTH
