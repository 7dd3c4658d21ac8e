from __future__ import annotations

import pytest

from anabranch.components.tensors.model_types import NUMBERS, TEXTS, ModelTensor
from anabranch.specs.models import TensorSpec


@pytest.mark.parametrize("datatype", ["BOOL", "INT64", "FP16", "BYTES"])
def test_texts_are_no_numbers(datatype):
    spec = TensorSpec(datatype=datatype, shape=(-1, 2))
    assert NUMBERS.agrees(spec) is (datatype != "BYTES")
    assert TEXTS.agrees(spec) is (datatype == "BYTES")
    assert ModelTensor().agrees(spec)


def test_a_type_in_words():
    shape = (-1, 3)
    assert [str(one) for one in (ModelTensor(), NUMBERS, TEXTS)] == [
        "any tensor", "numbers", "BYTES",
    ]  # fmt: skip
    assert str(ModelTensor(shape=shape)) == "any datatype[-1, 3]"
    assert str(ModelTensor(shape=shape, is_number=True)) == "numbers[-1, 3]"
    assert str(ModelTensor("FP32", shape)) == "FP32[-1, 3]"
