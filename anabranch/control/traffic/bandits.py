"""States of learning routers: kept in the store, published to all replicas.

A state changes in the transaction that counts the rewards, so one that is acknowledged is learned,
and learned once. Replicas poll for the states; those of a graph go out at most four times a second.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from anabranch.components.bandits import State
from anabranch.control.lifecycle.operations import GONE, Note
from anabranch.control.store import event_log
from anabranch.control.store.database import Database, put_row
from anabranch.control.store.schema import bandits, graphs
from anabranch.control.traffic.tables import Find, Outline
from anabranch.control.traffic.topic import PATIENCE_S, Topic, first_version
from anabranch.errors import InvalidRequest
from anabranch.graph.plan.learners import LearningRouter
from anabranch.router.traffic.decisions import Decision, Rewarded
from anabranch.router.traffic.learned_state import Lessons

logger = logging.getLogger("anabranch.control")

PAUSE_S = 0.25
"""Time between two versions of a graph's lessons."""

Key: TypeAlias = tuple[str, str]
"""A router, and the key of its state."""
Row: TypeAlias = tuple[str, float]
"""A state as JSON, and when it last changed, as a Unix time."""


def refusal(outline: Outline, decision: Decision, reward: float) -> InvalidRequest | None:
    """Why a router on the path of a decision could not learn from a reward for it."""
    for router in decision.picks:
        learner = outline.learners.get(router)
        wrong = learner and learner.refusal(reward, decision.features.get(router, ()))
        if wrong:
            return InvalidRequest(f"router {router!r} cannot learn from this: {wrong}")
    return None


@dataclass
class _Told:
    """The lessons of one graph; they are read once somebody polls."""

    topic: Topic[Lessons | None]
    told_at: float = float("-inf")
    timer: asyncio.TimerHandle | None = None
    """Of the next version, where there is to be one."""
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)


class Bandits:
    """The states of all graphs. Only asyncio, on one loop, but for what says otherwise.

    ``outlines`` gives the outlines of a graph's revisions, ``clock`` Unix time; ``patience`` is in
    seconds.
    """

    def __init__(
        self,
        database: Database,
        outlines: Callable[[str], Find],
        clock: Callable[[], float] = time.time,
        patience: float = PATIENCE_S,
    ) -> None:
        self._database = database
        self._outlines = outlines
        self._clock = clock
        self._patience = patience
        self._told: dict[str, _Told] = {}
        self._learning: set[str] = set()
        """Graphs of which something was learned that may not be committed yet."""
        self._first = first_version()

    def learn(self, connection: Connection, graph: str, counted: Sequence[Rewarded]) -> None:
        """Learn from rewards, in the transaction that counts them; called in a thread."""
        lessons = _by_key(self._outlines(graph), counted)
        if not lessons or is_gone(connection, graph):
            return
        known = _load(connection, graph, {router for router, _ in lessons})
        for key, taught in lessons.items():
            state = read_state(key, taught[0][0], known.get(key))
            for learner, one in taught:
                state = _after(state, key[0], learner, one)
            place = {"graph": graph, "router": key[0], "key": key[1]}
            values = {"state": state.to_json(), "updated_at": self._clock()}
            put_row(connection, bandits, place, values)
        self._learning.add(graph)

    def committed(self, graphs: Collection[str]) -> None:
        """Tell of what was learned of these graphs, now or some time after the last version."""
        for graph in self._learning.intersection(graphs):
            self._learning.discard(graph)
            self._publish(graph)

    async def learned(self, graph: str, version: int) -> Lessons:
        """A replica asks for lessons of another version than it has; 0 stands for none yet.

        After the patience the answer is the same again. Raises Unavailable where the store does
        not answer.
        """
        told = self._of(graph)
        topic = told.topic
        await topic.next(version)
        async with told.reading:
            if topic.value is not None:
                return topic.value
            now = topic.version  # what is read may be newer, but never older
            rows = await asyncio.to_thread(self.states, graph)
            lessons = Lessons(now, {key: text for key, (text, _) in rows.items()})
            if topic.version == now:
                topic.value = lessons
            return lessons

    def states(self, graph: str) -> dict[Key, Row]:
        """Every state of a graph as JSON, and when it last changed; from any thread."""
        with self._database.read() as connection:
            return _load(connection, graph)

    async def reset(self, graph: str, router: str | None) -> None:
        """Forget what a router has learned, or all of them, and say so in the log of events."""
        await asyncio.to_thread(self._forget, graph, router, True)
        self._publish(graph)

    async def drop(self, graph: str) -> None:
        """A graph is deleted."""
        await asyncio.to_thread(self._forget, graph, None, False)
        self._publish(graph)

    def _forget(self, graph: str, router: str | None, told: bool) -> None:
        rows = bandits.delete().where(bandits.c.graph == graph)
        with self._database.write() as connection:
            connection.execute(rows if router is None else rows.where(bandits.c.router == router))
            if told:
                who = "all routers have" if router is None else f"router {router!r} has"
                note = Note(None, "bandit_reset", f"what {who} learned was forgotten")
                event_log.append(connection, graph, note)

    def _publish(self, graph: str) -> None:
        loop, told = asyncio.get_running_loop(), self._of(graph)
        if told.timer is None:
            wait = max(0.0, told.told_at + PAUSE_S - loop.time())
            told.timer = loop.call_later(wait, self._tell, told)

    def _tell(self, told: _Told) -> None:
        told.timer = None
        told.told_at = asyncio.get_running_loop().time()
        told.topic.put(told.topic.version + 1, None)

    def _of(self, graph: str) -> _Told:
        return self._told.setdefault(graph, _Told(Topic(self._first, None, self._patience)))


def _by_key(
    find: Find, counted: Iterable[Rewarded]
) -> dict[Key, list[tuple[LearningRouter, Rewarded]]]:
    """The rewards that each state is to learn from, in their order."""
    found: dict[Key, list[tuple[LearningRouter, Rewarded]]] = {}
    for one in counted:
        outline = find(one.decision.revision)
        known = {} if outline is None else outline.learners
        for router in one.decision.picks:
            learner = known.get(router)
            if learner is not None:
                found.setdefault((router, learner.key), []).append((learner, one))
    return found


def _after(state: State, router: str, learner: LearningRouter, one: Rewarded) -> State:
    features = one.decision.features.get(router, ())
    return learner.bandit.after(state, one.decision.path[router], one.reward, features)


def read_state(key: Key, learner: LearningRouter, row: Row | None) -> State:
    """Return the learned state; empty where it cannot be read, as after a downgrade."""
    if row is None:
        return learner.empty
    try:
        return learner.read(row[0])
    except ValueError as error:
        logger.error("what router %r has learned cannot be read: %s", key[0], error)
        return learner.empty


def is_gone(connection: Connection, graph: str) -> bool:
    """Return whether a graph is deleted: what comes late must not be there when it comes back."""
    state = sa.select(graphs.c.state).where(graphs.c.name == graph)
    return connection.scalar(state) in GONE


def _load(
    connection: Connection, graph: str, routers: Collection[str] | None = None
) -> dict[Key, Row]:
    """The states of a graph; those of some routers are held until the transaction ends."""
    c = bandits.c
    query = sa.select(c.router, c.key, c.state, c.updated_at).where(c.graph == graph)
    if routers is not None:
        query = query.where(c.router.in_(routers)).with_for_update()
    return {(router, key): (state, at) for router, key, state, at in connection.execute(query)}
