"""Records of the store as values, and their form in columns of text.

Texts come from exceptions and from clients. PostgreSQL takes no NUL in them and UTF-8 no lone
surrogate, so both are replaced; what may grow is cut, and says so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import RowMapping

from anabranch.access.actor import Actor
from anabranch.control.lifecycle.operations import (
    Intent,
    Member,
    RevisionState,
    Situation,
)

MAX_TEXT = 8192
"""Longest reason or message that is kept, in characters."""
MAX_DATA = 32768
"""Longest data of an event, in bytes of JSON."""


@dataclass(frozen=True)
class RevisionInfo:
    """One deployed version of a graph, without its spec. Times are Unix times."""

    graph: str
    number: int
    digest: str
    author: str
    message: str
    created_at: float
    state: RevisionState
    reason: str
    intent: Intent
    expires_at: float | None
    live_at: float | None
    pins: Mapping[str, str]
    """The pin of what each movable reference to a model meant at the deploy."""


@dataclass(frozen=True)
class Revision(RevisionInfo):
    """One deployed version of a graph; its spec, digest, pins and message never change."""

    spec: str


@dataclass(frozen=True)
class Event:
    """Something that happened; ``id`` only grows, ``at`` is Unix time."""

    id: int
    at: float
    graph: str
    revision: int | None
    kind: str
    message: str
    data: Mapping[str, Any]
    change: Mapping[str, Any]
    """What the operation changed, see ``lifecycle.changes``; empty where that is nothing."""
    actor: Actor
    hash: str
    """Of the event and those before it, see ``chain``."""


@dataclass(frozen=True)
class Stored:
    """A situation as it stands in the store: its members are up or on their way."""

    situation: Situation
    generation: int
    """Grows with every change of the situation, also across deletion."""
    created: float = 0.0
    """When the graph was created, as a Unix time."""
    seen: Mapping[str, str] = field(default_factory=dict)
    """The pin of each reference to a model that may move, as it was last acted on."""


def info_of(row: RowMapping) -> RevisionInfo:
    """Read a row of ``revisions``, whose spec may be missing."""
    return RevisionInfo(**_fields(row))


def revision_of(row: RowMapping) -> Revision:
    """Read a whole row of ``revisions``."""
    return Revision(**_fields(row), spec=row["spec"])


def _fields(row: RowMapping) -> dict[str, Any]:
    names = RevisionInfo.__dataclass_fields__
    read = {"intent": read_intent(row["intent"]), "pins": json.loads(row["pins"] or "{}")}
    return {name: row[name] for name in names} | read


def event_of(row: RowMapping) -> Event:
    """Read a row of ``events``."""
    actor = Actor(row["actor_kind"], row["actor"], row["address"], row["request_id"])
    return Event(
        row["id"], row["at"], row["graph"], row["revision"], row["kind"], row["message"],
        read_data(row["data"]), read_data(row["change"]), actor, row["hash"],
    )  # fmt: skip


def member_of(row: RowMapping) -> Member:
    """Read the part of a row of ``revisions`` that the lifecycle knows."""
    return Member(
        row["number"], row["state"], read_intent(row["intent"]), row["reason"],
        row["expires_at"], row["live_at"],
    )  # fmt: skip


def write_shares(shares: Mapping[int, float]) -> str:
    """Weights or mirrors as JSON; its keys can only be strings."""
    return json.dumps({str(number): float(share) for number, share in shares.items()})


def read_shares(text: str) -> dict[int, float]:
    """Read what ``write_shares`` wrote."""
    return {int(number): share for number, share in json.loads(text).items()}


def read_intent(text: str | None) -> Intent:
    """Read an intent in JSON; revisions from before there were intents replace."""
    return Intent.from_json(json.loads(text)) if text else Intent()


def write_text(text: str, limit: int = MAX_TEXT) -> str:
    """Text that every database takes, of at most ``limit`` characters."""
    clean = text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def write_data(data: Mapping[str, Any]) -> str | None:
    """Data of an event as JSON; what is no number is null, too much of it is left out."""
    if not data:
        return None
    text = json.dumps(_plain(data), ensure_ascii=False)
    size = len(text.encode())
    return text if size <= MAX_DATA else json.dumps({"left_out": f"{size} bytes of data"})


def read_data(text: str | None) -> dict[str, Any]:
    """Read what ``write_data`` wrote."""
    return json.loads(text) if text else {}


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {write_text(str(key)): _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
    return write_text(str(value))
