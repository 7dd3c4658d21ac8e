"""The bounds on what a request decodes to: the same whichever protocol carries it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.tensors.datatypes import to_dtype
from anabranch.errors import RequestError, TooLarge
from anabranch.router.grpc import codec
from anabranch.router.grpc.contents import FIELDS
from anabranch.router.grpc.messages import InferParameter, InferRequest
from anabranch.router.inference.contract import ModelMetadata, TensorMetadata
from anabranch.router.limits import ELEMENT, NUMBER, Arriving, RequestLimits
from anabranch.router.oip import decode
from anabranch.router.oip.generate import decode_generate
from anabranch.router.oip.parameters import MAX_NAMES
from anabranch.router.oip.raw_tensors import encode_raw

PARAMETERS = st.dictionaries(
    st.text(min_size=1, max_size=6),
    st.text(max_size=9) | st.integers(-9, 9) | st.booleans() | st.just(0.5),
    max_size=4,
)
TENSORS = st.dictionaries(
    st.text(st.sampled_from("abc"), min_size=1, max_size=3),
    st.tuples(
        st.sampled_from(["FP32", "FP64", "INT8", "BYTES"]),
        st.lists(st.integers(0, 4), min_size=1, max_size=3),
        PARAMETERS,
    ),
    min_size=1,
    max_size=4,
)
LIMITS = st.builds(
    RequestLimits,
    max_tensors=st.integers(1, 4),
    max_rank=st.integers(1, 3),
    max_elements=st.integers(0, 40),
    max_decoded=st.integers(0, 600),
    max_parameters=st.integers(0, 6),
    max_parameter_bytes=st.integers(0, 60),
)
CHOICES = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}


def filled(datatype: str, shape: list[int]) -> np.ndarray[Any, Any]:
    return np.full(shape, b"ab" if datatype == "BYTES" else 1, to_dtype(datatype))


def over_http(tensors: Mapping[str, Any], parameters: Mapping[str, Any]) -> bytes:
    """The body of a request in JSON."""
    inputs = []
    for name, (datatype, shape, own) in tensors.items():
        data = ["ab" if datatype == "BYTES" else 1] * int(np.prod(shape))
        inputs.append(
            {"name": name, "datatype": datatype, "shape": shape, "data": data, "parameters": own}
        )
    return json.dumps({"inputs": inputs, "parameters": parameters}).encode()


def over_grpc(tensors: Mapping[str, Any], parameters: Mapping[str, Any], raw: bool) -> bytes:
    """The message of the same request."""
    message = InferRequest(model_name="demo")
    fill(message, parameters)
    for name, (datatype, shape, own) in tensors.items():
        added = message.inputs.add(name=name, datatype=datatype, shape=shape)
        fill(added, own)
        array = filled(datatype, shape)
        if raw:
            message.raw_input_contents.append(encode_raw(array, datatype))
        else:
            getattr(added.contents, FIELDS[datatype]).extend(array.ravel().tolist())
    data: bytes = message.SerializeToString()
    return data


def width(datatype: str) -> int:
    return ELEMENT if datatype == "BYTES" else to_dtype(datatype).itemsize


def fill(message: Any, parameters: Mapping[str, Any]) -> None:
    for name, value in parameters.items():
        message.parameters[name].CopyFrom(InferParameter(**{CHOICES[type(value)]: value}))


def verdict(read: Callable[[], object]) -> str:
    """What becomes of a request: nothing, or the reason for which it is refused."""
    try:
        read()
    except RequestError as error:
        return f"{type(error).__name__}: {error}"
    return ""


@given(TENSORS, PARAMETERS, LIMITS)
def test_the_same_requests_are_taken_over_http_and_grpc(
    tensors: Any, parameters: Any, limits: RequestLimits
) -> None:
    verdicts = {
        verdict(lambda: decode.decode_request(over_http(tensors, parameters), limits)),
        verdict(lambda: codec.decode_request(over_grpc(tensors, parameters, True), limits)),
        verdict(lambda: codec.decode_request(over_grpc(tensors, parameters, False), limits)),
    }
    assert len(verdicts) == 1
    (found,) = verdicts
    assert not found or found.startswith("TooLarge: ")


@given(TENSORS, PARAMETERS, LIMITS)
def test_what_is_taken_is_within_the_limits(
    tensors: Any, parameters: Any, limits: RequestLimits
) -> None:
    if verdict(lambda: decode.decode_request(over_http(tensors, parameters), limits)):
        return
    sizes = {name: int(np.prod(shape)) for name, (_, shape, _) in tensors.items()}
    memory = [sizes[name] * width(datatype) for name, (datatype, _, _) in tensors.items()]
    given = [parameters, *(own for _, _, own in tensors.values())]
    told = [
        len(name.encode()) + (len(value.encode()) if isinstance(value, str) else NUMBER)
        for one in given
        for name, value in one.items()
    ]
    assert sum(sizes.values()) <= limits.max_elements
    assert sum(memory) <= limits.max_decoded
    assert len(told) <= limits.max_parameters
    assert sum(told) <= limits.max_parameter_bytes


def refused(read: Callable[[], object], reason: str) -> None:
    with pytest.raises(TooLarge, match=re.escape(reason)):
        read()


def body(**fields: Any) -> bytes:
    return json.dumps(
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}], **fields}
    ).encode()


def test_a_million_parameters_are_refused_before_they_are_decoded() -> None:
    plain = b"{%b}" % ",".join(f'"p{index}":{index}' for index in range(10**6)).encode()
    many = body(parameters={}).replace(b"{}", plain)
    reason = f"the body has more than {MAX_NAMES} names of fields and parameters"
    refused(lambda: decode.decode_request(many, RequestLimits()), reason)
    graph = ModelMetadata("demo", ("1",), "", (TensorMetadata("x", "FP32", (-1,)),), ())
    refused(lambda: decode_generate(plain, graph, RequestLimits()), reason)


@pytest.mark.parametrize("end", ['" :', '\\\\":', '"\n\t:'])
def test_names_are_counted_however_they_are_written(end: str) -> None:
    names = ",".join(f'"p{index}{end}1' for index in range(MAX_NAMES + 1))
    document = b'{"inputs":[],"parameters":{%b}}' % names.encode()
    refused(lambda: decode.decode_request(document, RequestLimits()), "names of fields")


def test_texts_with_colons_and_quotes_are_no_names() -> None:
    texts = ['{"a": 1, "b\\": 2}'] * MAX_NAMES
    tensor = {"name": "x", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    found = decode.decode_request(json.dumps({"inputs": [tensor]}).encode(), RequestLimits())
    assert found.inputs["x"].tolist() == texts


def test_lists_of_texts_count_as_parameters_of_generate() -> None:
    graph = ModelMetadata("demo", ("1",), "", (TensorMetadata("x", "FP32", (-1,)),), ())
    limits = RequestLimits(max_parameter_bytes=100)
    document = json.dumps({"x": 1, "stop": ["a" * 50, "b" * 50]}).encode()
    refused(
        lambda: decode_generate(document, graph, limits),
        "the parameters have 104 bytes of names and values, over the limit of 100 bytes",
    )


def test_the_inputs_of_generate_are_bounded_together() -> None:
    inputs = tuple(TensorMetadata(name, "FP32", (-1,)) for name in "xy")
    graph = ModelMetadata("demo", ("1",), "", inputs, ())
    document = json.dumps({"x": [1] * 6, "y": [1] * 6}).encode()
    decode_generate(document, graph, RequestLimits(max_elements=12))
    refused(
        lambda: decode_generate(document, graph, RequestLimits(max_elements=11)),
        "the inputs have 12 elements together, over the limit of 11",
    )


def test_limits_grow_with_the_body_and_never_shrink() -> None:
    usual, large = RequestLimits(), RequestLimits.for_body(256 * 2**20)
    assert RequestLimits.for_body(usual.max_body) == usual
    assert (large.max_decoded, large.max_output) == (4 * usual.max_decoded, 4 * usual.max_output)
    Arriving(RequestLimits.for_body(2**30).max_arriving).add(2**30, "an address")
    small = RequestLimits.for_body(1000)
    assert (small.max_body, small.max_decoded) == (1000, usual.max_decoded)


@pytest.mark.parametrize("shape", [[1], [2**20, 0], [2**20]])
@pytest.mark.parametrize("piece", [b'"a"', b"[]", b'["a"]'])
def test_texts_and_lists_are_counted_before_they_are_decoded(
    piece: bytes, shape: list[int]
) -> None:
    """However few the shape says there are: they would take a gigabyte."""
    limits = RequestLimits(max_decoded=ELEMENT * 2**20)
    data = b"[%b]" % b",".join([piece] * (2**20 + 1))
    tensor = b'{"name":"x","datatype":"BYTES","shape":%b,"data":%b}'
    document = b'{"inputs":[%b]}' % (tensor % (json.dumps(shape).encode(), data))
    reason = "texts and lists, over the limit of 1048576"
    refused(lambda: decode.decode_request(document, limits), reason)
    graph = ModelMetadata("demo", ("1",), "", (TensorMetadata("x", "BYTES", (-1,)),), ())
    refused(lambda: decode_generate(b'{"x":%b}' % data, graph, limits), reason)
