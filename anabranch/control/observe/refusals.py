"""Refused attempts to use the control API: counted in a metric, and told in the log of events.

The log tells of the first attempt from an address at once, and then at most once a second, with the
number of attempts since. Attempts must not push all else out of the log: in the long run there are
two events a minute, and where more addresses than that are refused, one event tells of several.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from anabranch.access.actor import ACTOR, Actor
from anabranch.control.store.store import Store
from anabranch.router.measure.refusals import Reason, count_refusal
from anabranch.telemetry.registry import REGISTRY, Registry

PERIOD_S = 1.0
"""Shortest time between two events about one address, in seconds."""
BURST = 60
"""Events that there may be at once, after a long time without any."""
EVERY_S = 30.0
"""Seconds until there may be one event more."""
MAX_ADDRESSES = 1000
"""Addresses that are told apart between two looks."""
MAX_APART = 20
"""Addresses that have an event of their own in one look."""


@dataclass(frozen=True)
class Attempts:
    """Attempts from one address; all but the count is of the last one."""

    actor: Actor
    graph: str
    reason: Reason
    message: str
    count: int = 1
    addresses: int = 1


class Refusals:
    """Counts refused attempts; ``run`` writes the events.

    ``clock`` is any that only grows, in seconds.
    """

    def __init__(
        self,
        log: Store,
        registry: Registry = REGISTRY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._registry = registry
        self._clock = clock
        self._waiting: dict[str, Attempts] = {}
        """By address; attempts from those beyond the bound are together, without one."""
        self._came = asyncio.Event()
        self._budget, self._counted_at = float(BURST), clock()

    def add(self, actor: Actor, reason: Reason, message: str, graph: str = "") -> None:
        """Count an attempt that was refused, by whom, and with which message; on the event loop."""
        count_refusal("control", reason, self._registry)
        is_known = actor.address in self._waiting or len(self._waiting) < MAX_ADDRESSES
        address = actor.address if is_known else ""
        before = self._waiting.get(address)
        count = before.count if before is not None else 0
        self._waiting[address] = Attempts(actor, graph, reason, message, count + 1)
        self._came.set()

    async def run(self) -> None:
        """Write events for ever."""
        while True:
            await self._came.wait()
            await asyncio.to_thread(self._write, self.due())
            await asyncio.sleep(PERIOD_S)

    def due(self) -> list[Attempts]:
        """Return what the log is to be told now, and count anew; nothing where it is too early."""
        now = self._clock()
        self._budget = min(BURST, self._budget + (now - self._counted_at) / EVERY_S)
        self._counted_at = now
        if self._budget < 1:
            return []
        waiting, self._waiting = self._waiting, {}
        self._came.clear()
        told = list(_bounded(waiting.values(), min(int(self._budget), MAX_APART)))
        self._budget -= len(told)
        return told

    def _write(self, told: Iterable[Attempts]) -> None:
        for one in told:
            ACTOR.set(one.actor)  # in this thread's own context
            data = {"count": one.count, "reason": one.reason, "addresses": one.addresses}
            self._log.log(one.graph, None, "refused", one.message, data)


def _bounded(waiting: Iterable[Attempts], most: int) -> Iterator[Attempts]:
    """Yield the attempts, those of the most persistent addresses first; the rest as the last."""
    ordered = sorted(waiting, key=lambda one: one.count, reverse=True)
    apart = ordered if len(ordered) <= most else ordered[: most - 1]
    yield from apart
    rest = ordered[len(apart) :]
    if rest:
        count = sum(one.count for one in rest)
        yield Attempts(
            Actor("anonymous"), "", rest[0].reason,
            f"{count} attempts from {len(rest)} addresses; one of them: {rest[0].message}",
            count, len(rest),
        )  # fmt: skip
