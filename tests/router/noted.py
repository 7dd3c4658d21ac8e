"""What a router has noted of a request when it is over, but for times."""

from __future__ import annotations

from typing import Any, NamedTuple

from anabranch.router.traffic.arms import Arms
from anabranch.telemetry.registry import REGISTRY, Observed


class Noted(NamedTuple):
    """What the process has counted, the sums of the arms, and what was decided."""

    counted: dict[Any, float]
    tallied: list[Any]
    decided: list[tuple[str, bytes]]


class Notes:
    """What is noted from now on, by the router of these arms in this process."""

    def __init__(self, arms: Arms) -> None:
        self._arms, self._before, self._sums = arms, counted(), tallied(arms)

    def taken(self) -> Noted:
        grown = {key: value - self._before.get(key, 0) for key, value in counted().items()}
        found = {key: value for key, value in grown.items() if value}
        sums = [one for one in tallied(self._arms) if one not in self._sums]
        return Noted(found, sums, self._arms.made.news(10))


def counted() -> dict[Any, float]:
    """All numbers of the process; of what measures something, how often it did."""
    return {
        (metric, labels): value.number if isinstance(value, Observed) else value
        for metric, cells in REGISTRY.snapshot().items()
        for labels, value in cells.items()
    }


def tallied(arms: Arms) -> list[Any]:
    return [
        (number, one.requests, one.errors, dict(one.kinds), one.latency.total, one.outputs)
        for number, one in arms.report().arms.items()
    ]
