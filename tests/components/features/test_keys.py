"""Entity keys of requests."""

from __future__ import annotations

import numpy as np
import pytest

from anabranch.components.features.keys import check_keys, keys_of, shown_key
from anabranch.components.tensors.types import TypeConflict
from anabranch.errors import InvalidRequest
from anabranch.specs.models import TensorSpec


def spec(datatype: str, *shape: int) -> TensorSpec:
    return TensorSpec.model_validate({"datatype": datatype, "shape": shape})


def test_each_row_has_the_key_of_all_inputs() -> None:
    users, shops = np.array([1, 2]), np.array([["a"], [b"b"]], object)
    assert keys_of({"user": users, "shop": shops}) == [(1, "a"), (2, "b")]
    assert keys_of({"user": np.empty(0, np.int64)}) == []


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"a": np.array([1, 2]), "b": np.array([1])}, "different numbers of rows: a 2, b 1"),
        ({"a": np.array([[1, 2]])}, r"'a' must be \[rows\] or \[rows, 1\], got \[1, 2\]"),
        ({"a": np.array(1)}, r"got \[\]"),
        ({"a": np.array([1.5])}, "'a' must be BYTES or whole numbers"),
        ({"a": np.array([b"\xff"], object)}, "'a': element 0 is not text in UTF-8"),
    ],
)
def test_inputs_that_are_no_keys_are_the_callers_mistake(inputs, text) -> None:
    with pytest.raises(InvalidRequest, match=text):
        keys_of(inputs)


@pytest.mark.parametrize(
    "inputs",
    [
        {"a": spec("INT64", -1), "b": spec("BYTES", -1, 1)},
        {"a": spec("UINT8", 4), "b": None},
        {"a": None},
    ],
)
def test_columns_of_keys_are_taken(inputs) -> None:
    check_keys(inputs)


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"a": spec("FP32", -1)}, "not FP32"),
        ({"a": spec("BOOL", -1)}, "not BOOL"),
        ({"a": spec("INT64", -1, 2)}, r"not \[-1, 2\]"),
        ({"a": spec("INT64")}, r"not \[\]"),
        ({"a": spec("INT64", 2), "b": spec("INT64", 3)}, "shapes differ"),
    ],
)
def test_types_that_are_no_keys_are_refused_before_the_first_request(inputs, text) -> None:
    with pytest.raises(TypeConflict, match=text):
        check_keys(inputs)


def test_a_key_is_shown_with_the_names_of_its_parts() -> None:
    assert shown_key(("user", "shop"), (7, "x" * 100)).startswith("user=7, shop='xxx")
