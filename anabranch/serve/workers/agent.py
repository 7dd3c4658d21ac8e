"""Ray's dashboard agent, without the metrics of processes that have ended.

The first argument is the path of Ray's own script; the others are those of that script. Ray's agent
gives gauges and counters anew to OpenTelemetry at each scrape. OpenTelemetry keeps every set of
labels that it was ever given, and exports all that are new beyond 2,000 of a metric as one
(``otel_metric_overflow``). Here it keeps none between scrapes. Ray drops the gauges of processes
that have ended only when somebody scrapes, so the agent does that itself too.
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
from prometheus_client import REGISTRY

PERIOD_S = 60.0
"""Time between two scrapes of its own, in seconds."""
_OBSERVABLE = (ObservableCounter, ObservableGauge, ObservableUpDownCounter)

logger = logging.getLogger("anabranch.agent")


def main() -> None:
    """Run Ray's script in this process."""
    keep_nothing_between_scrapes()
    threading.Thread(target=_scrape, name="scrape", daemon=True).start()
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


def _scrape() -> None:
    while True:
        time.sleep(PERIOD_S)
        try:
            for _ in REGISTRY.collect():
                pass
        except Exception:
            logger.exception("the metrics cannot be collected")


if __name__ == "__main__":
    main()
