"""Scaling policy: decides the number of replicas of a deployment for Serve's autoscaler.

Serve's controller calls the policy ten times a second and applies ``min``, ``max`` and the delays
to its answer. Serve samples how many requests are in progress, so it takes a model that answers
within a millisecond for idle while it is asked all the time. Our replicas count, so that idle means
that nobody asked.

This module is sent to Serve's controller by value.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ray.serve.config import AutoscalingContext

from anabranch.serve.scaling.peaks import floor
from anabranch.specs.models import Peak

ONGOING = "anabranch_ongoing"
"""Name of a replica's metric: its requests in progress."""
REQUESTS = "anabranch_requests"
"""Name of a replica's metric: the requests that it ever had."""


def wanted(
    ongoing: float, target: float, lowest: int, asked: bool, running: int, started: int
) -> float:
    """The replicas for ``ongoing`` requests of which each should have ``target``.

    ``lowest`` is what the schedule asks for, ``asked`` whether there were requests since the last
    decision. With none ``running`` there is nothing to go by, so those ``started`` stay.
    """
    if running == 0:
        return max(started, lowest)
    return max(ongoing / target, lowest, 1 if asked else 0)


class RequestPolicy:
    """Decides for one deployment; ``schedule`` holds peaks as plain data."""

    def __init__(self, schedule: Sequence[Mapping[str, Any]] = ()) -> None:
        self._peaks = tuple(Peak.model_validate(peak) for peak in schedule)

    def __call__(self, context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
        """The replicas to aim at, and what to remember until the next decision."""
        requests = _latest(context.raw_metrics, REQUESTS)
        found = wanted(
            _ongoing(context),
            context.config.get_target_ongoing_requests(),  # type: ignore[union-attr]
            floor(self._peaks, context.current_time or time.time()),
            requests != context.policy_state.get(REQUESTS),
            context.current_num_replicas,
            context.target_num_replicas,
        )
        return found, {REQUESTS: requests}


def _ongoing(context: AutoscalingContext) -> float:
    """Requests that wait or are in progress; Serve sees only those that wait for a replica."""
    ours = (context.aggregated_metrics or {}).get(ONGOING, {}).values()
    return max(context.total_num_requests, context.total_queued_requests + sum(ours))


def _latest(metrics: Mapping[str, Mapping[Any, Any]] | None, name: str) -> float:
    """The sum over the replicas of what each told last."""
    series = (metrics or {}).get(name, {}).values()
    return sum(float(points[-1].value) for points in series if points)
