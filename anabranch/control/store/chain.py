"""The hash chain over the log of events: each event holds a SHA-256 over itself and the one before.

The hash of an event is that of the UTF-8 bytes of a JSON array, written without spaces and without
escapes that JSON does not ask for: the hash of the event before, then the values of ``FIELDS`` in
their order. ``data`` and ``change`` are strings there, the JSON that the store holds. Neither the
fields nor their form ever change: events of older versions must go on to verify.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

FIELDS = (
    "id", "at", "graph", "revision", "kind", "message", "data", "change",
    "actor_kind", "actor", "address", "request_id",
)  # fmt: skip
GENESIS = "0" * 64
"""Stands for the hash before the first event of a store."""
UNRECORDED = "unrecorded"
"""Kind of the actor of events from before there were actors; they were chained when the store was
migrated, so that their hashes say nothing of the time before.
"""


@dataclass(frozen=True)
class Chain:
    """The ends of a chain, in hexadecimal digits: what its events are verified against."""

    anchor_id: int
    """Id of the newest event that was pruned; 0 before any was."""
    anchor: str
    last_id: int
    last: str


@dataclass
class Verification:
    """What came of following a chain from its anchor to its end."""

    verified: int = 0
    """Number of events that follow from the one before them."""
    unrecorded: int = 0
    """Number of these that are from before there were actors."""
    first: int | None = None
    last: int | None = None
    """Ids of the oldest and the newest verified event."""
    hash: str = GENESIS
    """Hash of the newest verified event."""
    broken: int | None = None
    """Id of the first event that does not follow; None where the chain is whole."""
    reason: str = ""
    contains: bool | None = None
    """Whether the chain has the hash that was looked for, if any was."""


def link(previous: str, event: Mapping[Any, Any]) -> str:
    """Return the hash of an event after one of hash ``previous``, both in hexadecimal digits."""
    content = [previous, *(event[name] for name in FIELDS)]
    # What the store never wrote, such as bytes in a column of text, must not stop a verification.
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), default=repr)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def verify(chain: Chain, rows: Iterable[Mapping[Any, Any]], sought: str = "") -> Verification:
    """Follow a chain through its rows, ordered by id; ``sought`` is a hash that was kept elsewhere.

    Rows have ``FIELDS`` and ``hash``.
    """
    found = Verification(hash=chain.anchor, contains=chain.anchor == sought if sought else None)
    for row in rows:
        expected = link(found.hash, row)
        if row["id"] <= chain.anchor_id or row["hash"] != expected:
            before = f"event {found.last}" if found.last is not None else "the anchor of the chain"
            return _broken(
                found, row["id"],
                f"it does not follow from {before}: it was changed or put in, or what was between"
                " was removed",
            )  # fmt: skip
        found.verified += 1
        found.unrecorded += row["actor_kind"] == UNRECORDED
        found.first = row["id"] if found.first is None else found.first
        found.last, found.hash = row["id"], expected
        found.contains = found.contains or (expected == sought if sought else None)
    return _ended(chain, found)


def _ended(chain: Chain, found: Verification) -> Verification:
    """Compare where the events end with what the chain says of its end."""
    if found.hash == chain.last and (found.last or chain.anchor_id) == chain.last_id:
        return found
    last = found.last or chain.anchor_id
    if last < chain.last_id:
        return _broken(found, chain.last_id, f"the events after {last} up to it were removed")
    return _broken(found, last, "the chain ends before it: it was put in, or the end was changed")


def _broken(found: Verification, event: int, reason: str) -> Verification:
    found.broken, found.reason = event, reason
    return found
