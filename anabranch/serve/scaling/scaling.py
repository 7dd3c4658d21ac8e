"""From ``scaling`` in a spec to what Serve takes: a number of replicas, or autoscaling."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any

from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, BackpressureConfig

from anabranch.router.admission.ceiling import FEWEST
from anabranch.serve.scaling.policy import RequestPolicy
from anabranch.specs.models import Scaling
from anabranch.specs.units import Duration

TARGET_ONGOING = 2.0
"""One request in progress, one that waits for it: what fits a model that takes one at a time."""
UPSCALE_DELAY_S = 2.0
DOWNSCALE_DELAY_S = 60.0
MAX_QUEUE = 256
"""As many as a router takes at a time."""
RETRY_AFTER_S = 1.0
_CALM = (0.5, 3.0)
_WAKEFUL = (0.2, 1.0)
"""Seconds between two reports of a replica or handle, and over which they are averaged. A request
that finds nothing running waits for the next report."""


def is_autoscaled(scaling: Scaling | None) -> bool:
    """Return whether the number of replicas follows the load."""
    return scaling is not None and scaling.max is not None


def fewest(scaling: Scaling | None) -> int:
    """Return how many replicas there are at least, apart from the schedule."""
    if scaling is None:
        return 1
    if scaling.max is None:
        return scaling.replicas or 1
    return 1 if scaling.min is None else scaling.min


def fewest_let_in(scalings: Iterable[Scaling | None]) -> int:
    """Return how many requests a router must let in at least, whatever its graph can answer.

    Autoscaling goes by requests in progress: where a router let in no more than what keeps the
    replicas busy, there would never be more replicas.
    """
    aims = [
        2 * (scaling.target_ongoing or TARGET_ONGOING) * scaling.max
        for scaling in scalings
        if scaling is not None and scaling.max is not None
    ]
    return math.ceil(max(aims, default=FEWEST))


def scaling_options(scaling: Scaling | None, running: int = 0) -> dict[str, Any]:
    """The options of a Serve deployment that say how many replicas it has, and what may wait.

    ``running`` is how many it has now, which a new version starts with. One replica is started in
    any case, so that a deploy shows whether it can.
    """
    options: dict[str, Any] = {
        "backpressure_config": BackpressureConfig(retry_after_s=RETRY_AFTER_S)
    }
    if scaling is None or scaling.max is None:
        options["num_replicas"] = fewest(scaling)
    else:
        options["autoscaling_config"] = _autoscaling(scaling, scaling.max, running)
        options["max_queued_requests"] = MAX_QUEUE
    if scaling is not None and scaling.max_queue is not None:
        options["max_queued_requests"] = scaling.max_queue
    return options


def _autoscaling(scaling: Scaling, most: int, running: int) -> AutoscalingConfig:
    lowest = fewest(scaling)
    interval, window = _CALM if lowest else _WAKEFUL
    schedule = [peak.model_dump(mode="json", by_alias=True) for peak in scaling.schedule or ()]
    policy: Any = AutoscalingPolicy
    with warnings.catch_warnings():
        # What is to replace the interval holds for all deployments alike.
        warnings.filterwarnings("ignore", "The `metrics_interval_s` field", DeprecationWarning)
        return AutoscalingConfig(
            min_replicas=lowest,
            max_replicas=most,
            initial_replicas=min(max(1, lowest, running), most),
            target_ongoing_requests=scaling.target_ongoing or TARGET_ONGOING,
            metrics_interval_s=interval,
            look_back_period_s=window,
            upscale_delay_s=_seconds(scaling.upscale_delay, UPSCALE_DELAY_S),
            downscale_delay_s=_seconds(scaling.downscale_delay, DOWNSCALE_DELAY_S),
            policy=policy(policy_function=RequestPolicy, policy_kwargs={"schedule": schedule}),
        )


def _seconds(duration: Duration | None, default: float) -> float:
    return default if duration is None else duration.seconds
