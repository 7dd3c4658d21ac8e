"""Where the key of a caller comes from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.sticky.keys import check_key_type, input_key, key_reader
from anabranch.components.tensors.types import TypeConflict
from anabranch.errors import InvalidRequest
from anabranch.specs.models import Sticky, TensorSpec


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"x-user": "ann"}, "ann"),
        ({"x-user": " ann\t"}, "ann"),
        ({"x-user": " "}, ""),
        ({"x-user": ""}, ""),
        ({"x-users": "ann"}, ""),
        ({}, ""),
    ],
)
@pytest.mark.parametrize("name", ["x-user", "X-User"])
def test_headers(headers: dict[str, str], key: str, name: str) -> None:
    assert key_reader(Sticky(header=name))(headers, {"x-user": "no"}) == key


@pytest.mark.parametrize(
    ("cookie", "key"),
    [
        ("uid=ann", "ann"),
        ("a=b; uid=ann; c=d", "ann"),
        ("a=b;uid=ann;c=d", "ann"),
        (" uid = ann ", "ann"),
        ('uid="ann"', "ann"),
        ("uid=a=b==", "a=b=="),
        ("uid=first; uid=second", "first"),
        ("xuid=no; uidx=no", ""),
        ("UID=no", ""),
        ("uid", ""),
        ("uid=", ""),
        ("=uid", ""),
        ("", ""),
        ("a:b=@; [bad]={x}; uid=ann", "ann"),
        ("Path=/; $Version=1; expires=Wed, 01 Jan; uid=ann", "ann"),
        (";;; ;=;uid=ann", "ann"),
        ('other="x; uid=inside"; uid=ann', "inside"),
        ("uid=\x00\xff", "\x00\xff"),
    ],
)
def test_cookies(cookie: str, key: str) -> None:
    assert key_reader(Sticky(cookie="uid"))({"cookie": cookie}, {"uid": "no"}) == key


def test_no_cookies_at_all() -> None:
    assert key_reader(Sticky(cookie="uid"))({"uid": "no"}, {"uid": "no"}) == ""


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("ann", "ann"),
        ("", ""),
        (7, "7"),
        (0, "0"),
        (0.5, "0.5"),
        (False, "False"),
        (None, ""),
        ([], ""),
        (["ann"], ""),
        ({"a": 1}, ""),
    ],
)
def test_parameters(value: Any, key: str) -> None:
    assert key_reader(Sticky(parameter="user"))({"user": "no"}, {"user": value}) == key
    assert key_reader(Sticky(parameter="user"))({"user": "no"}, {}) == ""


@given(st.text(), st.sampled_from(["header", "cookie", "parameter"]), st.text(max_size=5))
def test_nothing_that_a_caller_sends_can_fail(text: str, field: str, name: str) -> None:
    sticky = Sticky.model_construct(**{field: name})
    headers = {name.lower(): text, "cookie": text}
    assert isinstance(key_reader(sticky)(headers, {name: text}), str)


@pytest.mark.parametrize(
    ("tensor", "key"),
    [
        (np.array(["ann"], object), "ann"),
        (np.array([["ann"], ["ann"]], object), "ann"),
        (np.array([b"ann"], object), "ann"),
        (np.array([b"ann"]), "ann"),
        (np.array(["ann"]), "ann"),
        (np.array([b"\xff"], object), "\udcff"),
        (np.array([""], object), ""),
        (np.array([], object), ""),
        (np.array([7]), "7"),
        (np.array(-7, np.int8), "-7"),
        (np.array([2**64 - 1], np.uint64), str(2**64 - 1)),
    ],
)
def test_inputs(tensor: np.ndarray[Any, Any], key: str) -> None:
    assert input_key("user", tensor) == key


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_text_is_the_same_key_in_every_encoding(text: str) -> None:
    as_text, as_bytes = np.array([text], object), np.array([text.encode()], object)
    assert input_key("user", as_text) == input_key("user", as_bytes) == text


@given(st.binary(max_size=4), st.binary(max_size=4))
def test_other_bytes_are_another_key(one: bytes, two: bytes) -> None:
    keys = [input_key("user", np.array([value], object)) for value in (one, two)]
    assert (keys[0] == keys[1]) == (one == two)


@pytest.mark.parametrize("dtype", [object, np.int64])
def test_a_request_of_several_callers_has_no_route(dtype: Any) -> None:
    tensor = np.array([["7", "7"], ["7", "8"]], object).astype(dtype)
    with pytest.raises(InvalidRequest, match="'user' holds several sticky keys, '7' and '8'"):
        input_key("user", tensor)


@pytest.mark.parametrize("dtype", [np.float32, np.bool_])
def test_a_tensor_of_another_type_holds_no_key(dtype: Any) -> None:
    with pytest.raises(ValueError, match="a sticky key is BYTES or an integer"):
        input_key("user", np.ones(1, dtype))


def test_types_of_keys() -> None:
    for datatype in ("BYTES", "INT8", "INT64", "UINT16"):
        check_key_type("user", {"user": TensorSpec(datatype=datatype, shape=(-1,))})
    check_key_type("user", {"user": None})
    for datatype in ("FP32", "BOOL", "BF16"):
        with pytest.raises(TypeConflict, match=f"input 'user' is {datatype}"):
            check_key_type("user", {"user": TensorSpec(datatype=datatype, shape=(-1,))})
