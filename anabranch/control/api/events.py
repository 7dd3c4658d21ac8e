"""Endpoints of the log of events: what has happened, who did it, and whether the log is whole."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime

from anabranch.control.api.endpoints import (
    ApiAnswer,
    ApiCall,
    Guarded,
    Query,
    Routes,
    answer,
    views,
    whole_number,
)
from anabranch.control.store.event_log import EventFilter
from anabranch.control.store.records import write_text
from anabranch.control.store.store import Store
from anabranch.errors import InvalidRequest

MAX_EVENTS = 1000
_MAX_TEXT = 256
_MAX_REVISION = 10**9


class EventApi:
    """Answers what shows the log of events.

    | method | path | answers |
    |---|---|---|
    | GET | ``/events?after=0&limit=100`` | ``{"events": [...]}``, oldest first |
    | GET | ``/events?newest=100`` | the newest events, oldest first |
    | GET | ``/events/verify?hash=`` | whether the hash chain is whole, see ``chain.Verification`` |

    Filters of the first two are ``graph``, ``kind``, ``actor`` (a kind such as ``engine``, a name,
    or both as in ``key:ci``), in each of which ``*`` stands for any characters; ``revision``; and
    ``since`` and ``until``, Unix times or ISO 8601. Who may not view the engine as a whole sees the
    events of the graphs that they may view.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.routes: Routes = {
            "/events": {"GET": Guarded("view", self._find, somewhere=True)},
            "/events/verify": views(self._verify),
        }

    async def _find(self, call: ApiCall) -> ApiAnswer:
        query, wanted = call.query, _filter(call.query)
        if not call.may_view(""):
            known = await asyncio.to_thread(self._store.event_graphs)
            wanted = replace(wanted, among=tuple(filter(call.may_view, known)))
        if "newest" in query:
            count = whole_number(query, "newest", 100, MAX_EVENTS)
            found = await asyncio.to_thread(self._store.newest_events, wanted, count)
        else:
            after = whole_number(query, "after", 0, 2**53)
            count = whole_number(query, "limit", 100, MAX_EVENTS)
            found = await asyncio.to_thread(self._store.events, wanted, after, count)
        return answer(200, {"events": [asdict(event) for event in found]})

    async def _verify(self, call: ApiCall) -> ApiAnswer:
        sought = call.query.get("hash", "")
        found = await asyncio.to_thread(self._store.verify_events, sought)
        return answer(200, asdict(found))


def _filter(query: Query) -> EventFilter:
    revision = None
    if "revision" in query:
        revision = whole_number(query, "revision", 0, _MAX_REVISION)
    graph, kind, actor = (_text(query, name) for name in ("graph", "kind", "actor"))
    return EventFilter(graph, kind, actor, _time(query, "since"), _time(query, "until"), revision)


def _text(query: Query, name: str) -> str | None:
    text = query.get(name)
    if text is not None and len(text) > _MAX_TEXT:
        raise InvalidRequest(f"{name} has {len(text)} characters; it may have {_MAX_TEXT}")
    return None if text is None else write_text(text)  # not every database takes any text


def _time(query: Query, name: str) -> float | None:
    text = query.get(name)
    if text is None:
        return None
    for read in _TIMES:
        try:
            seconds = read(text)
        except (ValueError, OverflowError):
            continue
        if math.isfinite(seconds):
            return seconds
    raise InvalidRequest(
        f"{name}={text[:40]!r} is no time: give a Unix time in seconds, or ISO 8601 such as "
        "2026-01-31T12:00:00Z"
    )


def _iso(text: str) -> float:
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


_TIMES: tuple[Callable[[str], float], ...] = (float, _iso)
