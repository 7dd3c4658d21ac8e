"""Endpoints that show the past: numbers of graphs and arms, and looks of rollouts."""

from __future__ import annotations

import asyncio
from typing import Any

from anabranch.control.api.endpoints import (
    GRAPH,
    ApiAnswer,
    ApiCall,
    Guarded,
    Routes,
    answer,
    present,
    views,
    whole_number,
)
from anabranch.control.observe.history import INTERVAL_S, POINTS, Past, TrafficHistory, shown
from anabranch.control.observe.looks import LookHistory
from anabranch.control.store.store import Store

_RECENT = 120
"""Points of all graphs together unless the query says otherwise: ten minutes."""


class HistoryApi:
    """Answers what shows the past.

    | method | path | answers |
    |---|---|---|
    | GET | ``/history?points=120`` | the requests a second of every graph |
    | GET | ``/graphs/<graph>/history?points=1440`` | all numbers of a graph, of arms, and looks |

    ``at`` are Unix times, of which every list of values has as many; null where nothing is known.
    ``now`` is the Unix time by the same clock.
    """

    def __init__(self, store: Store, history: TrafficHistory, looks: LookHistory) -> None:
        self._store = store
        self._history = history
        self._looks = looks
        self.routes: Routes = {
            "/history": {"GET": Guarded("view", self._all, somewhere=True)},
            f"{GRAPH}/history": views(self._show),
        }

    async def _all(self, call: ApiCall) -> ApiAnswer:
        """Answer with the requests a second of every graph."""
        at, rates = self._history.rates(whole_number(call.query, "points", _RECENT, POINTS))
        graphs = {name: shown(values) for name, values in rates.items()}
        head = {"interval": INTERVAL_S, "now": self._history.now(), "at": _times(at)}
        return answer(
            200, {**head, "graphs": {one: graphs[one] for one in graphs if call.may_view(one)}}
        )

    async def _show(self, call: ApiCall) -> ApiAnswer:
        points = whole_number(call.query, "points", POINTS, POINTS)
        await asyncio.to_thread(present, self._store, call.graph)
        past, looks = self._history.past(call.graph, points), self._looks.view(call.graph)
        view = await asyncio.to_thread(_view, past)
        now = self._history.now()
        return answer(200, {"graph": call.graph, "now": now, **view, "looks": looks})


def _view(past: Past) -> dict[str, Any]:
    return {
        "interval": INTERVAL_S,
        "at": _times(past.at),
        "total": {field: shown(values) for field, values in past.total.items()},
        "arms": {
            str(number): {field: shown(values) for field, values in arm.items()}
            for number, arm in past.arms.items()
        },
    }


def _times(at: Any) -> list[float]:
    return [round(one, 1) for one in at]
