"""The loop that watches models: looks at their places, and lets graphs follow what moved.

A look is made once for all graphs that watch a reference. What it found counts for a graph only if
it began after the graph's last change of what it goes on from: an older look may have seen less
than the deploy that made that change. Whether a graph has acted on a move is in the store.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.artefacts.uris import redacted
from anabranch.control.lifecycle.operations import Overtaken
from anabranch.control.store.store import Store, Stored
from anabranch.control.tasks import WokenLoop
from anabranch.control.watching.decide import Decision, decide, followed
from anabranch.control.watching.looks import WatchLooks
from anabranch.control.watching.metrics import WatchMetrics
from anabranch.control.watching.models import WatchingGraph, WatchingRevisions
from anabranch.control.watching.moves import Moves
from anabranch.control.watching.troubles import Troubles
from anabranch.errors import AnabranchError, ArtefactError, NotFound

logger = logging.getLogger("anabranch.control")

_REST_S = 10.0
"""Longest time between two rounds, in seconds."""
_RETRY_S = 2.0
_MOST_LOOKS = 8
"""Most looks at a time."""
_REFUSED_S = 15.0
"""Time until a move that was refused is tried again, in seconds."""


@dataclass(frozen=True)
class WatchedModel:
    """A model that a graph watches, for people; times are Unix times."""

    model: str
    nodes: tuple[str, ...]
    every: float
    """Seconds between two looks."""
    pin: str
    """The pin of the stable revision, or of the one on its way where there is none."""
    found: str
    """The pin of what the last look has found; empty before the first."""
    looked_at: float | None
    trouble: str
    """Why the model is not followed; empty where it is."""
    since: float | None
    """When the trouble began."""


class Watcher(WokenLoop[tuple[str, str]]):
    """Follows the watched models of all graphs until it is cancelled."""

    def __init__(
        self,
        store: Store,
        revisions: WatchingRevisions,
        moves: Moves,
        artefacts: ArtefactSettings,
        looks: WatchLooks | None = None,
    ) -> None:
        super().__init__()
        self._store = store
        self._revisions = revisions
        self._moves = moves
        self._artefacts = artefacts
        self._looks = looks or WatchLooks()
        self._metrics = WatchMetrics()
        self._clock = time.monotonic
        self._troubles = Troubles(store)
        self._graphs: Mapping[str, WatchingGraph] = {}
        self._since: dict[str, tuple[WatchingGraph, float]] = {}
        """By graph: how it stands, and since when that is known."""
        self._not_before: dict[str, float] = {}
        """When a move that was refused is tried again, by graph."""

    def of(self, graph: str) -> list[WatchedModel]:
        """Return the models that a graph watches, by reference."""
        one = self._graphs.get(graph)
        return [] if one is None else [self._shown(one, model) for model in sorted(one.base.models)]

    async def _round(self) -> float:
        """Start what is due; return the seconds until something else may be."""
        moving = self._under_way("move")
        try:
            self._graphs = await asyncio.to_thread(self._read)
        except Exception:
            logger.exception("cannot read the store; trying again in %gs", _RETRY_S)
            return _RETRY_S
        now = self._clock()
        self._looks.keep(_shortest(self._graphs), now)
        self._troubles.keep(self._graphs)
        self._see(now)
        for graph, one in self._graphs.items():
            if graph not in moving:  # or it may have been read before its move was recorded
                self._go_on(graph, one, now)
        for reference in self._looks.due(now):
            looking = self._under_way("look")
            if reference not in looking and len(looking) < _MOST_LOOKS:
                self._start(("look", reference), self._look(reference))
        self._metrics.see(self._graphs, self._looks, self._troubles)
        return self._rest(now)

    def _rest(self, now: float) -> float:
        due = self._looks.next_due(self._under_way("look"))
        times = [*self._not_before.values(), *([] if due is None else [due])]
        later = [one - now for one in times if one > now]
        return max(0.01, min([_REST_S, *later]))

    def _read(self) -> dict[str, WatchingGraph]:
        stored = self._store.situations()
        self._revisions.keep({one.situation.graph for one in stored})
        read = {one.situation.graph: self._watching(one) for one in stored}
        return {graph: one for graph, one in read.items() if one is not None}

    def _watching(self, stored: Stored) -> WatchingGraph | None:
        now = stored.situation
        number = followed(now) or self._newest(now.graph)
        if now.state != "present" or number is None:
            return None
        try:
            base = self._revisions.of(now.graph, number)
            if not base.models:
                return None
            stable = None if now.stable is None else self._revisions.of(now.graph, now.stable)
        except NotFound:  # it has gone since the situation was read
            return None
        return WatchingGraph(base, stable, stored.seen)

    def _newest(self, graph: str) -> int | None:
        """Return the newest revision of a graph of which none has come up."""
        newest = self._store.revisions(graph, 1)
        return newest[0].number if newest else None

    def _see(self, now: float) -> None:
        """Note since when each graph stands as it does."""
        self._since = {
            graph: known
            if (known := self._since.get(graph)) is not None and known[0] == one
            else (one, now)
            for graph, one in self._graphs.items()
        }
        self._not_before = {g: at for g, at in self._not_before.items() if g in self._graphs}

    def _go_on(self, graph: str, one: WatchingGraph, now: float) -> None:
        """Start what follows from the looks at what a graph watches."""
        if ("move", graph) in self._tasks or self._not_before.get(graph, now) > now:
            return
        found = self._looks.found(one.base.models, self._since[graph][1])
        decision = decide(one.base, one.stable, one.seen, found)
        if decision is not None:
            self._start(("move", graph), self._apply(graph, one, decision))

    def _under_way(self, kind: Literal["look", "move"]) -> list[str]:
        """References at which a look is under way, or graphs of which a move is."""
        return [name for one, name in self._tasks if one == kind]

    async def _look(self, reference: str) -> None:
        """Look at the place of a model, for all graphs that watch it."""
        # Here, for it takes an HTTP client that most engines never need.
        from anabranch.components.artefacts.pins import pin_now
        from anabranch.components.artefacts.sources import TransferInterrupted

        began, problem = self._clock(), ""
        try:
            pin = await asyncio.to_thread(pin_now, reference, self._artefacts)
            self._looks.succeeded(reference, pin, began, self._clock(), time.time())
        except (ArtefactError, TransferInterrupted) as error:
            problem = str(error)
        except Exception as error:
            logger.exception("cannot look at %s", redacted(reference))
            problem = type(error).__name__
        if problem:
            self._looks.failed(reference, self._clock())
        await self._note(reference, problem)

    async def _note(self, reference: str, problem: str) -> None:
        """Tell the graphs that watch a reference of a look at it, which had a problem or none."""
        for graph, one in self._graphs.items():
            if reference not in one.base.models:
                continue
            try:
                if problem:
                    await asyncio.to_thread(self._troubles.begin, graph, reference, "look", problem)
                else:
                    await asyncio.to_thread(self._troubles.end, graph, reference, "look")
            except AnabranchError as error:
                logger.warning("%s: cannot note a look: %s", graph, error)

    async def _apply(self, graph: str, one: WatchingGraph, decision: Decision) -> None:
        """Let a graph follow what moved; a refusal is noted, and tried again later."""
        try:
            made = await self._moves.apply(one.base, decision)
        except Overtaken as error:
            logger.debug("%s: %s", graph, error)
        except AnabranchError as error:
            await self._refused(graph, decision, str(error))
        except Exception as error:
            logger.exception("%s: cannot follow a model", graph)
            await self._refused(graph, decision, type(error).__name__)
        else:
            self._not_before.pop(graph, None)
            if made is not None:
                self._metrics.moved(graph)
            for reference in decision.changes:
                await asyncio.to_thread(self._troubles.end, graph, reference, "move")

    async def _refused(self, graph: str, decision: Decision, problem: str) -> None:
        self._not_before[graph] = self._clock() + _REFUSED_S
        for reference in decision.changes:
            await asyncio.to_thread(self._troubles.begin, graph, reference, "move", problem)

    def _shown(self, one: WatchingGraph, reference: str) -> WatchedModel:
        watched, look = one.base.models[reference], self._looks.of(reference)
        trouble = self._troubles.of(one.base.graph, reference)
        return WatchedModel(
            redacted(reference),
            watched.nodes,
            watched.every,
            (one.stable or one.base).pins.get(reference, ""),
            "" if look is None else look.found,
            None if look is None else look.at,
            "" if trouble is None else trouble.text,
            None if trouble is None else trouble.since,
        )


def _shortest(graphs: Mapping[str, WatchingGraph]) -> dict[str, float]:
    """Return every reference that is watched, with the shortest time between two looks."""
    found: dict[str, float] = {}
    for one in graphs.values():
        for reference, watched in one.base.models.items():
            found[reference] = min(watched.every, found.get(reference, watched.every))
    return found
