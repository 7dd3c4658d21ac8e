"""At most so many models in memory: loaded once however many ask, the least recently used goes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

logger = logging.getLogger("anabranch.components")


@dataclass(slots=True)
class CacheTally:
    """Counts of a model cache: sums that only grow."""

    hits: int = 0
    """Requests that found their model loaded, or on its way."""
    misses: int = 0
    """Requests that had their model loaded; those that found none to load are ``failures`` too."""
    failures: int = 0
    evictions: int = 0
    load_seconds: float = 0.0
    """Time that loading took, also in vain."""


class _Entry(Generic[T]):
    """A model that is loaded or on its way, and how many requests hold it."""

    __slots__ = ("holders", "loading", "name")

    def __init__(self, name: str, loading: asyncio.Task[T]) -> None:
        self.name = name
        self.loading = loading
        self.holders = 0


class Held(Generic[T]):
    """A model that stays until ``release``, which may be called once."""

    __slots__ = ("_cache", "_entry", "model")

    def __init__(self, cache: ModelCache[T], entry: _Entry[T]) -> None:
        self._cache = cache
        self._entry = entry
        self.model = entry.loading.result()

    def release(self) -> None:
        """Let go of the model, which then may make room for another."""
        self._cache._let_go(self._entry)


class ModelCache(Generic[T]):
    """Models by name, on one event loop. ``limit`` counts those that are being loaded too."""

    def __init__(
        self,
        load: Callable[[str], Awaitable[T]],
        unload: Callable[[T], Awaitable[None]],
        limit: int,
    ) -> None:
        self._load = load
        self._unload = unload
        self._limit = limit
        self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()
        self._leaving = 0
        self._changed = asyncio.Event()
        self.tally = CacheTally()

    @property
    def names(self) -> tuple[str, ...]:
        """Models that are loaded or on their way, the least recently used first."""
        return tuple(self._entries)

    async def hold(self, name: str) -> Held[T]:
        """Return the model, loaded if need be; waits while all places are in use.

        Raises what loading raises; the next request for the model tries again.
        """
        entry = await self._entry(name)
        entry.holders += 1
        self._entries.move_to_end(name)
        try:
            # Whoever gives up waiting does not take the model from the others.
            await asyncio.shield(entry.loading)
        except BaseException:
            self._let_go(entry)
            raise
        return Held(self, entry)

    async def _entry(self, name: str) -> _Entry[T]:
        while name not in self._entries:
            if len(self._entries) + self._leaving < self._limit:
                return self._start(name)
            await self._make_room()
        self.tally.hits += 1
        return self._entries[name]

    def _start(self, name: str) -> _Entry[T]:
        self.tally.misses += 1
        task = asyncio.ensure_future(self._timed(name))
        entry = self._entries[name] = _Entry(name, task)
        task.add_done_callback(lambda done: self._loaded(entry, done))
        return entry

    async def _timed(self, name: str) -> T:
        started = time.perf_counter()
        try:
            return await self._load(name)
        finally:
            self.tally.load_seconds += time.perf_counter() - started

    def _loaded(self, entry: _Entry[T], done: asyncio.Task[T]) -> None:
        if _failed(done):
            self.tally.failures += 1
            if self._entries.get(entry.name) is entry:
                del self._entries[entry.name]
        self._changed.set()

    async def _make_room(self) -> None:
        """Unload the least recently used model that nobody holds, or wait for a change."""
        idle = next((one for one in self._entries.values() if _is_idle(one)), None)
        if idle is not None:
            del self._entries[idle.name]
            self.tally.evictions += 1
            await asyncio.wait([self._remove(idle)])
        else:
            self._changed.clear()
            await self._changed.wait()

    def _remove(self, entry: _Entry[T]) -> asyncio.Future[None]:
        """Unload a model that nobody can reach any more; its place is free when that is done."""
        self._leaving += 1
        task = asyncio.ensure_future(self._unload(entry.loading.result()))
        task.add_done_callback(lambda done: self._left(entry.name, done))
        return task

    def _left(self, name: str, done: asyncio.Future[None]) -> None:
        self._leaving -= 1
        self._changed.set()
        if not done.cancelled() and (error := done.exception()) is not None:
            logger.warning("model %r was not unloaded well: %s", name, error)

    def _let_go(self, entry: _Entry[T]) -> None:
        entry.holders -= 1
        self._changed.set()

    async def close(self) -> None:
        """Unload all models; none may be in use."""
        entries = list(self._entries.values())
        self._entries.clear()
        for entry in entries:
            entry.loading.cancel()
        loaded = [one for one in entries if one.loading.done() and not _failed(one.loading)]
        if loaded:
            await asyncio.wait([self._remove(entry) for entry in loaded])


def _failed(done: asyncio.Task[T]) -> bool:
    return done.cancelled() or done.exception() is not None


def _is_idle(entry: _Entry[T]) -> bool:
    return entry.holders == 0 and entry.loading.done()
