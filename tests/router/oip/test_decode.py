from __future__ import annotations

import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.components.tensors.datatypes import DTYPES
from anabranch.errors import InvalidRequest, RequestError, TooLarge
from anabranch.router.errors import UnencodableOutput
from anabranch.router.inference.contract import (
    InferenceResponse,
    ModelMetadata,
    OutputTensor,
    TensorMetadata,
)
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.decode import decode_request
from anabranch.router.oip.encode import encode_metadata, encode_response
from tests.examples import examples
from tests.router.tensors import arrays, same_bits

LIMITS = RequestLimits()
NUMERIC = [name for name in DTYPES if name != "BYTES"]


def tensors() -> st.SearchStrategy[OutputTensor]:
    return arrays(for_json=True).map(lambda made: OutputTensor("t", *made))


def tensor(**fields: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "FP32", "shape": [2], "data": [1.0, 2.0]} | fields


def decode(*inputs: dict[str, Any], limits: RequestLimits = LIMITS, **fields: Any) -> Any:
    return decode_request(json.dumps({"inputs": list(inputs), **fields}).encode(), limits)


def encoded(output: OutputTensor) -> dict[str, Any]:
    document = json.loads(encode_response(InferenceResponse("m", "1", None, [output])).body)
    return document["outputs"][0]


@given(tensors())
def test_what_is_encoded_decodes_to_the_same_bits(output: OutputTensor) -> None:
    request = decode(encoded(output))
    assert same_bits(request.inputs["t"], output.array)


@given(tensors())
def test_nested_data_is_the_same_as_flat(output: OutputTensor) -> None:
    document = encoded(output)
    if output.array.ndim:
        document["data"] = output.array.tolist()
    assert same_bits(decode(document).inputs["t"], output.array)


@given(tensors())
def test_layout_in_memory_does_not_change_the_answer(output: OutputTensor) -> None:
    strided = OutputTensor("t", output.datatype, output.array.T)
    plain = OutputTensor("t", output.datatype, np.ascontiguousarray(output.array.T))
    if output.array.ndim:
        assert encoded(strided) == encoded(plain)


@pytest.mark.parametrize("code", [">f4", ">i8", "<U3", "S3"])
def test_rare_dtypes_are_encoded(code: str) -> None:
    array = np.array([1, 2], dtype=code)
    datatype = (
        "BYTES" if array.dtype.kind in "US" else {"f": "FP32", "i": "INT64"}[array.dtype.kind]
    )
    assert [float(item) for item in encoded(OutputTensor("t", datatype, array))["data"]] == [1, 2]


def test_numbers_that_are_not_finite_become_null() -> None:
    array = np.array([np.nan, np.inf, -np.inf, 1.0])
    assert encoded(OutputTensor("t", "FP64", array))["data"] == [None, None, None, 1.0]


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (b"\xff", "not text in UTF-8; JSON cannot carry it, binary data can"),
        (3, "int, neither text nor bytes; JSON cannot carry it$"),
        ("\ud800", "not text in UTF-8; JSON cannot carry it$"),
    ],
)
def test_bytes_that_json_cannot_carry_are_refused(item: object, reason: str) -> None:
    array = np.array(["fine", item], dtype=object)
    with pytest.raises(UnencodableOutput, match=f"output 't': element 1 .*{reason}"):
        encoded(OutputTensor("t", "BYTES", array))


def test_the_envelope_is_read_whole() -> None:
    request = decode(
        tensor(parameters={"a": 1}),
        id="42",
        parameters={"s": "x", "i": 1, "f": 1.5, "b": True},
        outputs=[{"name": "b"}, {"name": "a", "parameters": {"other": "x"}}, {"name": "b"}],
        extension={"unknown": [1]},
    )
    assert request.id == "42"
    assert request.parameters == {"s": "x", "i": 1, "f": 1.5, "b": True}
    assert request.outputs == ("b", "a")


def test_null_and_an_empty_list_of_outputs_stand_for_left_out() -> None:
    request = decode(tensor(parameters=None), id=None, parameters=None, outputs=[])
    assert (request.id, request.parameters, request.outputs) == (None, {}, ())


INTEGERS = NUMERIC[1:9]
FLOATS = [(name, DTYPES[name]) for name in NUMERIC[9:]]
EDGES = [
    *[(name, np.iinfo(DTYPES[name]).min, np.iinfo(DTYPES[name]).max) for name in INTEGERS],
    *[(name, -ml_dtypes.finfo(dtype).max, ml_dtypes.finfo(dtype).max) for name, dtype in FLOATS],
]


@pytest.mark.parametrize(("datatype", "low", "high"), EDGES)
def test_extremes_are_taken_exactly(datatype: str, low: Any, high: Any) -> None:
    text = f"[{low.item() if hasattr(low, 'item') else low}, {high}]"
    body = f'{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":[2],"data":{text}}}]}}'
    array = decode_request(body.encode(), LIMITS).inputs["x"]
    assert array.tolist() == [low, high]


@pytest.mark.parametrize("datatype", INTEGERS)
def test_integers_may_be_written_as_floats(datatype: str) -> None:
    bounds = np.iinfo(DTYPES[datatype])
    low, high = max(int(bounds.min), -(2**53)), min(int(bounds.max), 2**53)
    text = f"[[{low}.0,{high}.0],[1e0,{bounds.max}]]"
    body = f'{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":[2,2],"data":{text}}}]}}'
    array = decode_request(body.encode(), LIMITS).inputs["x"]
    assert array.dtype == DTYPES[datatype]
    assert array.tolist() == [[low, high], [1, int(bounds.max)]]


@pytest.mark.parametrize("datatype", INTEGERS)
@pytest.mark.parametrize("side", ["min", "max"])
def test_integers_out_of_range_are_refused(datatype: str, side: str) -> None:
    beyond = int(getattr(np.iinfo(DTYPES[datatype]), side)) + {"min": -1, "max": 1}[side]
    with pytest.raises(InvalidRequest, match=datatype):
        decode(tensor(datatype=datatype, data=[1, beyond]))


@pytest.mark.parametrize(
    ("datatype", "element", "reason"),
    [
        ("FP32", "true", "Expected `float`, got `bool` at data[1], which is True"),
        ("FP32", '"1.5"', "got `str`"),
        ("FP32", "null", "got `null`"),
        ("FP32", "NaN", "the body is not JSON: invalid character"),
        ("FP32", "3.5e38", "at data[1], which is 3.5e+38"),
        ("FP16", "65520", "Expected `float` < 65520.0"),
        ("FP64", "1e999", "out of range"),
        ("INT32", "1.0, true", "Expected `int | float`, got `bool` at data[2]"),
        ("INT32", "1.0, 1.5", "Expected `int`, got `float` at data[2], which is 1.5"),
        ("UINT8", "-1.0", "Expected `int` of 0 to 255 where it is written as a float at data[1]"),
        ("INT32", "2147483648.0", "at data[1], which is 2147483648.0"),
        ("INT64", "9007199254740994.0", "Expected `int` of -9007199254740992 to 900719925474"),
        ("INT8", "1.0, 128", "Expected `int` <= 127 at data[2], which is 128"),
        ("INT32", "1.5", "Expected `int`, got `float` at data[1], which is 1.5"),
        ("INT32", "true", "got `bool`"),
        ("UINT8", "256", "Expected `int` <= 255 at data[1], which is 256"),
        ("INT64", "9" * 6000, "out of range"),
        ("BOOL", "1", "Expected `bool`, got `int`"),
        ("BYTES", "1", "Expected `str`, got `int`"),
        ("INT32", "[1]", "got `array`"),
        ("INT32", "01", "the body is not JSON: invalid number"),
        ("INT32", "", "the body is not JSON: trailing comma"),
    ],
)
def test_elements_are_strict_about_their_type(datatype: str, element: str, reason: str) -> None:
    first = {"BOOL": "true", "BYTES": '"a"'}.get(datatype, "1")
    data = f'"shape":[{2 + element.count(",")}],"data":[{first},{element}]'
    body = f'{{"inputs":[{{"name":"x","datatype":"{datatype}",{data}}}]}}'
    with pytest.raises(InvalidRequest) as caught:
        decode_request(body.encode(), LIMITS)
    assert reason in str(caught.value)
    assert "'x'" in str(caught.value) or "the body is not JSON" in reason


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"data": [1.0]}, "of shape [2] needs 2 elements, its data holds 1"),
        ({"data": []}, "needs 2 elements, its data holds 0"),
        ({"shape": [], "data": []}, "needs 1 elements, its data holds 0"),
        ({"shape": [0], "data": [1.0]}, "needs 0 elements, its data holds 1"),
        ({"shape": [2, 2], "data": [[1, 2, 3, 4]]}, "is not nested as its shape [2, 2] says"),
        ({"shape": [2, 2], "data": [[1, 2, 3], [4]]}, "is not nested as its shape [2, 2] says"),
        ({"shape": [2, 2, 1], "data": [[1, 2], [3, 4]]}, "is not nested as"),
        ({"shape": [2, 1], "datatype": "BYTES", "data": ["a"]}, "its data holds 1"),
        ({"shape": [2, 0], "data": [[], [], []]}, "is not nested as its shape [2, 0] says"),
        ({"shape": [2, 0], "data": [[1], []]}, "needs 0 elements, its data holds 2"),
        ({"shape": [2, 1], "data": [[], [1]]}, "is not nested as"),
        ({"shape": [2, 1], "data": [["["], ["]"]]}, "is not nested as"),
        ({"shape": [2, 1], "data": [[1], {"a": 1}]}, "is not nested as"),
        ({"shape": [2, 1], "data": [[1], [{"a": 1}]]}, "got `object` at data[1][0]"),
        ({"shape": [2, 1], "data": [[1], [[]]]}, "is not nested as"),
        ({"shape": [2, 2], "data": [[1, 2], [3, True]]}, "got `bool` at data[1][1], which is True"),
        ({"shape": [2, 1], "datatype": "BYTES", "data": [["a"], []]}, "is not nested as"),
        ({"shape": [2, 1], "datatype": "BYTES", "data": [["a"], [1]]}, "at data[1][0], which is 1"),
        ({"shape": [1, 1], "datatype": "BYTES", "data": [["a"], []]}, "is not nested as"),
        ({"datatype": "UINT64", "data": [1, 2**64]}, "element 1, which is 18446744073709551616"),
        ({"shape": [-1]}, "Expected `int` >= 0"),
        ({"shape": [1.5]}, "Expected `int`"),
        ({"shape": "2"}, "Expected `array`"),
        ({"datatype": "fp32"}, "did you mean 'FP32'?"),
        ({"datatype": "bf16"}, "did you mean 'BF16'?"),
        ({"datatype": 3}, "Expected `str`"),
        ({"data": {"a": 1}, "shape": []}, "Expected `array`, got `object`"),
        ({"name": 1}, "`$.inputs[0].name`"),
        ({"parameters": {"a": None}}, "got `null`"),
        ({"parameters": {"a": {"b": 1}}}, "got `object`"),
        ({"parameters": {"binary_data_size": 8}}, "'x' has both data and a binary_data_size"),
        ({"parameters": {"shared_memory_region": "r"}}, "of input 'x' is not supported: send"),
    ],
)
def test_a_wrong_tensor_is_named(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(tensor(**fields))
    assert reason in str(caught.value)


def test_what_a_request_lacks_is_named() -> None:
    for name in ("name", "datatype", "shape", "data"):
        with pytest.raises(InvalidRequest, match=name):
            decode({key: value for key, value in tensor().items() if key != name})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"outputs": [{"name": "y", "parameters": {"classification": 3}}]},
         "parameter 'classification' of output 'y' is not supported: ask for the scores"),
        ({"outputs": [{"name": "y", "parameters": {"shared_memory_region": "r"}}]},
         "parameter 'shared_memory_region' of output 'y' is not supported"),
        ({"outputs": [{"name": "y", "parameters": {"binary_data": 1}}]},
         "parameter 'binary_data' of output 'y' must be true or false, got 1"),
        ({"parameters": {"binary_data_output": "yes"}},
         "parameter 'binary_data_output' of the request must be true or false, got 'yes'"),
        ({"outputs": [{"parameters": {}}]}, "name"),
        ({"outputs": ["y"]}, "Expected `object`, got `str`"),
    ],
)  # fmt: skip
def test_outputs_asked_for_in_ways_that_are_not_there(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(tensor(), **fields)
    assert reason in str(caught.value)


def test_what_a_parameter_says_by_being_off_is_nothing() -> None:
    parameters = {"classification": 0, "binary_data": False}
    request = decode(tensor(), outputs=[{"name": "y", "parameters": parameters}])
    assert request.outputs == ("y",)


@pytest.mark.parametrize("size", [2, 40_000])
def test_of_a_key_that_comes_twice_the_last_one_counts(size: int) -> None:
    first, last = tensor(), tensor(shape=[size], data=[3.0] * size)
    body = f'{{"inputs": [{json.dumps(first)}], "inputs": [{json.dumps(last)}]}}'
    assert decode_request(body.encode(), LIMITS).inputs["x"].tolist() == [3.0] * size


def test_an_input_given_twice_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="'x' is there twice"):
        decode(tensor(), tensor())


@pytest.mark.parametrize(
    ("limits", "inputs", "reason"),
    [
        (
            RequestLimits(max_tensors=1),
            [tensor(), tensor(name="y")],
            "2 inputs are over the limit of 1",
        ),
        (RequestLimits(max_rank=1), [tensor(shape=[1, 2])], "2 dimensions, over the limit of 1"),
        (RequestLimits(max_elements=1), [tensor()], "over the limit of 1 elements"),
        (LIMITS, [tensor(shape=[2**32, 2**32], data=[])], "over the limit of 16777216"),
        (LIMITS, [tensor(shape=[0, 10**30], data=[])], "over the limit of 16777216"),
    ],
)
def test_limits_are_named(limits: RequestLimits, inputs: list[dict[str, Any]], reason: str) -> None:
    with pytest.raises(TooLarge) as caught:
        decode(*inputs, limits=limits)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe",
        b'{"inputs": 1}',
        b'{"inputs": [1]}',
        b'{"inputs": [], "id": 5}',
        b'{"inputs": [], "x": ' + b"[" * 200_000,
        b'{"inputs": [], "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"inputs": [{"name":"x","datatype":"FP32","shape":[1,1],"data":' + b"[" * 200_000,
        b'{"inputs": [{"name":"\xff","datatype":"FP32","shape":[1],"data":[1]}]}',
        b'{"inputs": [{"name":"x","datatype":"BYTES","shape":[1],"data":["\xff"]}]}',
        b'{"inputs": [{"name":"x","datatype":"BYTES","shape":[1],"data":["\\ud800"]}]}',
    ],
)
def test_malformed_bodies_are_invalid_requests(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode_request(raw, LIMITS)


def only_request_errors(raw: bytes) -> None:
    try:
        decode_request(raw, LIMITS)
    except RequestError as error:
        assert str(error)


@settings(max_examples=examples(500))
@given(st.binary(max_size=200))
def test_any_bytes_give_only_request_errors(raw: bytes) -> None:
    only_request_errors(raw)


VALID = json.dumps(
    {
        "id": "1",
        "parameters": {"a": 1},
        "inputs": [
            tensor(shape=[1, 2], data=[[1.5, -2e3]]),
            tensor(name="y", datatype="BYTES", data=["a,b", "\u00e9\n"]),
            tensor(name="z", datatype="UINT64", data=[0, 2**64 - 1]),
        ],
        "outputs": [{"name": "o"}],
    }
).encode()


@settings(max_examples=examples(2000))
@given(
    st.lists(
        st.tuples(
            st.integers(0, len(VALID)),
            st.integers(0, 6),
            st.binary(max_size=4) | st.sampled_from([b"[", b"]", b"null", b"1e999", b"-", b'"']),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_mutated_requests_give_only_request_errors(edits: list[tuple[int, int, bytes]]) -> None:
    raw = VALID
    for at, cut, put in edits:
        raw = raw[:at] + put + raw[at + cut :]
    only_request_errors(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@settings(max_examples=examples(500))
@given(st.sampled_from(["name", "datatype", "shape", "data", "parameters"]), JSON)
def test_any_json_as_a_field_gives_only_request_errors(name: str, value: Any) -> None:
    only_request_errors(json.dumps({"inputs": [tensor(**{name: value})]}).encode())


def test_metadata_is_as_the_protocol_says() -> None:
    metadata = ModelMetadata("m", ("1",), "anabranch", (TensorMetadata("x", "FP32", (-1, 2)),), ())
    assert encode_metadata(metadata) == {
        "name": "m",
        "versions": ("1",),
        "platform": "anabranch",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": (-1, 2)}],
        "outputs": [],
    }
