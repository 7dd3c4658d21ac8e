from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from anabranch.components.tensors.datatypes import DTYPES, kind_of, matches, to_datatype, to_dtype
from anabranch.specs.models import Datatype, TensorSpec


def test_every_datatype_has_a_dtype_and_back():
    assert set(DTYPES) == set(get_args(Datatype))
    for datatype, dtype in DTYPES.items():
        assert to_dtype(datatype) == dtype
        assert to_datatype(dtype) == datatype


@pytest.mark.parametrize("text", ["<U3", "S5"])
def test_fixed_width_strings_are_bytes(text):
    assert to_datatype(np.dtype(text)) == "BYTES"


def test_foreign_byte_order_has_the_datatype_of_the_native_one():
    assert to_datatype(np.dtype(">f4")) == "FP32"


@pytest.mark.parametrize("dtype", ["complex64", "datetime64[s]", "V4"])
def test_other_dtypes_are_refused_by_name(dtype):
    with pytest.raises(ValueError, match=r"is no datatype of the protocol.*FP32"):
        to_datatype(np.dtype(dtype))


def test_the_kind_of_bf16_is_float_and_others_keep_theirs():
    kinds = {datatype: kind_of(dtype) for datatype, dtype in DTYPES.items()}
    assert kinds.pop("BF16") == "f"
    assert kinds == {name: dtype.kind for name, dtype in DTYPES.items() if name != "BF16"}


def test_unknown_datatype_suggests():
    with pytest.raises(ValueError, match="did you mean 'FP32'"):
        to_dtype("FP31")


@pytest.mark.parametrize(
    ("datatype", "shape", "array", "wrong"),
    [
        ("FP32", (-1, 4), np.zeros((2, 4), np.float32), None),
        ("FP32", (), np.zeros((), np.float32), None),
        ("BYTES", (-1,), np.array(["a"]), None),
        ("FP32", (-1, 4), np.zeros((0, 4), np.float32), None),
        ("FP32", (-1, 4), np.zeros((2, 4)), "datatype FP64, expected FP32"),
        ("FP32", (-1, 4), np.zeros((2, 3), np.float32), "shape [2, 3], expected [-1, 4]"),
        ("FP32", (-1,), np.zeros((2, 3), np.float32), "shape [2, 3], expected [-1]"),
    ],
)
def test_matches(datatype, shape, array, wrong):
    assert matches(TensorSpec(datatype=datatype, shape=shape), array) == wrong


def test_matches_names_a_dtype_without_datatype():
    spec = TensorSpec(datatype="FP32", shape=())
    assert "complex128" in matches(spec, np.zeros((), complex))
