"""Logged tensors come back with every bit, and what is hidden is not there."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import orjson
import pytest
from hypothesis import given, settings

from anabranch.components.tensors.datatypes import DTYPES
from anabranch.errors import InvalidRequest
from anabranch.router.request_log.entries import KeptTensor
from anabranch.router.request_log.tensors import LoggedTensor, decode_tensor, encode_tensor
from tests.examples import examples
from tests.router.tensors import arrays, same_bits


def logged(datatype: str, array: Any) -> dict[str, Any]:
    """A tensor as its line has it."""
    tensor = encode_tensor(KeptTensor("x", datatype, array.shape, array))
    text = orjson.dumps(tensor, option=orjson.OPT_SERIALIZE_NUMPY)
    found: dict[str, Any] = orjson.loads(text)
    return found


def again(tensor: dict[str, Any]) -> Any:
    return decode_tensor(msgspec.json.decode(orjson.dumps(tensor), type=LoggedTensor))


@settings(max_examples=examples(300))
@given(arrays())
def test_every_bit_comes_back(drawn: tuple[str, Any]) -> None:
    datatype, array = drawn
    found = again(logged(datatype, array))
    assert same_bits(found, array)
    assert found.dtype != object or len(set(map(type, found.ravel().tolist()))) <= 1


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_every_number_of_16_bits(datatype: str) -> None:
    every = np.arange(2**16, dtype=np.uint16).view(DTYPES[datatype])
    with np.errstate(invalid="ignore"):
        finite = every[np.isfinite(every)]
    tensor = logged(datatype, finite)
    assert "encoding" not in tensor
    assert same_bits(again(tensor), finite)
    assert same_bits(again(logged(datatype, every)), every)


def test_the_number_whose_shortest_text_means_its_neighbour() -> None:
    for sign in (1, -1):
        array = np.array([sign * 7.038531e-26], np.float32)
        assert same_bits(again(logged("FP32", array)), array)


def test_foreign_byte_order_and_strides() -> None:
    array = np.arange(12, dtype=">f8").reshape(3, 4)[:, ::2]
    found = again(logged("FP64", array))
    assert np.array_equal(found, array)
    assert found.dtype == np.float64


def test_what_can_be_read_is_plain() -> None:
    assert logged("FP32", np.array([[0.1, 2]], np.float32)) == {
        "name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.1, 2.0],
    }  # fmt: skip
    assert logged("BYTES", np.array(["é"], object))["data"] == ["é"]
    assert logged("BYTES", np.array(["é".encode()], object)) == logged(
        "BYTES", np.array(["é"], object)
    )
    no_text = logged("BYTES", np.array([b"\xff"], object))
    assert (no_text["data"], no_text["encoding"]) == ("AQAAAP8=", "base64")


@pytest.mark.parametrize("hidden", ["redacted", "omitted"])
def test_a_hidden_tensor_says_why(hidden: Any) -> None:
    tensor = encode_tensor(KeptTensor("x", "FP32", (2, 3), None, hidden))
    assert tensor == {"name": "x", "datatype": "FP32", "shape": (2, 3), hidden: True}
    with pytest.raises(InvalidRequest, match="tensor 'x' has no data"):
        again(tensor)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        ({"datatype": "FP32", "shape": [2], "data": [1.0]}, "needs 2 elements"),
        ({"datatype": "FP31", "shape": [1], "data": [1.0]}, "unknown datatype 'FP31'"),
        ({"datatype": "INT8", "shape": [1], "data": [300]}, "INT8"),
        ({"datatype": "INT8", "shape": [-1], "data": [1]}, "size below 0"),
        ({"datatype": "FP32", "shape": [1], "data": "!", "encoding": "base64"}, "not base64"),
        ({"datatype": "FP32", "shape": [1], "data": "AAA=", "encoding": "base64"}, "raw bytes"),
        ({"datatype": "FP32", "shape": [1], "data": [1], "encoding": "base64"}, "not base64"),
    ],
)
def test_what_cannot_be_read_is_refused(tensor: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        again({"name": "x", **tensor})
