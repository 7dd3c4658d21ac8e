"""Durations, sizes and percentages: numbers that always carry their unit.

Bare numbers are refused, since a reader cannot tell seconds from milliseconds.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from anabranch.specs.excerpts import in_words

_DURATION_UNITS = {"us": 1_000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_SIZE_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_MAX_DURATION = 365 * 24 * 3600 * 10**9
_MAX_SIZE = 2**60
_SHARE_UNITS = {"%": 1000}


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
            raise ValueError(
                f"{in_words(text)} is not a {cls.__name__.lower()}: write a number with a unit "
                f"({', '.join(cls._units)}), such as {cls._example}"
            )
        number, unit = match.groups()
        value = round(Fraction(number) * cls._units[unit])
        if value > cls._limit:
            raise ValueError(f"{text} is over the limit of {cls(cls._limit)}")
        return cls(value)

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
    """A length of time in whole nanoseconds; written ``250us``, ``2ms``, ``5s``, ``2m``, ``1h``."""

    _units = _DURATION_UNITS
    _limit = _MAX_DURATION
    _example = "250ms"
    _zero = "0s"
    _pattern = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)(us|ms|s|m|h)")

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
