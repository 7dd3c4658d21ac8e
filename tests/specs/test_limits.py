"""What a limit of a metric stands for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.specs.limits import parse_limit
from tests.strategies import durations, multiples


@pytest.mark.parametrize(
    ("limit", "relative", "value"),
    [
        (0, False, 0.0),
        (0.01, False, 0.01),
        (-3, False, -3.0),
        ("1.2x", True, 1.2),
        ("0x", True, 0.0),
        ("250us", False, 250e-6),
        ("250ms", False, 0.25),
        ("1.5s", False, 1.5),
        ("2m", False, 120.0),
        ("1h", False, 3600.0),
    ],
)
def test_limits(limit: float | str, relative: bool, value: float) -> None:
    assert parse_limit(limit) == (relative, value)


@given(st.floats(allow_nan=False, allow_infinity=False) | durations | multiples)
def test_text_is_what_is_relative_or_in_seconds(limit: float | str) -> None:
    relative, value = parse_limit(limit)
    assert relative == str(limit).endswith("x")
    assert isinstance(value, float)


@pytest.mark.parametrize("limit", ["", "x", "12", "1.2y", "-1s", "99999999999h"])
def test_other_text_is_refused(limit: str) -> None:
    with pytest.raises(ValueError):
        parse_limit(limit)
