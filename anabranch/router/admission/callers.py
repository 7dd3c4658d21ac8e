"""The requests of each caller at one router: its limits, and its turns under overload; pure.

A limit holds at all routers of a graph together: each router has an equal share of it. So the rate
and the tokens of a caller are never above the limit, and below it where its requests go to routers
unevenly. Shares of whole numbers are rounded up: a caller may have up to one request less than
there are routers beyond ``in_flight``, and one request at each router at once beyond ``burst``.

Under overload callers take turns: each that asks may have an equal part of what the graph can
answer, before others get what is left.
"""

from __future__ import annotations

from math import ceil
from typing import Self

from anabranch.access.limits import NO_LIMITS, CallerLimits, LimitsByCaller
from anabranch.errors import Quota, TooManyRequests
from anabranch.router.admission.rates import Bucket

MOST_CALLERS = 10_000
"""Callers that are remembered, about; the most idle ones are forgotten."""
ACTIVE_S, COUNTED_S = 1.0, 0.25
"""A caller that has not asked for so many seconds takes no turns; it is looked how many do so
often."""
TURNS, PART = 8.0, 0.9
"""Turns that a caller may have saved, and what part of what a graph can answer goes by turns: with
all of it, a queue would never become shorter."""
_MINUTE = 60.0
_SOME = 1e-9
"""Any token at all."""


class CallerState:
    """The requests of one caller at one router."""

    __slots__ = (
        "_graph", "_limits", "_most", "_name", "_requests", "_turns", "inside", "seen", "tokens"
    )  # fmt: skip

    def __init__(self, graph: str, name: str, now: float) -> None:
        self._graph, self._name = graph, name
        self._limits = NO_LIMITS
        self._requests: Bucket | None = None
        self._most: int | None = None
        self.tokens: Bucket | None = None
        """The tokens that it may still have; None without a limit."""
        self._turns = Bucket(0.0, TURNS, now)
        self.inside = 0
        """Requests in progress."""
        self.seen = now
        """When it last asked."""

    def limit(self, limits: CallerLimits, routers: int, now: float) -> None:
        """Put limits in force, for one of so many routers; what was used stays used."""
        self._limits = limits
        self._most = None if limits.in_flight is None else ceil(limits.in_flight / routers)
        size = max(1.0, limits.most_at_once / routers)
        self._requests = _renewed(self._requests, limits.rate, size, routers, now)
        minute = limits.tokens_per_minute
        rate = None if minute is None else minute / _MINUTE
        self.tokens = _renewed(self.tokens, rate, (minute or 0) / routers, routers, now)

    def check(self, now: float) -> None:
        """Raise TooManyRequests if another request would be over a limit."""
        limits = self._limits
        if self._most is not None and self.inside >= self._most:
            raise self._refusal(f"{limits.in_flight} requests under way", 1.0)
        if self._requests is not None and (wait := self._requests.wait(now, 1.0)):
            size = limits.most_at_once
            window = size / (limits.rate or size)
            text = f"{limits.rate:g} requests a second, {size:g} at once"
            raise self._refusal(text, wait, size, window)
        if self.tokens is not None and (wait := self.tokens.wait(now, _SOME)):
            most = limits.tokens_per_minute or 0
            raise self._refusal(f"{most} tokens a minute", wait, most, _MINUTE)

    def has_turn(self, now: float, rate: float) -> bool:
        """Return whether it is its turn, where it may have ``rate`` turns a second."""
        self._turns.resize(rate, TURNS, now)
        return self._turns.level(now) >= 1.0

    def take_turn(self, now: float) -> None:
        """Note a request that is let in under overload, by a turn or because there was room."""
        self._turns.take(now, min(1.0, self._turns.level(now)))

    def begin(self, now: float) -> Self:
        """Note a request that is let in; it is over at the end of a ``with``."""
        self.inside += 1
        if self._requests is not None:
            self._requests.take(now)
        return self

    def __enter__(self) -> None:
        """Do nothing: the request has begun already."""

    def __exit__(self, *_: object) -> None:
        self.inside -= 1

    def _refusal(
        self, limit: str, wait: float, size: float = 0.0, window: float = 0.0
    ) -> TooManyRequests:
        whose = f"caller {self._name!r}" if self._name else "callers without a name"
        wait = max(1, ceil(wait))
        quota = Quota(int(size), max(1, round(window)), wait) if size else None
        return TooManyRequests(
            f"{whose} may ask graph {self._graph!r} for {limit}, and this is more; try again in "
            f"{wait}s",
            wait,
            quota,
        )


def _renewed(
    bucket: Bucket | None, rate: float | None, size: float, routers: int, now: float
) -> Bucket | None:
    if rate is None:
        return None
    if bucket is None:
        return Bucket(rate / routers, size, now)
    bucket.resize(rate / routers, size, now)
    return bucket


class Callers:
    """The callers of one graph at one router."""

    def __init__(self, graph: str) -> None:
        self._graph = graph
        self._states: dict[str, CallerState] = {}
        self._limits: LimitsByCaller | None = None
        self._routers = 1
        self._active, self._counted_at = 0, float("-inf")
        self.are_counted = False
        """Whether callers are told apart: there are limits, or one has a name."""

    def limit(self, limits: LimitsByCaller | None, routers: int, now: float) -> None:
        """Put limits in force, at one of so many routers."""
        if (limits, routers) == (self._limits, self._routers):
            return  # as with most tables
        self._limits, self._routers = limits, max(1, routers)
        self.are_counted = limits is not None or bool(self._states)
        for name, state in self._states.items():
            self._apply(name, state, now)

    def of(self, name: str, now: float) -> CallerState:
        """Return the state of a caller that asks now."""
        state = self._states.get(name)
        if state is None:
            if len(self._states) >= MOST_CALLERS:
                self._forget()
            state = self._states[name] = CallerState(self._graph, name, now)
            self._apply(name, state, now)
            self.are_counted = True
        state.seen = now
        return state

    def has_turn(self, state: CallerState, now: float, rate: float) -> bool:
        """Return whether it is a caller's turn, of ``rate`` that can be answered in a second."""
        active = self._active_at(now)
        return active > 1 and state.has_turn(now, PART * rate / active)

    def are_several(self, now: float) -> bool:
        """Return whether there are callers to take turns."""
        return self._active_at(now) > 1

    def is_greedy(self, state: CallerState, now: float, places: int) -> bool:
        """Return whether a caller has its share of so many places, and others ask, too."""
        active = self._active_at(now)
        return active > 1 and state.inside >= places // active

    def _active_at(self, now: float) -> int:
        if now - self._counted_at >= COUNTED_S:
            since = now - ACTIVE_S
            self._active = sum(one.seen >= since for one in self._states.values())
            self._counted_at = now
        return self._active

    def _apply(self, name: str, state: CallerState, now: float) -> None:
        limits = NO_LIMITS if self._limits is None else self._limits.of(name)
        state.limit(limits, self._routers, now)

    def _forget(self) -> None:
        """Forget half of the callers, the most idle ones; not those with requests in progress."""
        idle = sorted((one.seen, name) for name, one in self._states.items() if not one.inside)
        for _, name in idle[: MOST_CALLERS // 2]:
            del self._states[name]
