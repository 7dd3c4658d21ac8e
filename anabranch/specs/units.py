"""Durations, sizes and percentages: numbers with a unit.

Specs refuse bare numbers, since a reader cannot tell seconds from milliseconds. Settings and
options of the command line accept them, as seconds or bytes.
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import isfinite
from typing import Any, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from anabranch.environment import Environment
from anabranch.specs.excerpts import as_written

_DURATION_UNITS = {
    "us": 1_000,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 24 * 3600 * 10**9,
}
_SIZE_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_MAX_DURATION = 365 * 24 * 3600 * 10**9
_MAX_SIZE = 2**60
_SHARE_UNITS = {"%": 1000}
_LOOSE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-zµ%]*)\s*")
_MAX_LOOSE = 40
_OTHER_UNITS = {
    "µs": "us", "usec": "us", "msec": "ms", "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "min": "m", "mins": "m", "minute": "m", "minutes": "m", "hr": "h", "hour": "h", "hours": "h",
    "day": "d", "days": "d",
    "byte": "B", "bytes": "B", "k": "KiB", "ki": "KiB", "kb": "KiB",
    "m": "MiB", "mi": "MiB", "mb": "MiB",
    "g": "GiB", "gi": "GiB", "gb": "GiB", "t": "TiB", "ti": "TiB", "tb": "TiB",
}  # fmt: skip
"""Units of other languages, such as Kubernetes' Gi, and those that are meant."""


class _Quantity(int):
    """A whole number of base units, written as ``<number><unit>``."""

    _units: dict[str, int]
    """Units, from the smallest to the largest, in base units."""
    _limit: int
    _example: str
    _zero: str
    _pattern: re.Pattern[str]

    @classmethod
    def parse(cls, text: Any) -> Self:
        """Read ``text``; raise ValueError with the allowed units.

        A fraction of a base unit is rounded to the nearest.
        """
        if isinstance(text, cls):
            return text
        match = cls._pattern.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            meant = cls._meant(text)
            example = f"; did you mean {meant}?" if meant else f", such as {cls._example}"
            raise ValueError(
                f"{as_written(text)} is not a {cls.__name__.lower()}: write a number with a unit "
                f"({', '.join(cls._units)}){example}"
            )
        number, unit = match.groups()
        value = round(Fraction(number) * cls._units[unit])
        if value > cls._limit:
            raise ValueError(f"{text} is over the limit of {cls(cls._limit)}")
        return cls(value)

    @classmethod
    def _meant(cls, written: Any) -> str | None:
        """Return the text that a wrong one most likely means; None if nothing is near."""
        if isinstance(written, bool) or not isinstance(written, str | int | float):
            return None
        found = _LOOSE.fullmatch(str(written)[:_MAX_LOOSE])
        if found is None:
            return None
        number, unit = found[1], found[2].casefold()
        units = {known.casefold(): known for known in cls._units}
        meant = units.get(unit) or _OTHER_UNITS.get(unit, "") if unit else cls._zero[1:]
        return f"{number}{meant}" if cls._pattern.fullmatch(f"{number}{meant}") else None

    def __str__(self) -> str:
        """Return the shortest text that ``parse`` reads as this value."""
        if self == 0:
            return self._zero
        unit, factor = next(iter(self._units.items()))
        for name, size in self._units.items():
            if self % size == 0:
                unit, factor = name, size
        whole, rest = divmod(int(self), factor)
        fraction = f".{rest * 1000 // factor:03d}".rstrip("0") if rest else ""
        return f"{whole}{fraction}{unit}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse,
            serialization=core_schema.plain_serializer_function_ser_schema(
                str, return_schema=core_schema.str_schema()
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {
            "type": "string",
            "pattern": f"^{cls._pattern.pattern}$",
            "examples": [cls._example],
            "description": f"A number with a unit: {', '.join(cls._units)}.",
        }


class Duration(_Quantity):
    """A length of time in whole nanoseconds; written ``2ms``, ``5s``, ``2m``, ``1h``, ``90d``."""

    _units = _DURATION_UNITS
    _limit = _MAX_DURATION
    _example = "250ms"
    _zero = "0s"
    _pattern = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)(us|ms|s|m|h|d)")

    @property
    def seconds(self) -> float:
        """The duration in seconds."""
        return int(self) / 1e9


class Size(_Quantity):
    """An amount of memory in bytes; written ``512MiB``, ``2GiB``."""

    _units = _SIZE_UNITS
    _limit = _MAX_SIZE
    _example = "512MiB"
    _zero = "0B"
    _pattern = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?)(B|KiB|MiB|GiB|TiB)")


class Percentage(_Quantity):
    """A share in thousandths of a percent; written ``1%``, ``0.05%``."""

    _units = _SHARE_UNITS
    _limit = 100 * 1000
    _example = "1%"
    _zero = "0%"
    _pattern = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)(%)")

    @property
    def share(self) -> float:
        """The percentage as a number from 0 to 1."""
        return int(self) / self._limit


def parse_seconds(text: str) -> float:
    """Return the seconds of a duration with a unit, or of a bare number; raise ValueError."""
    return _parse_setting(text, Duration) / 1e9


def parse_bytes(text: str) -> float:
    """Return the bytes of a size with a unit, or of a bare number; raise ValueError."""
    return _parse_setting(text, Size)


def read_seconds(variables: Environment, name: str, default: float, least: str = "0s") -> float:
    """Return a duration that an environment variable sets, in seconds.

    The variable's error names the variable, its value, ``least`` and the units.
    """
    return _read(variables, name, Duration, default * 1e9, least) / 1e9


def read_bytes(variables: Environment, name: str, default: float, least: str = "0B") -> float:
    """Return a size that an environment variable sets, in bytes; errors as of `read_seconds`."""
    return _read(variables, name, Size, default, least)


_BARE = {Duration: ("seconds", 10**9), Size: ("bytes", 1)}
"""What a bare number counts, and how many base units that is."""


def _read(
    variables: Environment, name: str, kind: type[_Quantity], default: float, least: str
) -> float:
    def parse(text: str) -> float:
        value = _parse_setting(text, kind)
        if value < kind.parse(least):
            raise ValueError
        return value

    expected = f"a {kind.__name__.lower()} of at least {least}: write {_forms(kind)}"
    return variables.read(name, parse, default, expected)


def _parse_setting(text: str, kind: type[_Quantity]) -> float:
    """Return a quantity in base units; unlike a spec's it has no upper limit."""
    match = kind._pattern.fullmatch(text)
    if match is not None:
        return float(Fraction(match[1]) * kind._units[match[2]])
    try:
        bare = float(text) * _BARE[kind][1]
    except ValueError:
        bare = -1.0
    if not (isfinite(bare) and bare >= 0):
        name = kind.__name__.lower()
        raise ValueError(f"{as_written(text)} is not a {name}: write {_forms(kind)}")
    return bare


def _forms(kind: type[_Quantity]) -> str:
    units, bare = ", ".join(kind._units), _BARE[kind][0]
    return f"a number with a unit ({units}), such as {kind._example}, or a number of {bare}"
