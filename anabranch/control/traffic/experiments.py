"""Rewards of the routes of router nodes, and the evidence that routes differ: kept in the store.

Both change in the transaction that counts the rewards. They belong to one revision: another one may
have other models behind routes of the same names, or other weights. The routes of a ``weighted``
router node are compared with its first one. A route that is chosen by the request, or by earlier
rewards, gets other requests than the first one, or at other times, so its rewards are not compared.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from anabranch.control.lifecycle.significance import Evidence, Observations, Pair
from anabranch.control.store.database import Database, put_row
from anabranch.control.store.schema import experiments
from anabranch.control.traffic.bandits import is_gone
from anabranch.control.traffic.tables import Find
from anabranch.router.traffic.decisions import Rewarded

Place: TypeAlias = tuple[int, str]
"""A revision, and one of its router nodes."""


@dataclass(frozen=True)
class Experiment:
    """The rewards of one router node in one revision."""

    sums: Mapping[str, Observations] = field(default_factory=dict)
    """Rewards by route."""
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    """Evidence against equal means by route, each minus the first one."""
    outside: int = 0
    """Rewards that are not from 0 to 1; with any, there is no more evidence."""

    def plus(
        self, sums: Mapping[str, Observations], outside: int, routes: Sequence[str]
    ) -> Experiment:
        """Return the experiment after more rewards; ``routes`` are those that are compared."""
        found = replace(self, sums=_added(self.sums, sums), outside=self.outside + outside)
        if found.outside or not routes:
            return found
        none, first = Observations(), sums.get(routes[0], Observations())
        evidence = {
            route: self.evidence.get(route, Evidence()).plus(Pair(sums.get(route, none), first))
            for route in routes[1:]
        }
        return replace(found, evidence=evidence)

    def to_json(self) -> str:
        """Return text that ``from_json`` reads back."""
        evidence = {route: one.to_json() for route, one in self.evidence.items()}
        return json.dumps({"sums": self.sums, "evidence": evidence, "outside": self.outside})

    @classmethod
    def from_json(cls, text: str) -> Experiment:
        """Read what ``to_json`` wrote."""
        data: dict[str, Any] = json.loads(text)
        return cls(
            {route: Observations(*sums) for route, sums in data["sums"].items()},
            {route: Evidence.from_json(one) for route, one in data["evidence"].items()},
            data["outside"],
        )


def _added(
    sums: Mapping[str, Observations], more: Mapping[str, Observations]
) -> dict[str, Observations]:
    return {
        **sums,
        **{route: sums.get(route, Observations()).plus(one) for route, one in more.items()},
    }


class Experiments:
    """The experiments of all graphs. ``clock`` gives Unix time; for any thread."""

    def __init__(
        self,
        database: Database,
        outlines: Callable[[str], Find],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._outlines = outlines
        self._clock = clock

    def learn(self, connection: Connection, graph: str, counted: Sequence[Rewarded]) -> None:
        """Add rewards, in the transaction that counts them."""
        rewards = _by_place(counted)
        if not rewards or is_gone(connection, graph):
            return
        find, c = self._outlines(graph), experiments.c
        for (revision, router), given in rewards.items():
            outline = find(revision)
            routes = outline.splits.get(router, ()) if outline is not None else ()
            place = {"graph": graph, "revision": revision, "router": router}
            text = connection.scalar(sa.select(c.state).filter_by(**place).with_for_update())
            before = Experiment() if text is None else Experiment.from_json(text)
            sums, outside = _summed(given)
            values = {
                "state": before.plus(sums, outside, routes).to_json(),
                "updated_at": self._clock(),
            }
            put_row(connection, experiments, place, values)

    def of(self, graph: str) -> dict[Place, tuple[Experiment, float]]:
        """Return the experiments of a graph, and the Unix time of the last reward of each."""
        c = experiments.c
        query = sa.select(c.revision, c.router, c.state, c.updated_at).where(c.graph == graph)
        with self._database.read() as connection:
            return {
                (revision, router): (Experiment.from_json(state), at)
                for revision, router, state, at in connection.execute(query)
            }

    def drop(self, graph: str) -> None:
        """Forget the experiments of a graph that is deleted."""
        with self._database.write() as connection:
            connection.execute(experiments.delete().where(experiments.c.graph == graph))


def _by_place(counted: Iterable[Rewarded]) -> dict[Place, list[tuple[str, float]]]:
    """Routes and rewards by revision and router node."""
    found: dict[Place, list[tuple[str, float]]] = {}
    for one in counted:
        for router, route in one.decision.picks.items():
            found.setdefault((one.decision.revision, router), []).append((route, one.reward))
    return found


def _summed(given: Sequence[tuple[str, float]]) -> tuple[dict[str, Observations], int]:
    counts = Counter(route for route, _ in given)
    totals: dict[str, float] = dict.fromkeys(counts, 0.0)
    for route, reward in given:
        totals[route] += reward
    outside = sum(not 0.0 <= reward <= 1.0 for _, reward in given)
    return {route: Observations(counts[route], totals[route]) for route in counts}, outside
