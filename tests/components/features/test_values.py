"""Values of stores as elements of outputs."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.features.values import FeatureColumn, unix_seconds
from anabranch.components.tensors.datatypes import DTYPES
from anabranch.specs.models import TensorSpec

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def column(datatype: str, *shape: int) -> FeatureColumn:
    return FeatureColumn(
        "f", "f", TensorSpec.model_validate({"datatype": datatype, "shape": (-1, *shape)})
    )


@pytest.mark.parametrize(
    ("datatype", "value", "element"),
    [
        ("INT64", b"42", 42),
        ("INT64", "-7", -7),
        ("INT64", Decimal("3"), 3),
        ("INT64", 3.0, 3),
        ("INT64", 2**63 - 1, 2**63 - 1),
        ("INT64", "9007199254740993", 9007199254740993),
        ("INT64", NOON, int(NOON.timestamp())),
        ("UINT8", True, 1),
        ("INT8", np.int64(5), 5),
        ("FP32", b"0.5", 0.5),
        ("FP64", Decimal("0.25"), 0.25),
        ("FP64", 2, 2.0),
        ("FP16", float("inf"), float("inf")),
        ("BF16", "1.5", 1.5),
        ("BOOL", b"true", True),
        ("BOOL", "F", False),
        ("BOOL", 0, False),
        ("BOOL", np.True_, True),
        ("BYTES", b"gold", "gold"),
        ("BYTES", b"\xff", b"\xff"),
        ("BYTES", 5, "5"),
        ("BYTES", date(2026, 11, 1), "2026-11-01"),
    ],
)
def test_a_value_becomes_an_element(datatype: str, value: Any, element: Any) -> None:
    found = column(datatype).element(value)
    assert found == element
    assert type(found) is type(element)


@pytest.mark.parametrize(
    ("datatype", "value", "text"),
    [
        ("INT64", "many", "is no number"),
        ("INT64", 1.5, "is no whole number"),
        ("INT64", float("nan"), "is no whole number"),
        ("INT64", "inf", "is no whole number"),
        ("UINT8", 256, r"does not fit UINT8 \(0 to 255\)"),
        ("UINT8", -1, "does not fit UINT8"),
        ("FP16", 70_000, "does not fit FP16"),
        ("BF16", 1e39, "does not fit BF16"),
        ("FP32", "1e39", "does not fit FP32"),
        ("FP32", [1.0], "is no number"),
        ("FP32", {"a": 1}, "is no number"),
        ("BOOL", "maybe", "is neither true nor false"),
        ("BOOL", 2, "is neither true nor false"),
        ("BYTES", ["a"], "is no text, but a list"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(datatype: str, value: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        column(datatype).element(value)


@pytest.mark.parametrize("value", [[1, 2], (1.0, 2.0), np.array([1, 2]), "[1, 2]", b"[1, 2.0]"])
def test_lists_of_one_size_are_outputs_too(value: Any) -> None:
    two = column("FP32", 2)
    found = two.array([two.element(value), two.element([3, 4])])
    assert (found.dtype, found.tolist()) == (np.float32, [[1, 2], [3, 4]])
    assert two.array([]).shape == (0, 2)


@pytest.mark.parametrize("value", [[1], [[1, 2]], "1, 2", 3, "[1, 2", {"a": 1}])
def test_lists_of_another_shape_are_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        column("INT64", 2).element(value)


@given(st.sampled_from(sorted(set(DTYPES) - {"BYTES"})), st.data())
def test_a_number_and_its_text_are_the_same_element(datatype: str, data: Any) -> None:
    dtype = DTYPES[datatype]
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        value = data.draw(st.integers(int(limits.min), int(limits.max)))
    elif dtype.kind == "b":
        value = data.draw(st.booleans())
    else:
        value = data.draw(st.floats(-1000, 1000))
    one = column(datatype)
    as_text, as_bytes = one.element(str(value)), one.element(str(value).encode())
    array = one.array([one.element(value), as_text, as_bytes])
    assert array.dtype == dtype
    assert array[0] == array[1] == array[2]


@given(st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)))
def test_all_forms_of_a_time_mean_the_same_moment(moment: datetime) -> None:
    seconds = moment.replace(tzinfo=UTC).timestamp()
    elsewhere = moment.replace(tzinfo=UTC).astimezone(timezone(timedelta(hours=5)))
    for form in (moment, elsewhere, moment.isoformat(), elsewhere.isoformat().encode(), seconds):
        assert unix_seconds(form) == pytest.approx(seconds, abs=1e-6)


def test_what_is_no_time_is_refused() -> None:
    assert unix_seconds(date(1970, 1, 2)) == 86400.0
    for wrong in ("yesterday", None, [1]):
        with pytest.raises(ValueError):
            unix_seconds(wrong)
