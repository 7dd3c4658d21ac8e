"""Answers of the V1 protocol, and as TensorFlow Serving writes them."""

from __future__ import annotations

import json
import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.tensors.datatypes import to_datatype
from anabranch.errors import InvalidRequest
from anabranch.router.http.doors.v1.answers import encode_v1
from anabranch.router.inference.contract import (
    InferenceResponse,
    ModelMetadata,
    OutputTensor,
    TensorMetadata,
)
from tests.router.http.doors.v1 import json_tensor

elements = {"INT32": st.integers(-9, 9), "BYTES": st.text(max_size=3)}


@st.composite
def batches(draw: st.DrawFn) -> dict[str, tuple[str, json_tensor.Tensor]]:
    """Outputs by name, mostly with equally many rows: datatype and tensor."""
    found = {}
    rows = draw(st.integers(0, 3))
    for name in draw(st.lists(st.sampled_from(["a", "b", "c_bytes"]), min_size=1, unique=True)):
        datatype = "BYTES" if name.endswith("_bytes") else draw(st.sampled_from([*elements]))
        sizes = [rows, *draw(st.lists(st.integers(0, 2), max_size=2))]
        shape = draw(st.sampled_from([sizes, sizes, sizes, sizes[1:]]))
        size = math.prod(shape)
        flat = draw(st.lists(elements[datatype], min_size=size, max_size=size))
        found[name] = datatype, (shape, flat)
    return found


@given(batches(), st.booleans())
def test_answers_are_those_of_tensorflow_serving(batch: Any, by_row: bool) -> None:
    outputs = []
    for name, (datatype, (shape, flat)) in batch.items():
        array = np.empty(len(flat), object if datatype == "BYTES" else np.int32)
        array[:] = flat
        outputs.append(OutputTensor(name, datatype, array.reshape(shape)))
    response = InferenceResponse("demo", "3", None, outputs)
    metadata = metadata_of(response)
    tensors = {name: tensor for name, (_, tensor) in batch.items()}
    try:
        expected = json_tensor.response(tensors, by_row)
    except json_tensor.InvalidArgument:
        with pytest.raises(InvalidRequest, match="cannot be told row by row"):
            encode_v1(response, metadata, by_row)
        return
    assert json.loads(encode_v1(response, metadata, by_row).body) == expected


def metadata_of(response: InferenceResponse) -> ModelMetadata:
    outputs = tuple(
        TensorMetadata(one.name, one.datatype, one.array.shape) for one in response.outputs
    )
    return ModelMetadata("demo", ("3",), "anabranch", (), outputs)


def test_an_output_that_is_there_alone_keeps_its_name_where_the_graph_has_another() -> None:
    both = [OutputTensor(name, "INT32", np.array([1], np.int32)) for name in ("a", "b")]
    metadata = metadata_of(InferenceResponse("demo", "3", None, both))
    response = InferenceResponse("demo", "3", None, both[:1])
    for by_row, expected in ((True, {"predictions": [{"a": 1}]}), (False, {"outputs": {"a": [1]}})):
        assert json.loads(encode_v1(response, metadata, by_row).body) == expected


def answer(array: Any, name: str = "y") -> Any:
    output = OutputTensor(name, to_datatype(array.dtype), array)
    response = InferenceResponse("demo", "3", None, [output])
    return json.loads(encode_v1(response, metadata_of(response), True).body)["predictions"]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[1.5], [np.nan]], np.float32), [[1.5], [None]]),
        (np.array([1.5, -np.inf], ml_dtypes.bfloat16), [1.5, None]),
        (np.array([0.5], np.float16), [0.5]),
        (np.array([[1, 2], [3, 4]], ">i4").T, [[1, 3], [2, 4]]),
        (np.array([b"a", b"\xff", "c"], object), ["a", {"b64": "/w=="}, "c"]),
        (np.array([True]), [True]),
    ],
)
def test_values(array: Any, expected: Any) -> None:
    assert answer(array) == expected


def test_decisions_are_left_out_and_other_parameters_told() -> None:
    output = OutputTensor("y", "INT32", np.array([1], np.int32))
    response = InferenceResponse("demo", "3", "id", [output], parameters={"routing": "{}"})
    assert json.loads(encode_v1(response, metadata_of(response), True).body) == {"predictions": [1]}
    response.parameters["explained"] = False
    assert json.loads(encode_v1(response, metadata_of(response), False).body) == {
        "outputs": [1], "parameters": {"explained": False},
    }  # fmt: skip
