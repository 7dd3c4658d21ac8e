"""The load that graphs put on shared models, from the metrics of all processes."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from anabranch.control.tasks import WokenLoop
from anabranch.telemetry import definitions
from anabranch.telemetry.registry import Observed, Snapshot

INTERVAL_S = 5.0
"""Seconds between two looks: rates are of the time between the last two."""
METRICS = frozenset(
    metric.name
    for metric in (
        definitions.MODEL_REQUESTS,
        definitions.MODEL_ERRORS,
        definitions.MODEL_DURATION,
        definitions.NODE_IN_FLIGHT,
    )
)


class UserLoad(NamedTuple):
    """Calls of one graph to one model: all, the failed ones, and a second lately.

    ``seconds`` is the mean time of a call that was answered; None before the first.
    """

    requests: int
    errors: int
    per_second: float
    seconds: float | None


class ModelLoad(WokenLoop[str]):
    """The load of all shared models, whose names ``models`` gives.

    For one thread; ``clock`` is monotonic, in seconds.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        models: Callable[[], Collection[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._snapshot = snapshot
        self._models = models
        self._clock = clock
        self._before: tuple[float, Snapshot] = (clock(), {})
        self._now: tuple[float, Snapshot] = self._before

    async def _round(self) -> float:
        if not await asyncio.to_thread(self._models):
            return math.inf
        self.look()
        await asyncio.sleep(INTERVAL_S)  # also when woken: rates are of that time
        return 0.0

    def look(self) -> None:
        """Take the sums as they are now."""
        self._before, self._now = self._now, (self._clock(), self._snapshot())

    def by_user(self, model: str) -> Mapping[str, UserLoad]:
        """Return the load of each graph that has ever called a model."""
        at, _ = self._now
        snapshot = self._snapshot()
        requests = _by_user(snapshot, definitions.MODEL_REQUESTS.name, model)
        errors = _by_user(snapshot, definitions.MODEL_ERRORS.name, model)
        before_at, before = self._before
        lately = _by_user(self._now[1], definitions.MODEL_REQUESTS.name, model)
        earlier = _by_user(before, definitions.MODEL_REQUESTS.name, model)
        seconds = max(at - before_at, 1e-9)
        return {
            user: UserLoad(
                int(count),
                int(errors.get(user, 0)),
                max(0.0, lately.get(user, 0) - earlier.get(user, 0)) / seconds,
                _mean(_times(snapshot, model, user)),
            )
            for user, count in requests.items()
        }

    def in_flight(self, model: str) -> int:
        """Return how many calls wait or run in the replicas of a model."""
        cells = self._snapshot().get(definitions.NODE_IN_FLIGHT.name, {})
        return int(
            sum(
                value
                for labels, value in cells.items()
                if labels[0] == model and not isinstance(value, Observed)
            )
        )


def _by_user(snapshot: Snapshot, metric: str, model: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for (graph, _, user, *_), value in snapshot.get(metric, {}).items():
        if graph == model and not isinstance(value, Observed):
            found[user] = found.get(user, 0.0) + value
    return found


def _times(snapshot: Snapshot, model: str, user: str) -> list[Observed]:
    cells = snapshot.get(definitions.MODEL_DURATION.name, {})
    return [
        value
        for (graph, _, name), value in cells.items()
        if (graph, name) == (model, user) and isinstance(value, Observed)
    ]


def _mean(times: Iterable[Observed]) -> float | None:
    found = list(times)
    count = sum(one.number for one in found)
    return sum(one.total for one in found) / count if count else None
