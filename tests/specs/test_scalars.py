"""What plain scalars mean."""

from __future__ import annotations

import math

import pytest

from anabranch.specs.scalars import resolve


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("NULL", None), ("true", True), ("False", False),
        ("0", 0), ("-0", 0), ("12", 12), ("+12", 12), ("-12", -12), ("0o17", 15), ("0x1f", 31),
        ("1.5", 1.5), ("1.", 1.0), (".5", 0.5), ("-1e-3", -0.001), ("1E3", 1000.0), ("0.0", 0.0),
        (".inf", math.inf), ("-.INF", -math.inf), ("1e999", math.inf),
    ],
)  # fmt: skip
def test_core_schema(text: str, value: object) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        *("yes", "on", "No", "OFF", "y", "010", "-010", "00", "010.5", "1_000", "0b1", "0X1f"),
        *("1e", "+", "-", ".", "..", "nULL", "tRue", "2024-01-01", "12:30", "0x", "0o8", "1.2.3"),
        *("<<", "=", "٣"),
    ],
)
def test_everything_else_is_the_text_it_looks_like(text: str) -> None:
    assert resolve(text) == text


def test_nan() -> None:
    assert math.isnan(float(resolve(".nan") or 0))


@pytest.mark.parametrize("text", ["9" * 65, "-" + "9" * 64, "0x" + "f" * 63])
def test_endless_integers_are_refused_before_they_are_converted(text: str) -> None:
    with pytest.raises(ValueError, match="digits; at most 64 are allowed"):
        resolve(text)
    assert resolve(text[:64]) == int(text[:64], 0)
