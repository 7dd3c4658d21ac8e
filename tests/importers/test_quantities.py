"""Quantities of Kubernetes."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.importers.quantities import quantity


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100m", Fraction(1, 10)),
        ("0.5", Fraction(1, 2)),
        (2, 2),
        (".5", Fraction(1, 2)),
        ("1Gi", 2**30),
        ("1.5Gi", 3 * 2**29),
        ("512Mi", 2**29),
        ("1G", 10**9),
        ("128e6", 128 * 10**6),
        ("1E", None),
        ("", None),
        ("1 Gi", None),
        ("-1", None),
        ("1x", None),
        (True, None),
        (None, None),
        ([1], None),
    ],
)
def test_quantities(text: Any, expected: Any) -> None:
    if expected is None:
        with pytest.raises(ValueError, match=r"quantity|unit"):
            quantity(text)
    else:
        assert quantity(text) == expected


@given(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8))
def test_any_value_is_a_quantity_or_a_mistake(value: Any) -> None:
    try:
        assert quantity(value) >= 0
    except ValueError:
        return
