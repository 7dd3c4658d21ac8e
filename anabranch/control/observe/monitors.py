"""Results of monitors: the latest of each revision, the windows that rollouts judge by, events.

Kept in memory: a controller that starts anew is told again within seconds, of the latest window.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anabranch.control.lifecycle.analysis import DriftScore
from anabranch.control.store.store import Store
from anabranch.control.timestamps import timestamp_if_any
from anabranch.graph.monitor.windows import Result, Turn
from anabranch.monitors.base import Feature

MOST_REVISIONS = 64
"""Revisions of a graph that are remembered."""
MOST_WINDOWS = 256
"""Windows of a revision that are remembered for rollouts."""
SHOWN = 64
"""Features of a monitor that are shown, those with the highest scores first."""
NAMED = 5
"""Features that an event names."""


@dataclass(frozen=True)
class _Window:
    at: float
    """When it was told of, in Unix seconds by the clock here."""
    rows: int
    score: float


@dataclass
class _Told:
    """The results and the windows that the monitors of one revision have told."""

    results: Mapping[str, Result] = field(default_factory=dict)
    windows: deque[_Window] = field(default_factory=lambda: deque(maxlen=MOST_WINDOWS))


class Monitors:
    """The monitors of all graphs. On one loop; ``clock`` gives Unix time."""

    def __init__(self, events: Store, clock: Callable[[], float] = time.time) -> None:
        self._events = events
        self._clock = clock
        self._told: dict[str, dict[int, _Told]] = {}

    async def take(
        self, graph: str, revision: int, results: Sequence[Result], turns: Sequence[Turn]
    ) -> None:
        """A revision tells what it knows, and what is to become events; raises where the store
        does not take these.
        """
        revisions = self._told.setdefault(graph, {})
        told = revisions.setdefault(revision, _Told())
        if len(revisions) > MOST_REVISIONS:
            del revisions[min(revisions)]
        for result in results:
            before = told.results.get(result.monitor)
            if before is not None and before.windows < result.windows and result.score is not None:
                told.windows.append(_Window(self._clock(), result.window, result.score))
            elif before is None and result.score is not None and result.at is not None:
                # Told to a controller before this one, or while the first window was full already.
                told.windows.append(_Window(result.at, result.window, result.score))
        told.results = {result.monitor: result for result in results}
        for turn in turns:
            kind = "drift_began" if turn.began else "drift_ended"
            await asyncio.to_thread(
                self._events.log, graph, revision, kind, said(turn), _evidence(turn)
            )

    def drift(self, graph: str, revision: int, since: float) -> DriftScore:
        """The highest score of the windows of a revision since a Unix time."""
        told = self._told.get(graph, {}).get(revision, _Told())
        found = [window for window in told.windows if window.at > since]
        score = max((window.score for window in found), default=None)
        return DriftScore(score, sum(window.rows for window in found))

    def keep(self, graphs: Collection[str]) -> None:
        """Forget all but these graphs."""
        for graph in self._told.keys() - set(graphs):
            del self._told[graph]

    def drifting(self, graph: str, revisions: Collection[int]) -> list[str] | None:
        """The names of these revisions' monitors that tell of drift; None without monitors."""
        told = self._told.get(graph, {})
        results = [
            result
            for number in sorted(told.keys() & set(revisions))
            for result in told[number].results.values()
        ]
        if not results:
            return None
        return sorted({one.monitor for one in results if _state(one) == "drift"})

    def view(self, graph: str, revisions: Collection[int]) -> list[dict[str, Any]]:
        """Every monitor of these revisions of a graph, those of the newest first."""
        told = self._told.get(graph, {})
        return [
            {"revision": number, **_view(result)}
            for number in sorted(told, reverse=True)
            if number in revisions
            for result in told[number].results.values()
        ]


def said(turn: Turn) -> str:
    """Return a turn in words: the monitor, its score, and the features that have drifted."""
    what = "drift began" if turn.began else "drift ended"
    text = f"{what}: monitor {turn.monitor}, score {turn.score:.3g}"
    named = [_named(feature) for feature in turn.features[:NAMED]]
    more = len(turn.features) - len(named)
    if more > 0:
        named.append(f"and {more} more")
    return f"{text}: {', '.join(named)}" if named else text


def _named(feature: Feature) -> str:
    numbers = ((feature.statistic, "statistic"), (feature.p_value, "p"))
    inner = ", ".join(f"{name} {value:.3g}" for value, name in numbers if value is not None)
    return f"{feature.name} ({inner})" if inner else feature.name


def _evidence(turn: Turn) -> dict[str, Any]:
    return {
        "monitor": turn.monitor,
        "score": turn.score,
        "at": turn.at,
        "features": [_feature(feature) for feature in turn.features[:SHOWN]],
    }


def _view(result: Result) -> dict[str, Any]:
    return {
        "monitor": result.monitor,
        "method": result.method,
        "watches": list(result.watches),
        "state": _state(result),
        "score": result.score,
        "drift_since": timestamp_if_any(result.drift_since),
        "window": result.window,
        "windows": result.windows,
        "rows": result.rows,
        "gathered": result.gathered,
        "wanted": result.wanted,
        "outliers": result.outliers,
        "outlier_share": result.outliers / result.rows if result.rows else None,
        "alarms": result.alarms,
        "errors": result.errors,
        "error": result.error,
        "looked_at": timestamp_if_any(result.at),
        "features": [_feature(feature) for feature in result.features[:SHOWN]],
    }


def _state(result: Result) -> str:
    """``failing``, ``drift``, ``gathering`` a reference, ``waiting`` for a window, or ``ok``."""
    if result.error:
        return "failing"
    if result.drift_since is not None:
        return "drift"
    if not result.has_reference:
        return "gathering"
    return "waiting" if result.at is None else "ok"


def _feature(feature: Feature) -> dict[str, Any]:
    numbers = {
        "score": feature.score,
        "statistic": feature.statistic,
        "p_value": feature.p_value,
        **feature.summary,
        **{f"p{round(100 * share):02}": value for share, value in feature.quantiles.items()},
    }
    known = {name: value for name, value in numbers.items() if value is not None}
    return {"name": feature.name} | {n: v for n, v in known.items() if math.isfinite(v)}
