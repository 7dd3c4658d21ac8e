"""Fewest replicas that the known peaks of a schedule ask for at a time. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim

from anabranch.specs.models import Peak

LEAD_S = 30.0
"""How long before a peak its replicas are started, in seconds: models take their time to load."""


def floor(peaks: Iterable[Peak], now: float) -> int:
    """The fewest replicas at the Unix time ``now``: the most that any peak asks for, or 0.

    A peak asks from ``LEAD_S`` seconds before each of its starts until ``for`` after it. Its starts
    are those of the clock on the wall of its time zone, its length is in real seconds: on the day
    on which clocks change too.
    """
    return max((peak.min for peak in peaks if _asks(peak, now)), default=0)


def _asks(peak: Peak, now: float) -> bool:
    started = _last_start(peak.cron, peak.timezone, int(now + LEAD_S))
    return started is not None and now < started + peak.for_.seconds


@lru_cache(1024)
def _last_start(cron: str, timezone: str, at: int) -> float | None:
    """The latest start at or before the Unix time ``at``; None if there has been none for long."""
    # Backwards, the search begins with the whole minute before the time that it is given.
    after = datetime.fromtimestamp(at, ZoneInfo(timezone)) + timedelta(minutes=1)
    found = (start.timestamp() for start in CronSim(cron, after, reverse=True))
    return next((start for start in found if start <= at), None)
