from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.errors import InvalidRequest, RequestError, TooLarge
from anabranch.router.errors import UnencodableOutput
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.envelope import Header
from anabranch.router.oip.raw_tensors import decode_raw, encode_raw
from tests.router.tensors import arrays, same_bits

LIMITS = RequestLimits()


def decode(datatype: str, shape: list[int], data: Any, limits: RequestLimits = LIMITS) -> Any:
    return decode_raw(Header("x", datatype, shape), data, limits)


@given(arrays(), st.sampled_from([bytes, bytearray, memoryview]), st.integers(0, 8))
def test_any_tensor_survives_bit_for_bit(array: tuple[str, Any], kind: Any, offset: int) -> None:
    datatype, value = array
    raw = b"\1" * offset + encode_raw(value, datatype)
    found = decode(datatype, list(value.shape), kind(raw)[offset:])
    assert same_bits(found, value)
    assert found.flags.writeable
    assert found.flags.aligned


@given(arrays())
def test_layout_in_memory_does_not_matter(array: tuple[str, Any]) -> None:
    datatype, value = array
    strided = value.T
    assert encode_raw(strided, datatype) == encode_raw(np.array(strided, order="C"), datatype)


@pytest.mark.parametrize(
    ("datatype", "values", "raw"),
    [
        ("BOOL", [True, False], b"\1\0"),
        ("UINT16", [258, 3], b"\2\1\3\0"),
        ("INT64", [-2], b"\xfe" + b"\xff" * 7),
        ("FP16", [1.0], b"\x00\x3c"),
        ("BF16", [1.0, -2.0], b"\x80\x3f\x00\xc0"),
        ("FP32", [1.0], b"\x00\x00\x80\x3f"),
        ("BYTES", ["é", b"", b"\xff"], b"\2\0\0\0\xc3\xa9\0\0\0\0\1\0\0\0\xff"),
    ],
)
def test_the_bytes_are_those_of_the_extension(datatype: str, values: Any, raw: bytes) -> None:
    from anabranch.components.tensors.datatypes import to_dtype

    array = np.array(values, to_dtype(datatype))
    assert encode_raw(array, datatype) == raw
    assert same_bits(decode(datatype, [len(values)], raw), array)


def test_rare_dtypes_are_encoded() -> None:
    assert encode_raw(np.array([1, 2], ">i2"), "INT16") == b"\1\0\2\0"
    assert encode_raw(np.array(["a"]), "BYTES") == b"\1\0\0\0a"


def test_memory_that_can_be_written_to_is_shared() -> None:
    data = bytearray(struct.pack("<2f", 1, 2))
    decode("FP32", [2], data)[0] = 5
    assert struct.unpack("<2f", data) == (5, 2)
    frozen = bytes(data)
    decode("FP32", [2], frozen)[0] = 9
    assert struct.unpack("<2f", frozen) == (5, 2)


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "reason"),
    [
        ("FP32", [2], b"\0" * 7, "'x' of FP32[2] takes 8 raw bytes, there are 7"),
        ("FP32", [2], b"\0" * 9, "takes 8 raw bytes, there are 9"),
        ("FP32", [0], b"\0", "takes 0 raw bytes, there are 1"),
        ("FP32", [], b"", "takes 4 raw bytes, there are 0"),
        ("BF16", [2], b"\0" * 8, "takes 4 raw bytes, there are 8"),
        ("BOOL", [3], b"\0\1\2", "'x' is BOOL: byte 2 is 2, neither 0 nor 1"),
        ("BYTES", [2], b"\0" * 7, "'x' of BYTES[2] takes at least 8 raw bytes, there are 7"),
        ("BYTES", [1], b"\2\0\0\0a", "'x' is BYTES: its raw bytes end within element 0"),
        ("BYTES", [2], b"\1\0\0\0abcd", "end within element 1"),
        ("BYTES", [2], b"\xff\xff\xff\xff" * 2, "end within element 1"),
        ("BYTES", [1], b"\1\0\0\0ab", "1 raw bytes are left after its 1 elements"),
        ("BYTES", [0], b"a", "1 raw bytes are left after its 0 elements"),
        ("fp32", [1], b"\0" * 4, "did you mean 'FP32'?"),
    ],
)
def test_wrong_bytes_are_named(datatype: str, shape: list[int], data: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(datatype, shape, data)
    assert reason in str(caught.value)


@pytest.mark.parametrize("datatype", ["FP64", "BYTES"])
@pytest.mark.parametrize("shape", [[2**40, 2**40], [0, 2**40], [1] * 17])
def test_limits_come_before_memory(datatype: str, shape: list[int]) -> None:
    with pytest.raises(TooLarge, match="over the limit"):
        decode(datatype, shape, b"")


@given(st.integers(0, 5), st.binary(max_size=40))
def test_any_bytes_as_bytes_give_only_request_errors(size: int, data: bytes) -> None:
    try:
        found = decode("BYTES", [size], data)
    except RequestError:
        return
    assert encode_raw(found, "BYTES") == data


@pytest.mark.parametrize(
    ("item", "reason"), [(3, "of type int, neither text nor bytes"), ("\ud800", "not text")]
)
def test_elements_that_are_no_bytes_are_refused(item: object, reason: str) -> None:
    with pytest.raises(UnencodableOutput, match=f"element 1 is .*{reason}"):
        encode_raw(np.array(["fine", item], object), "BYTES")
