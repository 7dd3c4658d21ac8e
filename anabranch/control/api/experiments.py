"""The control API's endpoint that shows which routes of a graph's router nodes are better.

| method | path below ``/graphs/<graph>`` | answers |
|---|---|---|
| GET | ``/experiments?error=0.05`` | every router node of the revisions that are up |

Each route has its requests, the failed calls of its node and the mean time of successful ones in
seconds, as the metrics count them; and its rewards, of the revision. Routes of a ``weighted``
router node are compared with the first one: the difference of the mean rewards, an always valid
p-value, and whether the difference is significant, so that all comparisons of one router node
together err with at most the probability ``error``, over all looks.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from anabranch.control.api.endpoints import (
    GRAPH,
    ApiAnswer,
    ApiCall,
    Routes,
    answer,
    present,
    views,
)
from anabranch.control.lifecycle.significance import Observations
from anabranch.control.store.store import Store
from anabranch.control.timestamps import timestamp
from anabranch.control.traffic.experiments import Experiment, Experiments
from anabranch.control.traffic.tables import Catalogue
from anabranch.errors import InvalidRequest
from anabranch.specs.excerpts import shown
from anabranch.telemetry.definitions import NODE_DURATION, NODE_ERRORS, ROUTE_REQUESTS
from anabranch.telemetry.registry import Observed, Snapshot

ERROR = 0.05
"""The probability of an error that is stated unless the query says otherwise."""
_CHOSEN = "routes are chosen by the request or by earlier rewards, so these are not compared"
_OUTSIDE = "rewards must be from 0 to 1 to be compared; {} were not"


@dataclass(eq=False, repr=False)
class ExperimentApi:
    """Answers what shows experiments."""

    _store: Store
    _catalogue: Catalogue
    _experiments: Experiments
    _sums: Callable[[], Snapshot]
    """Returns the metrics of all processes."""

    def __post_init__(self) -> None:
        self.routes: Routes = {f"{GRAPH}/experiments": views(self._show)}

    async def _show(self, call: ApiCall) -> ApiAnswer:
        error = _error(call.query.get("error"))
        sums = self._sums()
        return answer(200, await asyncio.to_thread(self._view, call.graph, error, sums))

    def _view(self, graph: str, error: float, sums: Snapshot) -> dict[str, Any]:
        now = present(self._store, graph).situation
        find, known = self._catalogue.of(graph), self._experiments.of(graph)
        found = []
        for number in sorted(now.members, reverse=True):
            outline = find(number)
            for router, routes in (outline.signature.routers if outline else {}).items():
                experiment, at = known.get((number, router), (Experiment(), None))
                is_split = outline is not None and router in outline.splits
                found.append(
                    {
                        "router": router,
                        "revision": number,
                        "updated_at": None if at is None else timestamp(at),
                        "note": _note(experiment, is_split),
                        "routes": [
                            {
                                "route": route,
                                **_counts(sums, (graph, str(number)), router, route),
                                **_rewards(experiment, route, error / max(1, len(routes) - 1)),
                            }
                            for route in routes
                        ],
                    }
                )
        return {"graph": graph, "error": error, "experiments": found}


def _error(text: str | None) -> float:
    try:
        error = ERROR if text is None else float(text)
    except ValueError:
        error = math.nan
    if not 0 < error < 1:
        raise InvalidRequest(f"error must be a number between 0 and 1, not {shown(text)}")
    return error


def _note(experiment: Experiment, is_split: bool) -> str | None:
    """Return why routes are not compared; None where they are."""
    if not is_split:
        return _CHOSEN
    return _OUTSIDE.format(experiment.outside) if experiment.outside else None


def _counts(sums: Snapshot, arm: tuple[str, str], router: str, route: str) -> dict[str, Any]:
    requests = sums.get(ROUTE_REQUESTS.name, {}).get((*arm, router, route), 0)
    duration = sums.get(NODE_DURATION.name, {}).get((*arm, route))
    errors: Mapping[tuple[str, ...], Any] = sums.get(NODE_ERRORS.name, {})
    failures = sum(value for labels, value in errors.items() if labels[:3] == (*arm, route))
    seconds = None
    if isinstance(duration, Observed) and duration.number:
        seconds = duration.total / duration.number
    return {"requests": requests, "failures": failures, "seconds": seconds}


def _rewards(experiment: Experiment, route: str, error: float) -> dict[str, Any]:
    sums, evidence = experiment.sums.get(route, Observations()), experiment.evidence.get(route)
    is_compared = evidence is not None and not experiment.outside
    return {
        "rewards": sums.number,
        "mean": sums.mean,
        "difference": evidence.all.difference if evidence and is_compared else None,
        "p_value": evidence.p_value if evidence and is_compared else None,
        "significant": evidence.rejects(error) if evidence and is_compared else None,
    }
