"""Constants of the spec as arrays of a type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.tensors.datatypes import DTYPES, fits, to_datatype
from anabranch.graph.plan.constants import constant
from anabranch.specs.models import TensorSpec


def spec(datatype: str, *shape: int) -> TensorSpec:
    return TensorSpec(datatype=datatype, shape=shape)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "type_", "rows", "expected"),
    [
        (0.5, spec("FP32"), 3, 0.5),
        (0.5, spec("FP32", 2), 3, [0.5, 0.5]),
        (0.5, spec("FP32", -1), 3, [0.5, 0.5, 0.5]),
        (0, spec("FP64", -1, 2), 2, [[0, 0], [0, 0]]),
        (0, spec("FP64", -1, 2), 0, np.zeros((0, 2))),
        ([1, 2], spec("INT64", -1, 2), 2, [[1, 2], [1, 2]]),
        ([[1, 2]], spec("INT64", -1, 2), 2, [[1, 2]]),
        ([1, 2], spec("INT64", -1), 3, [1, 2]),
        ("no", spec("BYTES", -1), 2, ["no", "no"]),
        (True, spec("BOOL", 1), 2, [True]),
        ([], spec("FP32", -1), 2, []),
        (1.5, spec("BF16", -1), 2, [1.5, 1.5]),
    ],
)
def test_a_value_is_the_tensor_or_a_row_or_fills_either(
    value: Any, type_: TensorSpec, rows: int, expected: Any
) -> None:
    found = constant(value, type_).of_rows(rows)
    assert to_datatype(found.dtype) == type_.datatype
    assert fits(type_.shape, found.shape)
    assert found.tolist() == np.asarray(expected).tolist()
    assert not found.flags.writeable


@pytest.mark.parametrize(
    ("value", "type_", "words"),
    [
        (0.5, spec("INT64", -1), "INT64 takes whole numbers, not 0.5"),
        (True, spec("INT64", -1), "INT64 takes whole numbers, not True"),
        (1, spec("BOOL", -1), "BOOL takes true or false, not 1"),
        (True, spec("FP32", -1), "FP32 takes numbers, not True"),
        ("1", spec("FP32", -1), "FP32 takes numbers, not '1'"),
        (1, spec("BYTES", -1), "BYTES takes texts, not 1"),
        (None, spec("FP32", -1), "FP32 takes numbers, not None"),
        ({}, spec("FP32", -1), "FP32 takes numbers, not {}"),
        (300, spec("UINT8", -1), "300 is no UINT8"),
        (-1, spec("UINT8", -1), "-1 is no UINT8"),
        (1e39, spec("FP32", -1), "no tensor of FP32"),
        (10**60, spec("INT64", -1), "is no INT64"),
        ([[1, 2], [3]], spec("FP32", -1, 2), "no tensor of FP32"),
        ([["a", "b"], ["c"]], spec("BYTES", -1, 2), "no tensor of BYTES"),
        ([1, 2], spec("FP32", 3), r"shape \[2\] is not that of FP32\[3\]"),
        ([1, 2], spec("FP32", -1, 3), r"nor \[3\], one row of it"),
        (0, spec("FP32", -1, -1), r"shape \[\] is not that of FP32\[-1, -1\]"),
        (0, spec("FP32", 2, -1), r"shape \[\] is not that of FP32\[2, -1\]"),
    ],
)
def test_what_is_no_constant_of_a_type(value: Any, type_: TensorSpec, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        constant(value, type_)


values = st.recursive(
    st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.text(max_size=3)
    | st.none(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)


@given(values, st.sampled_from(sorted(DTYPES)), st.lists(st.integers(-1, 3), max_size=3))
def test_a_constant_is_of_its_type_or_refused(value: Any, datatype: str, shape: list[int]) -> None:
    type_ = spec(datatype, *shape)
    try:
        found = constant(value, type_)
    except ValueError:
        return
    for rows in (0, 1, 3):
        array = found.of_rows(rows)
        assert to_datatype(array.dtype) == datatype
        assert fits(type_.shape, array.shape)
        if datatype not in ("BYTES", "BOOL"):
            assert np.isfinite(array.astype(np.float64)).all()
