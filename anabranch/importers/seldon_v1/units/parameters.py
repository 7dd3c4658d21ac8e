"""Parameters of a unit: texts with types, as ``python/seldon_core/microservice.py`` reads them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from anabranch.importers.fields import Fields
from anabranch.specs.excerpts import hint, in_words, shown

_TRUE, _FALSE = {"y", "yes", "t", "true", "on", "1"}, {"n", "no", "f", "false", "off", "0"}
"""Texts that ``strtobool`` of Python's distutils takes for a truth value."""


def _truth(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


_TYPES: Mapping[str, Callable[[str], Any]] = {
    "INT": int,
    "FLOAT": _finite,
    "DOUBLE": _finite,
    "STRING": str,
    "BOOL": _truth,
}


@dataclass(frozen=True)
class Parameters:
    """The parameters of a unit by name, and the fields that each was read from."""

    values: Mapping[str, Any]
    fields: Mapping[str, Fields]

    @classmethod
    def of(cls, unit: Fields) -> Parameters:
        """Read ``parameters``; mistakes are kept in the unit's source."""
        values: dict[str, Any] = {}
        places: dict[str, Fields] = {}
        for entry in unit.each("parameters"):
            name = entry.required("name")
            if name in values:
                entry.mistake(f"there is another parameter {shown(name)}", "name")
            places[name] = entry
            value = _value(entry)
            if value is not None:
                values[name] = value
            entry.finish()
        return cls(values, places)

    def take_all(self, text: str) -> dict[str, Any]:
        """Note that every parameter is taken over, by a text with ``{name}``; return them."""
        for name in self.values:
            self.same(name, text.format(name=name))
        return dict(self.values)

    def same(self, name: str, text: str) -> None:
        """Note a parameter that was taken over."""
        self.fields[name].same(text)

    def reworded(self, name: str, text: str) -> None:
        """Note a parameter that has other words in the graph."""
        self.fields[name].reworded(text)

    def left_out(self, name: str, reason: str) -> None:
        """Note a parameter that was left out."""
        self.fields[name].left_out(reason)

    def mistake(self, name: str, message: str) -> None:
        """Keep a mistake in the value of a parameter."""
        self.fields[name].mistake(message, "value")

    def refuse_others(self, known: Collection[str], of: str) -> None:
        """Keep a mistake for each parameter that ``of`` does not know, which would not start."""
        for name, place in self.fields.items():
            if name not in known:
                said = f"{of} has no parameter {shown(name)}"
                place.mistake(f"{said}{hint(name, known) or '; it takes none'}", "name")


def _value(entry: Fields) -> Any:
    kind = entry.required("type")
    raw = entry.data.get("value")
    if "value" not in entry.data:
        entry.mistake("is required", "value")
    text = entry.text("value")
    if kind not in _TYPES:
        if kind:
            entry.mistake(f"{shown(kind)} is no type{hint(kind, _TYPES)}", "type")
        return None
    if not isinstance(raw, str):
        return None
    try:
        return _TYPES[kind](text)
    except ValueError:
        entry.mistake(f"{in_words(raw)} is no {kind}", "value")
        return None
