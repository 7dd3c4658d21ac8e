"""Long lists of numbers are decoded slice by slice: with the same result, and the same errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.errors import InvalidRequest, RequestError
from anabranch.router.inference.contract import InferenceResponse, OutputTensor
from anabranch.router.limits import RequestLimits
from anabranch.router.oip import json_elements
from anabranch.router.oip.decode import decode_request
from anabranch.router.oip.encode import encode_response
from tests.router.tensors import arrays, same_bits


@pytest.fixture(autouse=True, scope="module")
def short_slices() -> Iterator[None]:
    """Slices of three bytes, and no values in messages, as with data of any length."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_elements, "SLICE", 3)
        patch.setattr(json_elements, "_SHOW_VALUES_BELOW", 0)
        yield


def tensor(array: Any, datatype: str) -> dict[str, Any]:
    response = InferenceResponse("m", "1", None, [OutputTensor("t", datatype, array)])
    found: dict[str, Any] = json.loads(encode_response(response).body)["outputs"][0]
    return found


def decode(*inputs: Any, indent: int | None = None) -> Any:
    body = json.dumps({"inputs": list(inputs)}, indent=indent).encode()
    return decode_request(body, RequestLimits()).inputs["t"]


@given(arrays(for_json=True), st.booleans(), st.sampled_from([None, 0, 2]))
def test_slices_are_put_together(made: Any, nested: bool, indent: int | None) -> None:
    datatype, array = made
    document = tensor(array, datatype)
    if nested and array.ndim:
        document["data"] = array.tolist()
    assert same_bits(decode(document, indent=indent), array)


def told(document: Any, slice_: int, patch: pytest.MonkeyPatch) -> str:
    patch.setattr(json_elements, "SLICE", slice_)
    with pytest.raises(RequestError) as raised:
        decode(document)
    return f"{type(raised.value).__name__}: {raised.value}"


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("index", [0, 1, 4, 5])
@pytest.mark.parametrize(
    ("datatype", "wrong"),
    [
        ("INT8", 300), ("INT8", 1.5), ("INT8", "a"), ("INT32", None), ("UINT64", 2**64),
        ("FP32", True), ("FP32", 1e39), ("BOOL", 1), ("FP64", {}),
    ],
)  # fmt: skip
def test_a_wrong_element_is_named_alike(
    datatype: str, wrong: Any, index: int, nested: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data: Any = [datatype == "BOOL" or 1] * 6
    data[index] = wrong
    if nested:
        data = [data[:2], data[2:4], data[4:]]
    document = {"name": "t", "datatype": datatype, "shape": [3, 2], "data": data}
    assert told(document, 3, monkeypatch) == told(document, 2**20, monkeypatch)


@pytest.mark.parametrize(
    "data",
    [
        [1, 2, 3, [4, 5, 6]], ["1,2,3", "4,5,6"], {"a": [1, 2, 3], "b": 4, "c": 5, "d": 6},
        "1,2,3,4,5,6", [[1, 2], [3, 4, 5], [6]], [1, 2], [], [[], [], []], 7, None,
    ],
)  # fmt: skip
def test_what_is_no_list_of_numbers_is_refused(data: Any) -> None:
    with pytest.raises(InvalidRequest, match="input 't'"):
        decode({"name": "t", "datatype": "INT32", "shape": [3, 2], "data": data})
