"""Limits of callers at one graph: how much each may ask of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite

from anabranch.access.roles import covers


@dataclass(frozen=True)
class CallerLimits:
    """Limits of one caller at one graph, at all its routers together; None is no limit.

    Raises ValueError for a limit that lets nothing through.
    """

    rate: float | None = None
    """Requests a second."""
    burst: int | None = None
    """Requests that may come at once; if left out, as many as in a second, and at least one."""
    in_flight: int | None = None
    """Requests under way."""
    tokens_per_minute: int | None = None
    """Parts of the answers that stream, each of which counts as one token, a minute."""

    def __post_init__(self) -> None:
        if self.rate is not None and not (isfinite(self.rate) and self.rate > 0):
            raise ValueError(f"rate must be above 0 requests a second, not {self.rate}")
        for name in ("burst", "in_flight", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if self.burst is not None and self.rate is None:
            raise ValueError("burst needs a rate")

    @property
    def most_at_once(self) -> float:
        """The burst, given or not; 0 without a rate."""
        return max(1.0, self.rate or 0.0) if self.burst is None else float(self.burst)


NO_LIMITS = CallerLimits()


@dataclass(frozen=True)
class LimitsByCaller:
    """Limits of all callers at one graph, each by itself."""

    named: Mapping[str, CallerLimits] = field(default_factory=dict)
    """By the name of the caller's identity, of whatever kind that is."""
    others: CallerLimits = NO_LIMITS
    """Of each caller that is not named; "" is the name of all who have none."""

    def of(self, caller: str) -> CallerLimits:
        """Return the limits of a caller."""
        return self.named.get(caller, self.others)


@dataclass(frozen=True)
class LimitRule:
    """Limits of one caller, or of each that no rule names, at each graph that fits a pattern."""

    caller: str | None
    graphs: str
    limits: CallerLimits


def limits_of(rules: Iterable[LimitRule], graph: str) -> LimitsByCaller | None:
    """Return the limits at one graph: for each caller those of the first rule that fits."""
    named: dict[str, CallerLimits] = {}
    others: CallerLimits | None = None
    for rule in rules:
        if not covers(rule.graphs, graph):
            continue
        if rule.caller is None:
            others = others or rule.limits
        else:
            named.setdefault(rule.caller, rule.limits)
    return None if others is None and not named else LimitsByCaller(named, others or NO_LIMITS)
