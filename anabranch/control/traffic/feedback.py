"""Rewards, counted once for each request; and what routers decided, for those told by id alone.

Rewards that come while a transaction is under way go together into the next. What learns from them
does so in the same transaction, so that a reward is acknowledged, counted and learned, or none of
that. The rows say which ids had theirs; the oldest are let go of.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from anabranch.control.store.database import Database
from anabranch.control.store.schema import feedback
from anabranch.control.traffic.bandits import refusal
from anabranch.control.traffic.tables import Find
from anabranch.errors import InvalidRequest, NotFound, RequestError, Unavailable
from anabranch.graph.execute.recovery import STAND_IN
from anabranch.graph.plan.plan import Signature
from anabranch.router.traffic.decisions import Decision, Rewarded
from anabranch.router.traffic.feedback import TOO_EARLY, RewardEntry, RewardOutcome
from anabranch.router.traffic.grouped_calls import Grouped

logger = logging.getLogger("anabranch.control")

MAX_REMEMBERED = 100_000
"""Decisions of one graph that are remembered."""
REMEMBERED_S = 86_400.0
"""How long they are, in seconds."""
FILLED_S = 10.0
"""Time in which routers tell a new controller what they remember, in seconds."""
MAX_ROWS = 1_000_000
"""Rewards of all graphs whose ids are kept, about."""
KEPT_S = 30 * 86_400.0
"""How long these are, in seconds."""
_PRUNING_S = 10.0
"""Time between two looks for rows that are too many or too old."""

_Taken: TypeAlias = tuple[str, RewardOutcome]
"""The token of the reward that counts for an id, and what it came to."""


class DecisionMemory:
    """The latest decisions of every graph, packed; ``clock`` is monotonic, in seconds."""

    def __init__(
        self, limit: int = MAX_REMEMBERED, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._clock = clock
        self._graphs: dict[str, OrderedDict[str, tuple[float, bytes]]] = {}
        self._filled_at = float("-inf")

    def begin(self) -> None:
        """From now on routers tell what they remember."""
        self._filled_at = self._clock() + FILLED_S

    def remember(self, graph: str, made: Iterable[tuple[str, bytes]]) -> None:
        """Take decisions by their ids; of several with one id, the last."""
        known = self._graphs.setdefault(graph, OrderedDict())
        now = self._clock()
        for id, decision in made:
            known[id] = now, decision
            known.move_to_end(id)
        while len(known) > self._limit or (known and _is_old(known, now)):
            known.popitem(last=False)

    def recall(self, graph: str, ids: Iterable[str]) -> list[bytes | None]:
        """The decisions of these ids; None where one is not known, or TOO_EARLY."""
        known = self._graphs.get(graph, OrderedDict())
        missing = TOO_EARLY if self._clock() < self._filled_at else None
        return [found[1] if (found := known.get(id)) else missing for id in ids]

    def keep(self, graphs: Collection[str]) -> None:
        """Drop what is remembered of other graphs."""
        for graph in self._graphs.keys() - set(graphs):
            del self._graphs[graph]


def _is_old(known: OrderedDict[str, tuple[float, bytes]], now: float) -> bool:
    return now - known[next(iter(known))][0] > REMEMBERED_S


Learn: TypeAlias = Callable[[Connection, str, Sequence[Rewarded]], None]
"""Learns from rewards of a graph, in the transaction that counts them; called in a thread.

Routers, routes and revision of each decision are the graph's; features may be of any length. What
it raises, nothing is counted for.
"""


class RewardCounter:
    """Counts rewards, from each of which all ``learners`` learn.

    ``committed`` is called on the loop once what was learned of some graphs is stored. ``outlines``
    gives the outlines of a graph's revisions, ``clock`` Unix time.
    """

    def __init__(
        self,
        database: Database,
        outlines: Callable[[str], Find],
        learners: Sequence[Learn] = (),
        committed: Callable[[Collection[str]], None] = lambda graphs: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._outlines = outlines
        self._learners = learners
        self._committed = committed
        self._clock = clock
        self._pruned_at = float("-inf")
        self._count = Grouped(self._counted)

    async def count(
        self, graph: str, entries: Sequence[RewardEntry]
    ) -> Sequence[RewardOutcome | RequestError]:
        """Count rewards for a graph's decisions; what comes back is stored for good.

        A decision that cannot be the graph's is answered by an error, InvalidRequest or NotFound.
        Raises Unavailable where the store does not answer, or is another controller's.
        """
        return await self._count((graph, entries))

    async def _counted(
        self, calls: Sequence[tuple[str, Sequence[RewardEntry]]]
    ) -> list[Sequence[RewardOutcome | RequestError]]:
        by_graph: dict[str, list[RewardEntry]] = {}
        for graph, entries in calls:
            by_graph.setdefault(graph, []).extend(entries)
        try:
            found = await asyncio.to_thread(self._stored, by_graph)
        except Unavailable:
            raise
        except Exception:
            logger.exception("rewards for %s are not counted", ", ".join(by_graph))
            raise
        self._committed(by_graph.keys())
        outcomes = {graph: iter(one) for graph, one in found.items()}
        return [[next(outcomes[graph]) for _ in entries] for graph, entries in calls]

    def _stored(
        self, by_graph: Mapping[str, Sequence[RewardEntry]]
    ) -> dict[str, list[RewardOutcome | RequestError]]:
        found = {graph: self._of_graph(graph, entries) for graph, entries in by_graph.items()}
        now = self._clock()
        if now - self._pruned_at >= _PRUNING_S:
            self._pruned_at = now
            with self._database.write() as connection:
                prune(connection, now)
        return found

    def _of_graph(
        self, graph: str, entries: Sequence[RewardEntry]
    ) -> list[RewardOutcome | RequestError]:
        """Count a group in one transaction."""
        find = self._outlines(graph)
        refused = [_refusal(find, entry) for entry in entries]
        sound = [one for one, error in zip(entries, refused, strict=True) if error is None]
        with self._database.write() as connection:
            outcomes = iter(self._of_sound(connection, graph, sound))
        return [next(outcomes) if error is None else error for error in refused]

    def _of_sound(
        self, connection: Connection, graph: str, entries: Sequence[RewardEntry]
    ) -> list[RewardOutcome]:
        now = self._clock()
        keys = [_key(entry.decision.id) for entry in entries]
        taken = _taken(connection, graph, keys)
        fresh: dict[str, RewardEntry] = {}
        for key, entry in zip(keys, entries, strict=True):
            if key not in taken:
                fresh[key] = entry
                taken[key] = entry.token, RewardOutcome(True, entry.reward)
        if fresh:
            rows = [_row(graph, key, entry, now) for key, entry in fresh.items()]
            connection.execute(feedback.insert(), rows)
            rewarded = [Rewarded(one.decision, one.reward, now) for one in fresh.values()]
            for learn in self._learners:
                learn(connection, graph, rewarded)
        # One that was sent again, because its answer was lost, is no second one.
        return [
            taken[key][1]._replace(counted=taken[key][0] == entry.token)
            for key, entry in zip(keys, entries, strict=True)
        ]


def _taken(connection: Connection, graph: str, keys: Sequence[str]) -> dict[str, _Taken]:
    """The rewards that count already, by key."""
    c = feedback.c
    query = sa.select(c.key, c.token, c.reward).where(c.graph == graph, c.key.in_(set(keys)))
    return {
        key: (token, RewardOutcome(True, reward))
        for key, token, reward in connection.execute(query)
    }


def _row(graph: str, key: str, entry: RewardEntry, now: float) -> dict[str, Any]:
    return {"graph": graph, "key": key, "token": entry.token, "reward": entry.reward, "at": now}


def _key(id: str) -> str:
    return blake2b(id.encode(), digest_size=16).hexdigest()


def prune(connection: Connection, now: float, rows: int = MAX_ROWS) -> None:
    """Let go of the oldest rows: those beyond ``rows``, and those before KEPT_S seconds."""
    newest = connection.scalar(sa.select(sa.func.max(feedback.c.number))) or 0
    old = (feedback.c.number <= newest - rows) | (feedback.c.at < now - KEPT_S)
    connection.execute(feedback.delete().where(old))


def _refusal(find: Find, entry: RewardEntry) -> RequestError | None:
    """Return the error of a reward for a decision, which may be made up; None if it can count."""
    decision = entry.decision
    try:
        outline = find(decision.revision)
    except NotFound as error:
        return error
    if outline is None:
        return NotFound(f"revision {decision.revision} does not compile any more")
    return _mistake(outline.signature, decision) or refusal(outline, decision, entry.reward)


def _mistake(signature: Signature, decision: Decision) -> RequestError | None:
    for router, route in decision.path.items():
        routes = signature.routers.get(router)
        if routes is None:
            known = ", ".join(signature.routers) or "none"
            return InvalidRequest(f"there is no router {router!r} (there are: {known})")
        if route not in (*routes, STAND_IN):
            return InvalidRequest(
                f"router {router!r} has no route {route!r} (there are: {', '.join(routes)})"
            )
    strange = next((name for name in decision.features if name not in decision.path), None)
    if strange is not None:
        return InvalidRequest(f"there are features of {strange!r}, which made no choice")
    return None
