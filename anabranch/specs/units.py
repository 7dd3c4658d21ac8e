"""Durations and sizes: numbers that always carry their unit.

Bare numbers are refused, since a reader cannot tell seconds from milliseconds.
"""

from __future__ import annotations

import re
from typing import Any, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

_DURATION_UNITS = {"us": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_SIZE_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_MAX_DURATION = 365 * 24 * 3600 * 10**9
_MAX_SIZE = 2**60


class _Quantity(int):
    """A whole number of base units, written as ``<number><unit>``."""

    _units: dict[str, int]
    _limit: int
    _example: str
    _pattern: re.Pattern[str]

    @classmethod
    def parse(cls, text: Any) -> Self:
        """Read ``text``; a ValueError names what is allowed."""
        if isinstance(text, cls):
            return text
        match = cls._pattern.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            shown = repr(text)[:60]
            raise ValueError(
                f"{shown} is not a {cls.__name__.lower()}: write a number with a unit "
                f"({', '.join(cls._units)}), such as {cls._example}"
            )
        number, unit = match.groups()
        value = round(float(number) * cls._units[unit])
        if value > cls._limit:
            raise ValueError(f"{text!r} is over the limit of {cls(cls._limit)}")
        return cls(value)

    def __str__(self) -> str:
        unit, factor = max(
            ((u, f) for u, f in self._units.items() if self % f == 0 or f == 1),
            key=lambda pair: pair[1],
            default=next(iter(self._units.items())),
        )
        return f"{int(self) / factor:g}{unit}" if self % factor else f"{int(self) // factor}{unit}"

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
    """A length of time, kept in whole nanoseconds; written ``250us``, ``2ms``, ``5s``, ``2m``, ``1h``."""

    _units = _DURATION_UNITS
    _limit = _MAX_DURATION
    _example = "250ms"
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
    _pattern = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)(B|KiB|MiB|GiB|TiB)")
