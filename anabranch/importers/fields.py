"""Typed reading of a manifest's fields: each is noted, or is a mistake at its position."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from anabranch.errors import FieldPath, Problem
from anabranch.importers.manifests import Manifest
from anabranch.importers.result import Notes
from anabranch.specs.excerpts import did_you_mean, hint, in_words, shown

LARGEST = 2**31 - 1
"""Largest whole number of a field: those of Kubernetes' manifests are ``int32``."""


@dataclass
class Source:
    """A manifest that is being read, with the notes and the mistakes that were found in it."""

    manifest: Manifest
    notes: Notes
    problems: list[Problem] = field(default_factory=list)

    @classmethod
    def of(cls, manifest: Manifest) -> Source:
        """Return a source without notes or mistakes."""
        return cls(manifest, Notes(manifest))

    def fields(self) -> Fields:
        """Return the fields of the whole manifest."""
        return Fields(self, self.manifest.data, ())


@dataclass
class Fields:
    """The fields of one map in a manifest.

    A field of another type than the one that is asked for is a mistake, and reads as if it were
    left out. ``finish`` notes every field that nothing has asked for.
    """

    source: Source
    data: Mapping[str, Any]
    path: FieldPath
    asked: set[str] = field(default_factory=set)

    def has(self, key: str) -> bool:
        """Tell whether the field is there and is not empty."""
        return self.data.get(key) not in (None, "", {}, [])

    def text(self, key: str) -> str:
        """Return a text; empty if the field is left out."""
        value = self._value(key, str, "a text")
        return value if isinstance(value, str) else ""

    def required(self, key: str) -> str:
        """Return a text that must be there."""
        value = self.text(key)
        if not value and self.data.get(key) in (None, ""):
            self.mistake("is required", key)
        return value

    def whole(self, key: str) -> int | None:
        """Return a whole number; None if the field is left out."""
        value = self._value(key, int, "a whole number")
        if isinstance(value, int) and abs(value) > LARGEST:
            self.mistake(f"must be at most {LARGEST}", key)
            return None
        return value if isinstance(value, int) else None

    def flag(self, key: str) -> bool:
        """Return a truth value; False if the field is left out."""
        return self._value(key, bool, "true or false") is True

    def within(self, key: str) -> Fields:
        """Return the fields of a map; none if it is left out."""
        value = self._value(key, Mapping, "a map")
        return Fields(self.source, value if isinstance(value, Mapping) else {}, self.at(key))

    def each(self, key: str) -> list[Fields]:
        """Return the fields of each map in a list; none if it is left out."""
        found = []
        for index, value in enumerate(self.items(key)):
            if isinstance(value, Mapping):
                found.append(Fields(self.source, value, (*self.path, key, index)))
            elif value is not None:
                self._wrong((*self.path, key, index), value, "a map")
        return found

    def items(self, key: str) -> list[Any]:
        """Return a list; empty if it is left out."""
        value = self._value(key, list, "a list")
        return value if isinstance(value, list) else []

    def texts(self, key: str) -> dict[str, str]:
        """Return a map of texts; empty if it is left out."""
        inner = self.within(key)
        return {name: inner.text(name) for name in inner.data}

    def choice(self, key: str, choices: Collection[str]) -> str:
        """Return one of the choices; empty if the field is left out or has another value."""
        value = self.text(key)
        if value and value not in choices:
            self.mistake(f"{shown(value)} is unknown{did_you_mean(value, sorted(choices))}", key)
            return ""
        return value

    def at(self, *keys: str | int) -> FieldPath:
        """Return the path of a field below the map."""
        return (*self.path, *keys)

    def mistake(self, message: str, *keys: str | int) -> None:
        """Keep a mistake at a field below the map, or at the map itself."""
        self.source.problems.append(self.source.manifest.problem(self.at(*keys), message))

    def same(self, text: str, *keys: str | int) -> None:
        """Note a field that was taken over."""
        self.source.notes.same(self.at(*keys), text)

    def reworded(self, text: str, *keys: str | int) -> None:
        """Note a field that has other words in the graph."""
        self.source.notes.reworded(self.at(*keys), text)

    def left_out(self, reason: str, *keys: str | int) -> None:
        """Note a field that was left out, with the reason."""
        self.source.notes.left_out(self.at(*keys), reason)

    def to_do(self, text: str, *keys: str | int) -> None:
        """Note what the user must still do for a field."""
        self.source.notes.to_do(self.at(*keys), text)

    def leave_out(self, reasons: Mapping[str, str]) -> None:
        """Note the fields that have no counterpart, each with its reason, where they are there."""
        for key, reason in reasons.items():
            if key in self.data:
                self.asked.add(key)
                if not self._without_value(key):
                    self.left_out(reason, key)

    def finish(self, known: Collection[str] = ()) -> None:
        """Note every field that is empty, or that was not asked for and so is unknown."""
        for key in self.data:
            if not self._without_value(key) and key not in self.asked:
                options = {*self.asked, *known}
                self.left_out(f"no field of this name is known{hint(str(key), options)}", key)

    def _without_value(self, key: str) -> bool:
        if self.has(key):
            return False
        self.reworded("is empty, as if it were left out", key)
        return True

    def _value(self, key: str, kind: type, words: str) -> object:
        self.asked.add(key)
        value = self.data.get(key)
        if value is None:
            return None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self._wrong(self.at(key), value, words)
            return None
        return value

    def _wrong(self, path: FieldPath, value: object, words: str) -> None:
        said = f"must be {words}, not {in_words(value)}"
        self.source.problems.append(self.source.manifest.problem(path, said))
