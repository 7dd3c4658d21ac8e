"""Rows of a feature store in memory, asked for once however many requests want them.

A row that was fetched no longer than ``max_age`` ago is used as it is. All other keys of a request
go to the store in one call, but for those that another call has on its way. Calls run in tasks of
their own: a request that gives up takes nothing from the others. While the store is away a row may
be used for up to ``max_stale``, and a circuit breaker spares requests the wait for it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from anabranch.breaker import Breaker
from anabranch.components.features.keys import Key
from anabranch.errors import AnabranchError, DeadlineExceeded, Unavailable
from anabranch.specs.units import Duration

Source: TypeAlias = Literal["cache", "store", "stale"]
CallOutcome: TypeAlias = Literal["answered", "late", "away", "failed"]
LONGEST_PAUSE = 5.0
"""Longest time for which a store that was away is not asked, in seconds."""


class FeatureRow(NamedTuple):
    """The features of one entity, as elements of outputs; None where there is no value."""

    values: tuple[object, ...]
    at: float | None = None
    """The time of the values in Unix seconds; None where the store does not tell."""
    problem: str = ""
    """Why the row cannot be read; empty for one that can."""


class FoundRow(NamedTuple):
    """A row, and where it comes from."""

    row: FeatureRow
    source: Source


@dataclass(frozen=True)
class CacheLimits:
    """Times in seconds."""

    max_age: float = 0.0
    max_stale: float = 0.0
    max_keys: int = 100_000
    seconds: float = 1.0
    """Longest time of a call of the store."""


class _Kept(NamedTuple):
    row: FeatureRow
    fetched: float


Rows: TypeAlias = Mapping[Key, FeatureRow]
Fetch: TypeAlias = Callable[[Sequence[Key]], Awaitable[Rows]]
Counted: TypeAlias = Callable[[CallOutcome, float], None]
"""Is told how a call of the store ended, and its seconds."""


class FeatureCache:
    """The rows of one node in one process, on one event loop."""

    def __init__(
        self,
        fetch: Fetch,
        limits: CacheLimits,
        counted: Counted,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._limits = limits
        self._counted = counted
        self._clock = clock
        self._keep = max(limits.max_age, limits.max_stale)
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._calls: dict[Key, asyncio.Task[Rows | AnabranchError]] = {}
        self._breaker = Breaker(longest=LONGEST_PAUSE)

    async def find(
        self, keys: Iterable[Key], seconds: float
    ) -> tuple[dict[Key, FoundRow], AnabranchError | None]:
        """Return rows by key, within ``seconds``, and why the others are not there.

        Raises what the store raises but Unavailable and DeadlineExceeded.
        """
        now, wanted = self._clock(), dict.fromkeys(keys)
        found = {key: FoundRow(row, "cache") for key, row in self._fresh(wanted, now)}
        wanted = {key: None for key in wanted if key not in found}
        if not wanted:
            return found, None
        calls = self._called(wanted, now)
        if calls:
            await asyncio.wait(calls, timeout=seconds)
        away = self._take(found, wanted, calls, seconds)
        if away is not None:
            self._take_stale(found, wanted)
        return found, away

    async def close(self) -> None:
        """Give up all calls."""
        calls = {*self._calls.values()}
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    def _fresh(self, keys: Iterable[Key], now: float) -> Iterable[tuple[Key, FeatureRow]]:
        for key in keys:
            kept = self._kept.get(key)
            if kept is not None and now - kept.fetched < self._limits.max_age:
                yield key, kept.row

    def _called(
        self, wanted: Mapping[Key, None], now: float
    ) -> set[asyncio.Task[Rows | AnabranchError]]:
        """Return the calls that bring the wanted keys; a key has none while the store rests."""
        new = [key for key in wanted if key not in self._calls]
        if new and self._breaker.admits(now):
            self._breaker.began(now)
            call = asyncio.create_task(self._call(new))
            self._calls.update(dict.fromkeys(new, call))
            call.add_done_callback(lambda _: self._forget(new))
        return {self._calls[key] for key in wanted if key in self._calls}

    def _forget(self, keys: Iterable[Key]) -> None:
        for key in keys:
            del self._calls[key]

    async def _call(self, keys: Sequence[Key]) -> Rows | AnabranchError:
        """Return the rows of keys, or why the store is away; raise any other error of it."""
        began = self._clock()
        outcome: CallOutcome = "failed"
        try:
            async with asyncio.timeout(self._limits.seconds):
                rows = await self._fetch(keys)
            outcome = "answered"
        except TimeoutError:
            outcome = "late"
            return _late(self._limits.seconds)
        except DeadlineExceeded as error:
            outcome = "late"
            return error
        except Unavailable as error:
            outcome = "away"
            return error
        finally:
            now = self._clock()
            ok = {"answered": True, "failed": None}.get(outcome, False)
            self._breaker.ended(ok, now)
            self._counted(outcome, now - began)
        self._store(rows, began)
        return rows

    def _store(self, rows: Rows, fetched: float) -> None:
        """Keep rows, as old as the beginning of their call; the least recently fetched go."""
        if not self._keep:
            return
        for key, row in rows.items():
            self._kept[key] = _Kept(row, fetched)
            self._kept.move_to_end(key)
        while len(self._kept) > self._limits.max_keys:
            self._kept.popitem(last=False)

    def _take(
        self,
        found: dict[Key, FoundRow],
        wanted: Iterable[Key],
        calls: Iterable[asyncio.Task[Rows | AnabranchError]],
        seconds: float,
    ) -> AnabranchError | None:
        """Add the rows that calls have brought; return why others are not there."""
        away: AnabranchError | None = None
        brought: dict[Key, FeatureRow] = {}
        for call in calls:
            result = _result(call, seconds)
            if isinstance(result, AnabranchError):
                away = result
            else:
                brought.update(result)
        found.update({key: FoundRow(brought[key], "store") for key in wanted if key in brought})
        if all(key in found for key in wanted):
            return None
        return away or Unavailable("it was away a moment ago, and is not asked again yet")

    def _take_stale(self, found: dict[Key, FoundRow], wanted: Iterable[Key]) -> None:
        oldest = self._clock() - self._limits.max_stale
        for key in wanted:
            kept = self._kept.get(key)
            if key not in found and kept is not None and kept.fetched >= oldest:
                found[key] = FoundRow(kept.row, "stale")


def _result(call: asyncio.Task[Rows | AnabranchError], seconds: float) -> Rows | AnabranchError:
    if not call.done():
        return _late(seconds)
    if call.cancelled():
        return Unavailable("the node is being unloaded")
    return call.result()


def _late(seconds: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"it gave no answer within {seconds:.3g}s")


def seconds_of(text: str | None) -> float:
    """Return a duration in seconds; 0 for none."""
    return 0.0 if text is None else Duration.parse(text).seconds
