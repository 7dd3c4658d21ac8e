"""JSON of the control API about arms, mirrors and rollouts, with their measurements.

Times of day are ISO 8601 in UTC, latencies are in seconds, ``share`` and ``percent`` in percent;
rates and agreement lie between 0 and 1. What has no samples is null.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from anabranch.control.lifecycle.operations import Situation
from anabranch.control.lifecycle.rollouts import RolloutState
from anabranch.control.store.store import Stored
from anabranch.control.timestamps import timestamp_if_any
from anabranch.router.measure.tally import Histogram, MirrorTally, Report, Rewards, Tally

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def traffic_view(stored: Stored) -> dict[str, Any]:
    """Where the requests of a graph go."""
    now = stored.situation
    return {
        "graph": now.graph,
        "generation": stored.generation,
        "live": now.stable,
        "weights": _named(now.weights),
        "mirrors": _named(now.mirrors),
    }


def _named(shares: Mapping[int, float]) -> dict[str, float]:
    return {str(number): share for number, share in sorted(shares.items())}


def arms_view(
    now: Situation, recent: Report, seconds: float, totals: Report
) -> list[dict[str, Any]]:
    """Every arm with its part in the traffic, and how it did in the last ``seconds``.

    Its rewards are those of all the time: they come late.
    """
    total = math.fsum(now.weights.values())
    return [
        {
            "revision": number,
            "state": _state(now, number),
            "weight": weight,
            "share": 100 * weight / total if total else 0.0,
            **_rates(recent.arm(number), seconds),
            "feedback": _feedback(totals.arm(number)),
        }
        for number, weight in sorted(now.weights.items())
    ]


def _rates(tally: Tally, seconds: float) -> dict[str, Any]:
    return {
        "requests_per_second": _ratio(tally.requests, seconds),
        "error_rate": _ratio(tally.errors, tally.requests),
        "latency": _quantiles(tally.latency),
    }


def _feedback(tally: Tally) -> dict[str, Any]:
    """Return the rewards of an arm's answers, and of each route that led to them."""
    routes = [
        {"router": router, "route": route, **_rewards(found)}
        for (router, route), found in sorted(tally.routes.items())
    ]
    return {**_rewards(tally.rewards), "routes": routes}


def _rewards(found: Rewards) -> dict[str, Any]:
    """Numbers of rewards and of rows with a truth; means of both, null where there are none."""
    return {
        "rewards": found.count,
        "reward": found.mean,
        "reward_error": found.error,
        "judged": found.judged,
        "accuracy": found.accuracy,
    }


def mirrors_view(now: Situation, recent: Report, seconds: float) -> list[dict[str, Any]]:
    """Every mirror with how many copies it got in the last ``seconds``, and what came of them."""
    return [
        {
            "revision": number,
            "state": _state(now, number),
            "percent": percent,
            "sent_per_second": _ratio(tally.sent, seconds),
            "dropped_per_second": _ratio(tally.dropped, seconds),
            "agreement": _ratio(tally.agreed, tally.compared),
            "error_rate": _error_rate(tally),
        }
        for number, percent in sorted(now.mirrors.items())
        for tally in [recent.mirror(number)]
    ]


def compare_view(now: Situation, totals: Report) -> dict[str, Any]:
    """Return the comparison of each mirror's copies with the stable revision, since it began."""
    return {"graph": now.graph, "live": now.stable, "mirrors": list(_compared(now, totals))}


def _compared(now: Situation, totals: Report) -> Iterator[dict[str, Any]]:
    """The mirrors, and those that have ended but are still up."""
    ended = {number for number in totals.mirrors if number in now.up and number != now.stable}
    for number in sorted(now.mirrors.keys() | ended):
        tally = totals.mirror(number)
        copies, primary = _quantiles(tally.latency), _quantiles(tally.primary)
        yield {
            "revision": number,
            "state": _state(now, number),
            "percent": now.mirrors.get(number, 0.0),
            "selected": tally.selected,
            "sent": tally.sent,
            "dropped": tally.dropped,
            "pending": tally.pending,
            "compared": tally.compared,
            "agreed": tally.agreed,
            "close": tally.close,
            "agreement": _ratio(tally.agreed, tally.compared),
            "errors": tally.errors,
            "error_rate": _error_rate(tally),
            "kinds": dict(tally.kinds),
            "latency": copies,
            "primary_latency": primary,
            "difference": {name: _minus(copies[name], primary[name]) for name in QUANTILES},
        }


def rollout_view(state: RolloutState) -> dict[str, Any]:
    """Where a rollout stands; ``step`` counts from 1.

    ``measurements`` are those of the last look, also in a step before, and ``verdict`` is of this
    step alone. ``next_look`` is when the metrics are looked at again, and ``held_until`` when the
    step has lasted long enough; null where nothing is to come, or ``resume`` has to.
    ``waiting_since`` is when looks began to be inconclusive, null while they are not. ``approval``
    is the role that the rollout waits for, and the actor that may not give it; null while it waits
    for none.
    """
    plan = state.plan
    return {
        "revision": state.revision,
        "phase": state.phase,
        "paused_by": state.paused_by,
        "paused_at": timestamp_if_any(state.paused_at),
        "approval": _approval(state),
        "reason": state.reason,
        "step": state.step + 1,
        "steps": list(plan.steps),
        "weight": state.weight,
        "verdict": state.verdict,
        "measurements": [asdict(one) for one in state.found],
        "failures": dict(state.failures),
        "errors": dict(state.errors),
        "waiting_since": timestamp_if_any(state.waiting_since if state.active else None),
        "next_look": timestamp_if_any(_next_look(state)),
        "held_until": timestamp_if_any(_held_until(state)),
        "plan": plan.model_dump(mode="json", exclude_defaults=True),
    }


def _approval(state: RolloutState) -> dict[str, str | None] | None:
    wanted = state.plan.approve
    if wanted is None or state.paused_by != "approval":
        return None
    return {
        "role": wanted.role,
        "other_than": state.author if wanted.other_than_author else None,
    }


def _next_look(state: RolloutState) -> float | None:
    analysis = state.plan.analysis
    if analysis is None or not state.active:
        return None
    return state.looked_at + analysis.interval.seconds


def _held_until(state: RolloutState) -> float | None:
    if state.phase != "running" or state.hold is None or state.waiting_since is not None:
        return None
    return state.since + max(0.0, state.hold - state.held)


def _state(now: Situation, number: int) -> str | None:
    member = now.members.get(number)
    return None if member is None else member.state


def _error_rate(tally: MirrorTally) -> float | None:
    return _ratio(tally.errors, tally.compared + tally.errors)


def _quantiles(times: Histogram) -> dict[str, float | None]:
    return {name: times.quantile(share) for name, share in QUANTILES.items()}


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
