"""Ray's dashboard agent, without the metrics of processes that have ended.

The first argument is the path of Ray's own script; the others are those of that script. Ray's agent
gives gauges and counters anew to OpenTelemetry at each scrape. OpenTelemetry keeps every set of
labels that it was ever given, and exports all that are new beyond 2,000 of a metric as one
(``otel_metric_overflow``). Here it keeps none between scrapes. Ray drops the gauges of processes
that have ended only when somebody scrapes; here they go whether somebody does or not.
"""

from __future__ import annotations

import logging
import os
import runpy
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.metrics import ObservableCounter, ObservableGauge, ObservableUpDownCounter
from opentelemetry.sdk.metrics._internal._view_instrument_match import _ViewInstrumentMatch

PERIOD_S = 5.0
"""Time between two looks for gauges that are too old, in seconds."""
_OBSERVABLE = (ObservableCounter, ObservableGauge, ObservableUpDownCounter)

logger = logging.getLogger("anabranch.agent")


def main() -> None:
    """Run Ray's script in this process."""
    keep_nothing_between_scrapes()
    threading.Thread(target=_drop, args=(recorders(),), name="gauges", daemon=True).start()
    del sys.argv[0]
    # As if Python had been given Ray's script.
    sys.path[0] = os.path.dirname(sys.argv[0])  # noqa: PTH120
    runpy.run_path(sys.argv[0], run_name="__main__")


def keep_nothing_between_scrapes() -> None:
    """Have OpenTelemetry's SDK forget what it can ask for again."""
    collect = _ViewInstrumentMatch.collect

    def collect_all(match: _ViewInstrumentMatch, *arguments: Any) -> Sequence[Any] | None:
        points = collect(match, *arguments)
        if isinstance(match._instrument, _OBSERVABLE):
            match._attributes_aggregation.clear()
        return points

    setattr(_ViewInstrumentMatch, "collect", collect_all)  # noqa: B010


def recorders() -> list[Any]:
    """Return a list to which Ray's recorders of metrics come as this process makes them."""
    from ray._private.telemetry.open_telemetry_metric_recorder import OpenTelemetryMetricRecorder

    found: list[Any] = []
    make = OpenTelemetryMetricRecorder.__init__

    def known(recorder: Any, *arguments: Any, **options: Any) -> None:
        make(recorder, *arguments, **options)
        found.append(recorder)

    setattr(OpenTelemetryMetricRecorder, "__init__", known)  # noqa: B010
    return found


def drop_gauges(recorder: Any, now: float) -> None:
    """Have a recorder forget the gauges that it would not show at ``now``, a monotonic time.

    These are the ones that a scrape then would drop (``_create_observable_callback`` of
    ray/_private/telemetry/open_telemetry_metric_recorder.py), at a hundredth of its cost.
    """
    oldest = now - recorder._gauge_metric_ttl_s
    with recorder._lock:
        gauges = recorder._gauge_observations_by_name
        for name, found in gauges.items():
            gauges[name] = {tags: one for tags, one in found.items() if one[1] >= oldest}


def _drop(recorders: Sequence[Any]) -> None:
    while True:
        time.sleep(PERIOD_S)
        try:
            for recorder in tuple(recorders):
                drop_gauges(recorder, time.monotonic())
        except Exception:
            logger.exception("the gauges of processes that have ended stay")


if __name__ == "__main__":
    main()
