"""Rules over several fields of ``scaling``, and over its schedule."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from anabranch.errors import Mistake
from anabranch.specs.excerpts import nearest, quoted, quoted_all
from anabranch.specs.unvalidated import Map, as_list, as_map, as_number, some_time, under

_AUTOSCALING = ("min", "max", "target_ongoing", "upscale_delay", "downscale_delay", "schedule")
_SCALING = ("replicas", *_AUTOSCALING)


def scaling_rules(scaling: Map) -> Iterator[Mistake]:
    """Every rule that a ``scaling`` breaks."""
    auto = [field for field in _AUTOSCALING if field in scaling]
    low, high = as_number(scaling.get("min")), as_number(scaling.get("max"))
    if "replicas" in scaling and auto:
        yield ("replicas",), f"a fixed number excludes autoscaling; remove it or {quoted_all(auto)}"
    elif auto and not {"max", "replicas"} & {nearest(f, _SCALING) or f for f in scaling}:
        yield (), "autoscaling needs `max`, the most replicas"
    if low is not None and high is not None and low > high:
        yield ("min",), f"min {low} is more than max {high}"
    for index, peak in enumerate(as_list(scaling.get("schedule"))):
        yield from under(("schedule", index), _peak(as_map(peak), high))


def _peak(peak: Map, high: float | None) -> Iterator[Mistake]:
    cron, timezone, low = peak.get("cron"), peak.get("timezone"), as_number(peak.get("min"))
    if isinstance(cron, str) and (problem := _cron_problem(cron)):
        yield ("cron",), problem
    if isinstance(timezone, str) and not _is_timezone(timezone):
        yield ("timezone",), f"there is no time zone {quoted(timezone)}; write one such as UTC"
    if low is not None and high is not None and low > high:
        yield ("min",), f"min {low} is more than max {high}"
    yield from some_time(peak, "for")


def _cron_problem(cron: str) -> str:
    if len(cron.split()) != 5:
        return (
            "needs five fields: minute, hour, day of the month, month, day of the week, "
            "such as `0 8 * * 1-5`"
        )
    try:
        CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        return f"{error}, in {quoted(cron)}"
    return ""


def _is_timezone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not there, no name of one, or a folder
        return False
    return True
