"""Feature stores: the contract of an adapter.

An adapter says what is in the store; how old it may be, and how it becomes a tensor, is decided
elsewhere. ``kinds`` has the registry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

from anabranch.components.features.keys import Key
from anabranch.specs.excerpts import hint


class StoredRow(NamedTuple):
    """The features of one entity as a store has them."""

    values: tuple[Any, ...]
    """In the order of the refs that were asked for; None where there is no value."""
    at: float | None = None
    """The time of the values in Unix seconds; None where the store does not tell."""


StoredRows: TypeAlias = list[StoredRow | None]
"""A row for each key, in order; None for entities that the store does not know."""


@dataclass(frozen=True)
class StoreOptions:
    """Where a store is, and what is asked of it."""

    node: str
    root: Path
    """The folder of the bundle, in which paths are."""
    url: str
    entities: tuple[str, ...]
    """Names of the keys' parts."""
    refs: tuple[str, ...]
    """Features, as the store names them."""
    key: str | None = None
    """Template of a key in Redis."""
    table: str | None = None
    timestamp: str | None = None
    """Column or field of the time of a row."""
    token: str | None = None
    """Bearer token of a feature server."""
    seconds: float = 1.0
    """Longest time of a call."""


class FeatureStore(Protocol):
    """An adapter of a store, used on one event loop.

    Each method raises Unavailable where the store is away, and other errors for what waiting does
    not mend.
    """

    async def open(self) -> None:
        """Connect, and check what can be; CannotLoad for what is wrong with the options."""

    async def fetch(self, keys: Sequence[Key]) -> StoredRows:
        """Return the rows of different keys as they are now, in one round trip."""

    async def close(self) -> None:
        """Let go of connections and threads."""


class PastStore(FeatureStore, Protocol):
    """A store that knows what it held in the past."""

    async def as_of(self, keys: Sequence[Key], times: Sequence[float]) -> StoredRows:
        """Return for each key the latest row at or before its time, in Unix seconds."""


def unknown_columns(missing: Sequence[str], known: Sequence[str], place: str) -> str:
    """Return the message for columns that are not there."""
    return "; ".join(f"{place} has no column {name!r}{hint(name, known)}" for name in missing)
