from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.contracts.seldon.payloads import reader, shaped, tensor_of
from anabranch.errors import InvalidRequest
from tests.strategies import json_values

NAMES = ("X", "data", "strData", "binData", "jsonData")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(texts)
def test_a_text_comes_back(text: str) -> None:
    tensor = tensor_of(text)
    assert (tensor.shape, tensor.item()) == ((), text)
    assert reader("strData")(tensor) == text


@given(st.binary(max_size=20))
def test_bytes_come_back(content: bytes) -> None:
    assert reader("binData")(tensor_of(content)) == content
    assert reader("X")(tensor_of(bytearray(content))) == content


@given(st.dictionaries(texts, json_values))
def test_a_document_comes_back(document: dict[str, Any]) -> None:
    try:
        tensor = tensor_of(document)
    except TypeError as error:  # numbers of more than 64 bits
        assert "no JSON document" in str(error)
        return
    expected = json.loads(tensor.item())
    assert reader("X")(tensor) == expected
    assert reader("jsonData")(tensor) == expected


@given(st.lists(st.integers(-9, 9) | st.floats(allow_nan=False) | texts | st.none(), max_size=4))
def test_no_element_of_a_list_changes(elements: list[Any]) -> None:
    tensor = tensor_of(elements)
    if tensor.ndim or not elements:
        assert tensor.tolist() == elements
    else:
        assert json.loads(tensor.item()) == [
            None if isinstance(one, float) and not np.isfinite(one) else one for one in elements
        ]


@given(st.sampled_from(NAMES), st.binary(max_size=30) | texts, st.sampled_from([(), (1,), (1, 1)]))
def test_any_element_is_read_or_refused(name: str, element: Any, shape: tuple[int, ...]) -> None:
    tensor = np.empty(shape, object)
    tensor[...] = element
    try:
        reader(name)(tensor)
    except InvalidRequest as error:
        assert repr(name) in str(error)


def test_deep_documents_are_refused() -> None:
    deep = np.array("[" * 100_000, object)
    with pytest.raises(InvalidRequest, match="no JSON document"):
        reader("jsonData")(deep)
    assert reader("X")(np.array('{"a":' * 100_000, object)) == '{"a":' * 100_000


@pytest.mark.parametrize("result", [None, object(), {"a": object()}, [object()], {1, 2}])
def test_what_is_no_payload_is_refused(result: Any) -> None:
    with pytest.raises(TypeError):
        tensor_of(result)


def test_numbers_of_numpy_are_numbers_of_a_document() -> None:
    document = {"a": np.float32(0.5), "b": np.arange(3), 7: "key"}
    assert json.loads(tensor_of(document).item()) == {"a": 0.5, "b": [0, 1, 2], "7": "key"}


def test_only_texts_get_dimensions() -> None:
    assert shaped(tensor_of("x"), 2).shape == (1, 1)
    assert shaped(tensor_of([1]), 2).shape == (1,)
    assert shaped(tensor_of("x"), None).shape == ()
