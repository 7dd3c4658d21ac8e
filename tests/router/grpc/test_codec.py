from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.tensors.datatypes import DTYPES
from anabranch.errors import InvalidRequest, TooLarge
from anabranch.router.errors import UnencodableOutput
from anabranch.router.grpc import wire
from anabranch.router.grpc.codec import DecodedMessage, decode_request, encode_response
from anabranch.router.grpc.contents import FIELDS, decode_contents
from anabranch.router.grpc.messages import InferRequest, InferResponse
from anabranch.router.inference.contract import InferenceResponse, OutputTensor
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.envelope import Header
from anabranch.router.oip.raw_tensors import decode_raw, encode_raw
from tests.router.tensors import arrays, same_bits

LIMITS = RequestLimits()
TYPED = tuple(FIELDS)


def elements(datatype: str, array: Any) -> Any:
    if datatype == "BYTES":
        return [e.encode() if isinstance(e, str) else e for e in array.ravel().tolist()]
    return array.ravel().tolist()


def decode(message: Any, limits: RequestLimits = LIMITS) -> DecodedMessage:
    return decode_request(message.SerializeToString(), limits)


def typed(datatype: str, values: Any, shape: Any = None, field: str | None = None) -> Any:
    message = InferRequest(model_name="demo")
    tensor = message.inputs.add(name="x", datatype=datatype)
    tensor.shape.extend([len(values)] if shape is None else shape)
    getattr(tensor.contents, field or FIELDS[datatype]).extend(values)
    return message


def raw(datatype: str, data: bytes, shape: Any) -> Any:
    message = InferRequest(model_name="demo", raw_input_contents=[data])
    message.inputs.add(name="x", datatype=datatype, shape=shape)
    return message


def refusal(message: Any, error: type[Exception] = InvalidRequest, **limits: Any) -> str:
    with pytest.raises(error) as raised:
        decode(message, RequestLimits(**limits))
    return str(raised.value)


@given(st.lists(arrays(), max_size=4))
def test_any_raw_tensor_survives_bit_for_bit(tensors: list[tuple[str, Any]]) -> None:
    message = InferRequest(model_name="demo", model_version="3", id="a")
    for index, (datatype, array) in enumerate(tensors):
        message.inputs.add(name=str(index), datatype=datatype, shape=array.shape)
        message.raw_input_contents.append(encode_raw(array, datatype))
    found = decode(message)
    assert (found.model, found.version, found.request.id) == ("demo", "3", "a")
    assert found.request.protocol == "grpc"
    assert not found.is_typed
    assert len(found.request.inputs) == len(tensors)
    for index, (_, array) in enumerate(tensors):
        assert same_bits(found.request.inputs[str(index)], array)


@given(arrays(TYPED))
def test_any_typed_tensor_survives_bit_for_bit(tensor: tuple[str, Any]) -> None:
    datatype, array = tensor
    message = InferRequest(model_name="demo")
    added = message.inputs.add(name="x", datatype=datatype, shape=array.shape)
    if datatype in ("FP32", "FP64"):
        # As another client would write them; Python's own floats lose the bits of some NaNs.
        field = 6 if datatype == "FP32" else 7
        data = array.tobytes()
        added.contents.MergeFromString(wire.head(field, len(data)) + data)
    else:
        getattr(added.contents, FIELDS[datatype]).extend(elements(datatype, array))
    found = decode(message)
    assert found.is_typed
    assert same_bits(found.request.inputs["x"], array)
    assert found.request.inputs["x"].flags.writeable


@given(st.lists(arrays(), max_size=4), st.booleans())
def test_any_output_survives_bit_for_bit(tensors: list[tuple[str, Any]], is_typed: bool) -> None:
    outputs = [OutputTensor(str(i), d, array) for i, (d, array) in enumerate(tensors)]
    response = InferenceResponse("demo", "3", "a", outputs)
    message = InferResponse.FromString(b"".join(encode_response(response, is_typed)))
    assert (message.model_name, message.model_version, message.id) == ("demo", "3", "a")
    goes_typed = is_typed and all(datatype in TYPED for datatype, _ in tensors)
    assert len(message.raw_output_contents) == (0 if goes_typed else len(tensors))
    for index, (datatype, array) in enumerate(tensors):
        output = message.outputs[index]
        header = (output.name, output.datatype, list(output.shape))
        assert header == (str(index), datatype, list(array.shape))
        found = read(output, message.raw_output_contents[index:], goes_typed)
        assert same_bits(found, array)


def read(output: Any, raw: Any, is_typed: bool) -> Any:
    header = Header(output.name, output.datatype, list(output.shape))
    if is_typed:
        return decode_contents(header, output.contents, LIMITS)
    assert not output.HasField("contents")
    return decode_raw(header, raw[0], LIMITS)


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        ("INT8", [-128, 127]),
        ("INT16", [-(2**15), 2**15 - 1]),
        ("INT32", [-(2**31), 2**31 - 1]),
        ("INT64", [-(2**63), 2**63 - 1]),
        ("UINT8", [0, 255]),
        ("UINT16", [0, 2**16 - 1]),
        ("UINT32", [0, 2**32 - 1]),
        ("UINT64", [0, 2**64 - 1]),
        ("BYTES", [b"\0", b"\xff"]),
    ],
)
def test_the_ends_of_each_range(datatype: str, values: list[Any]) -> None:
    found = decode(typed(datatype, values)).request.inputs["x"]
    assert found.tolist() == values
    assert found.dtype == DTYPES[datatype]


@pytest.mark.parametrize(
    ("datatype", "value", "bounds"),
    [
        ("INT8", 128, "from -128 to 127"),
        ("INT8", -129, "from -128 to 127"),
        ("INT16", 2**15, "from -32768 to 32767"),
        ("UINT8", 256, "from 0 to 255"),
        ("UINT16", 2**16, "from 0 to 65535"),
    ],
)
def test_a_value_out_of_range_is_named(datatype: str, value: int, bounds: str) -> None:
    text = refusal(typed(datatype, [0, value]))
    assert text == f"input 'x' is {datatype}: element 1, which is {value}, is not {bounds}"


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_halves_have_no_typed_contents(datatype: str) -> None:
    text = refusal(typed(datatype, [1.0], field="fp32_contents"))
    assert "has no typed contents; send raw_input_contents" in text


def test_elements_belong_in_one_field() -> None:
    message = typed("FP32", [1.0])
    message.inputs[0].contents.int_contents.append(1)
    assert "belong in fp32_contents, not in int_contents" in refusal(message)
    message = typed("FP32", [1.0], field="fp64_contents")
    assert "not in fp64_contents" in refusal(message)


@pytest.mark.parametrize("shape", [[], [2], [0], [1, 0], [3]])
def test_elements_are_as_many_as_the_shape_says(shape: list[int]) -> None:
    values = [1.0, 2.0] if shape != [2] else [1.0]
    assert f"hold {len(values)}" in refusal(typed("FP32", values, shape))


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_fields_that_the_protocol_does_not_know_are_no_elements(datatype: str) -> None:
    message = typed(datatype, [1.0, 2.0])
    message.inputs[0].contents.MergeFromString(wire.head(9, 8) + b"12345678")
    assert decode(message).request.inputs["x"].tolist() == [1, 2]


def test_no_contents_are_none() -> None:
    message = InferRequest(model_name="demo")
    message.inputs.add(name="x", datatype="FP32", shape=[2])
    assert "needs 2 elements, its fp32_contents hold 0" in refusal(message)
    message.inputs[0].shape[0] = 0
    assert decode(message).request.inputs["x"].shape == (0,)


def test_raw_contents_are_for_all_inputs_or_for_none() -> None:
    message = raw("FP32", b"\0" * 4, [1])
    message.inputs.add(name="y", datatype="FP32", shape=[1])
    assert "hold 1 tensors for 2 inputs" in refusal(message)
    message.raw_input_contents.append(b"\0" * 4)
    assert set(decode(message).request.inputs) == {"x", "y"}
    message.inputs[1].contents.fp32_contents.append(1)
    assert "input 'y' has contents, and raw_input_contents are there" in refusal(message)
    assert "hold 1 tensors for 0 inputs" in refusal(InferRequest(raw_input_contents=[b""]))


def test_raw_contents_must_be_as_long_as_the_shape_says() -> None:
    assert "takes 8 raw bytes, there are 4" in refusal(raw("FP32", b"\0" * 4, [2]))


@pytest.mark.parametrize("shape", [[-1], [2, -1], [-(2**63), 2]])
def test_a_size_below_zero_is_refused(shape: list[int]) -> None:
    assert "has a size below 0" in refusal(raw("FP32", b"", shape))


@pytest.mark.parametrize("shape", [[2**62, 2**62], [2**32, 0], [2**63 - 1]])
def test_shapes_that_overflow_are_refused(shape: list[int]) -> None:
    refusal(raw("FP32", b"", shape), TooLarge)


def test_limits_act_before_memory_is_taken() -> None:
    message = InferRequest()
    for index in range(3):
        message.inputs.add(name=str(index))
        message.outputs.add(name=str(index))
    assert "3 inputs are over the limit of 2" in refusal(message, TooLarge, max_tensors=2)
    del message.inputs[:]
    assert "3 outputs are over the limit of 2" in refusal(message, TooLarge, max_tensors=2)
    many = raw("FP32", b"", [1] * 300)
    assert "dimensions, over the limit of 16" in refusal(many, TooLarge)
    assert "16777217" in refusal(raw("INT8", b"", [2**24 + 1]), TooLarge)


@pytest.mark.parametrize("field", [b"\x22\x00", b"\x18\x01"])
@pytest.mark.parametrize("tensor", [5, 6])
def test_fields_of_tensors_are_counted_before_they_take_memory(field: bytes, tensor: int) -> None:
    many = field * 2**20
    with pytest.raises(TooLarge, match="more than 4096 fields"):
        decode_request(wire.head(tensor, len(many)) + many, LIMITS)
    some = wire.head(tensor, 2 * 100) + field * 100
    with pytest.raises(TooLarge, match="more than 4096 fields"):
        decode_request(some * 50, LIMITS)


def test_an_input_twice_is_refused() -> None:
    message = typed("FP32", [1.0])
    message.inputs.append(message.inputs[0])
    assert "input 'x' is there twice" in refusal(message)


def test_long_names_are_refused_without_being_told() -> None:
    message = typed("FP32", [1.0])
    message.inputs[0].name = "n" * 257
    assert len(refusal(message)) < 200
    assert "id has 1025 characters" in refusal(InferRequest(id="i" * 1025))
    assert "model_version has 65" in refusal(InferRequest(model_version="1" * 65))


def test_an_unknown_datatype_is_named() -> None:
    assert "FP32" in refusal(typed("fp32", [1.0], field="fp32_contents"))


def test_parameters_are_plain_values() -> None:
    message = typed("FP32", [1.0])
    message.parameters["flag"].bool_param = False
    message.parameters["count"].int64_param = -5
    message.parameters["large"].uint64_param = 2**64 - 1
    message.parameters["ratio"].double_param = 0.5
    message.parameters["text"].string_param = "é"
    found = decode(message).request.parameters
    assert found == {"flag": False, "count": -5, "large": 2**64 - 1, "ratio": 0.5, "text": "é"}
    message.parameters["empty"].Clear()
    assert "parameter 'empty' of the request has no value" in refusal(message)


def test_what_is_not_supported_is_said() -> None:
    message = typed("FP32", [1.0])
    message.inputs[0].parameters["shared_memory_region"].string_param = "r"
    assert "input 'x': shared memory is not supported" in refusal(message)
    for name in ("shared_memory_region", "classification"):
        message = typed("FP32", [1.0])
        message.outputs.add(name="y").parameters[name].string_param = "1"
        assert f"output 'y': {name} is not supported" in refusal(message)


def test_outputs_that_are_asked_for_come_once() -> None:
    message = typed("FP32", [1.0])
    for name in ("b", "a", "b"):
        message.outputs.add(name=name)
    assert decode(message).request.outputs == ("b", "a")
    assert decode(typed("FP32", [1.0])).request.id is None


@pytest.mark.parametrize("is_typed", [True, False])
def test_an_element_that_is_no_bytes_cannot_be_told(is_typed: bool) -> None:
    output = OutputTensor("y", "BYTES", np.array([object()], object))
    response = InferenceResponse("demo", "3", None, [output])
    with pytest.raises(UnencodableOutput):
        encode_response(response, is_typed)
