"""Troubles of watches: the place of a model that does not answer, and moves that are refused.

The log of events tells of their begin and end, and so remembers them while no controller is there.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeAlias

from anabranch.components.artefacts.uris import redacted
from anabranch.control.store.event_log import EventFilter
from anabranch.control.store.store import Store

FAILED, RECOVERED = "watch_failed", "watch_recovered"
"""Kinds of the events with which a trouble begins and ends."""
_MOST_EVENTS = 100

Source: TypeAlias = Literal["look", "move"]


@dataclass(frozen=True)
class Trouble:
    """Why a model is not followed, since a Unix time."""

    source: Source
    text: str
    since: float


class Troubles:
    """The troubles of all graphs' watches. ``begin`` and ``end`` block."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._now: dict[tuple[str, str], Trouble | None] = {}
        """By graph and reference; None where it is known that there is none."""

    def of(self, graph: str, reference: str) -> Trouble | None:
        """Return the trouble of a graph with a reference, as far as it is known."""
        return self._now.get((graph, reference))

    def keep(self, graphs: Collection[str]) -> None:
        """Forget the troubles of all other graphs."""
        for key in [key for key in self._now if key[0] not in graphs]:
            self._now.pop(key, None)

    def begin(self, graph: str, reference: str, source: Source, text: str) -> None:
        """Note a trouble; an event tells of it unless there is one already."""
        before = self._known(graph, reference)
        if before is None:
            self._tell(graph, FAILED, reference, source, text)
        since = time.time() if before is None else before.since
        self._now[graph, reference] = Trouble(source, text, since)

    def end(self, graph: str, reference: str, source: Source) -> None:
        """Note that looks or moves succeed; an event tells where that ends a trouble."""
        before = self._known(graph, reference)
        if before is not None and before.source == source:
            self._tell(graph, RECOVERED, reference, source, before.text)
            self._now[graph, reference] = None

    def _known(self, graph: str, reference: str) -> Trouble | None:
        key = (graph, reference)
        if key not in self._now:
            self._now[key] = self._remembered(graph, reference)
        return self._now[key]

    def _remembered(self, graph: str, reference: str) -> Trouble | None:
        """Return the trouble that there was when this controller began."""
        told = self._store.newest_events(EventFilter(graph=graph, kind="watch_*"), _MOST_EVENTS)
        mine = [one for one in told if one.data.get("model") == redacted(reference)]
        if not mine or mine[-1].kind != FAILED:
            return None
        last = mine[-1]
        return Trouble(last.data["source"], last.data["reason"], last.at)

    def _tell(self, graph: str, kind: str, reference: str, source: Source, text: str) -> None:
        model = redacted(reference)
        what = {
            (FAILED, "look"): f"cannot see what {model} means: {text}",
            (FAILED, "move"): f"cannot follow {model}: {text}",
            (RECOVERED, "look"): f"sees again what {model} means",
            (RECOVERED, "move"): f"follows {model} again",
        }[kind, source]
        data = {"model": model, "source": source, "reason": text}
        self._store.log(graph, None, kind, what, data)
