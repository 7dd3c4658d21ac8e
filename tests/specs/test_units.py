"""Durations and sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.environment import Environment
from anabranch.errors import EngineError
from anabranch.specs.units import (
    Duration,
    Size,
    parse_bytes,
    parse_seconds,
    read_bytes,
    read_seconds,
)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("250us", 250_000),
        ("2ms", 2_000_000),
        ("5s", 5 * 10**9),
        ("2m", 120 * 10**9),
        ("1h", 3600 * 10**9),
        ("90d", 90 * 24 * 3600 * 10**9),
        ("0.5s", 500_000_000),
        ("1.000001s", 1_000_001_000),
        ("0s", 0),
        ("999999999.999us", 999_999_999_999),
        ("0.000000001s", 1),
    ],
)
def test_reads_durations(text: str, nanoseconds: int) -> None:
    assert Duration.parse(text) == nanoseconds


@pytest.mark.parametrize(
    ("text", "count"), [("512MiB", 2**29), ("2GiB", 2**31), ("0.5KiB", 512), ("1TiB", 2**40)]
)
def test_reads_sizes(text: str, count: int) -> None:
    assert Size.parse(text) == count


@pytest.mark.parametrize(
    "wrong",
    [
        *(5, 5.0, None, True, "5", "s", "5 s", "-5s", "5S", "5sec", "1e3s", ".5s", "5.s", "", "٥s"),
        *("5s\n", "\n5s", "9" * 16 + "s", ["5s"], {"s": 5}),
    ],
)
def test_refuses_what_has_no_unit(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"is not a duration: write a number with a unit"):
        Duration.parse(wrong)


def test_refuses_what_is_over_the_limit() -> None:
    with pytest.raises(ValueError, match=r"9000h is over the limit of 365d"):
        Duration.parse("9000h")
    with pytest.raises(ValueError, match=r"over the limit of 1048576TiB"):
        Size.parse("1048577TiB")


@given(st.integers(0, 365 * 24 * 3600 * 10**9))
def test_every_duration_reads_back_exactly(value: int) -> None:
    assert Duration.parse(str(Duration(value))) == value


@given(st.integers(0, 2**60))
def test_every_size_reads_back_exactly(value: int) -> None:
    assert Size.parse(str(Size(value))) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Duration(0), "0s"),
        (Size(0), "0B"),
        (Duration(1), "0.001us"),
        (Duration(1_500), "1.5us"),
        (Duration(90 * 10**9), "90s"),
        (Duration(7200 * 10**9), "2h"),
        (Duration(48 * 3600 * 10**9), "2d"),
        (Duration(1_234_567_891), "1234567.891us"),
        (Size(1536), "1536B"),
        (Size(2**60), "1048576TiB"),
    ],
)
def test_writes_the_shortest_exact_text(value: Duration | Size, text: str) -> None:
    assert str(value) == text


def test_a_duration_in_seconds() -> None:
    assert Duration.parse("250ms").seconds == 0.25


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5", 1.5), ("0", 0), ("250ms", 0.25), ("10m", 600), ("1.5d", 129_600)],
)
def test_a_bare_number_in_a_setting_is_in_seconds(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds
    assert read_seconds(Environment({"ANABRANCH_GRACE": text}), "ANABRANCH_GRACE", 1) == seconds


@pytest.mark.parametrize(
    ("text", "count"), [("67108864", 2**26), ("1e6", 10**6), ("64MiB", 2**26), ("8192TiB", 2**53)]
)
def test_a_bare_number_in_a_setting_is_in_bytes(text: str, count: float) -> None:
    assert parse_bytes(text) == count
    assert read_bytes(Environment({"ANABRANCH_LOG_SIZE": text}), "ANABRANCH_LOG_SIZE", 1) == count


def test_a_setting_has_no_limit_above() -> None:
    assert parse_seconds("1000d") == 86_400_000
    assert parse_bytes("2097152TiB") == 2**61


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "5 s", "1y", "2Gi", "much"])
def test_a_setting_names_its_units(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration: .*such as 250ms, or a number of sec"):
        parse_seconds(text)
    with pytest.raises(ValueError, match=r"is not a size: .*such as 512MiB, or a number of bytes$"):
        parse_bytes(text)
    expected = rf"ANABRANCH_GRACE='{text}' is not a duration of at least 0s: write a number with a"
    with pytest.raises(EngineError, match=expected):
        read_seconds(Environment({"ANABRANCH_GRACE": text}), "ANABRANCH_GRACE", 1)


def test_a_setting_has_a_least_value() -> None:
    variables = Environment({"ANABRANCH_LOG_SIZE": "1KiB"})
    with pytest.raises(EngineError, match="'1KiB' is not a size of at least 64KiB"):
        read_bytes(variables, "ANABRANCH_LOG_SIZE", 2**20, least="64KiB")
