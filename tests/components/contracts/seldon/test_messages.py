from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from google.protobuf import struct_pb2
from hypothesis import given

from anabranch.components.contracts.seldon.messages import message, read
from tests.strategies import json_values


@pytest.mark.parametrize(
    "payload", ["text", b"\xff\x00", {"a": [1]}, np.array([[1.5, 2.0]]), np.array(["a", "b"])]
)
def test_a_message_is_read_back(payload: Any) -> None:
    found = read("predict_raw", message(payload, ["a"], {"tags": {"t": 1}}))
    assert np.array_equal(found.payload, payload)
    assert found.tags == {"t": 1}


def test_a_tensor_has_its_shape() -> None:
    tensor = {"shape": [2, 1], "values": [1, 2]}
    assert read("predict_raw", {"data": {"tensor": tensor}}).payload.tolist() == [[1.0], [2.0]]


def test_bytes_may_be_base64_in_bytes() -> None:
    assert read("predict_raw", {"binData": base64.b64encode(b"ab")}).payload == b"ab"


def test_a_message_of_protobuf_is_read() -> None:
    sent = struct_pb2.Struct()
    sent.update({"strData": "x", "meta": {"tags": {"a": True}}})
    found = read("predict_raw", sent)
    assert (found.payload, found.tags) == ("x", {"a": True})


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (None, "returned a NoneType; expected a message"),
        ([], "returned a list"),
        ({}, r"without data.ndarray.*\(it has: nothing\)"),
        ({"data": {"tftensor": {}}}, r"\(it has: data\)"),
        ({"data": {"tensor": {"shape": [3], "values": [1]}}}, "do not fit its shape"),
        ({"data": {"tensor": 5}}, "do not fit its shape"),
        ({"binData": "*"}, "no base64"),
        ({"binData": 5}, "no base64"),
    ],
)
def test_what_is_no_message_is_refused(returned: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        read("predict_raw", returned)


@given(json_values)
def test_anything_is_read_or_refused(value: Any) -> None:
    shapes = [value, {"data": value, "meta": value}, {"data": {"tensor": value, "names": value}}]
    shapes += [{"binData": value}, {"data": {"ndarray": value}, "meta": {"tags": value}}]
    for returned in shapes:
        try:
            read("predict_raw", returned)
        except TypeError as error:
            assert str(error).startswith("predict_raw() returned")
