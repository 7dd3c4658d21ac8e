"""Rows in memory: asked for once, used while they are fresh, and while the store is away."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from typing import Any

import pytest

from anabranch.breaker import FAILURES
from anabranch.components.features.cache import CacheLimits, FeatureCache, FeatureRow, Rows
from anabranch.components.features.keys import Key
from anabranch.errors import DeadlineExceeded, Unavailable
from tests.clock import Clock

A, B, C = ("a",), ("b",), ("c",)


class Store:
    """A store that answers the number of the call, once it may."""

    def __init__(self) -> None:
        self.calls: list[list[Key]] = []
        self.fails: Exception | None = None
        self.free = asyncio.Event()
        self.free.set()

    async def __call__(self, keys: Sequence[Key]) -> Rows:
        self.calls.append(list(keys))
        number = len(self.calls)
        await self.free.wait()
        if self.fails is not None:
            raise self.fails
        return {key: FeatureRow((number,)) for key in keys}


def in_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test on an event loop of its own."""
    return wraps(test)(lambda: asyncio.run(test()))


def made(
    store: Store, clock: Clock | None = None, **limits: Any
) -> tuple[FeatureCache, Counter[str]]:
    outcomes: Counter[str] = Counter()

    def counted(outcome: str, seconds: float) -> None:
        outcomes[outcome] += 1

    return FeatureCache(store, CacheLimits(**limits), counted, clock or Clock()), outcomes


async def values(cache: FeatureCache, *keys: Key) -> dict[Key, tuple[Any, str]]:
    found, _ = await cache.find(keys, 5.0)
    return {key: (each.row.values[0], each.source) for key, each in found.items()}


@in_loop
async def test_only_keys_that_are_not_fresh_are_asked_each_once() -> None:
    clock = Clock()
    store = Store()
    cache, outcomes = made(store, clock, max_age=10.0)
    assert await values(cache, A, B, A) == {A: (1, "store"), B: (1, "store")}
    clock.now += 9.0
    assert await values(cache, A, C) == {A: (1, "cache"), C: (2, "store")}
    clock.now += 1.0
    assert await values(cache, A, C) == {A: (3, "store"), C: (2, "cache")}
    assert store.calls == [[A, B], [C], [A]]
    assert outcomes == {"answered": 3}


@in_loop
async def test_without_a_cache_every_request_asks() -> None:
    store = Store()
    cache, _ = made(store)
    assert await values(cache, A) == {A: (1, "store")}
    assert await values(cache, A) == {A: (2, "store")}


@in_loop
async def test_requests_at_the_same_time_share_a_call() -> None:
    store = Store()
    store.free.clear()
    cache, _ = made(store)
    asked = [asyncio.ensure_future(values(cache, *keys)) for keys in ((A, B), (B,), (B, C))]
    for _ in range(3):  # each of them begins, and then the calls
        await asyncio.sleep(0)
    store.free.set()
    assert await asyncio.gather(*asked) == [
        {A: (1, "store"), B: (1, "store")},
        {B: (1, "store")},
        {B: (1, "store"), C: (2, "store")},
    ]
    assert store.calls == [[A, B], [C]]


@in_loop
async def test_a_request_that_gives_up_takes_nothing_from_the_others() -> None:
    store = Store()
    store.free.clear()
    cache, _ = made(store)
    first = asyncio.ensure_future(values(cache, A))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(values(cache, A))
    await asyncio.sleep(0)
    first.cancel()
    found, away = await cache.find([A], 0.0)
    assert not found
    assert isinstance(away, DeadlineExceeded)
    store.free.set()
    assert await second == {A: (1, "store")}
    assert first.cancelled()


@in_loop
async def test_stale_rows_are_used_while_the_store_is_away_and_no_longer() -> None:
    clock = Clock()
    store = Store()
    cache, outcomes = made(store, clock, max_age=1.0, max_stale=60.0)
    await values(cache, A)
    store.fails = Unavailable("gone")
    clock.now += 60.0
    found, away = await cache.find([A, B], 5.0)
    assert {key: each.source for key, each in found.items()} == {A: "stale"}
    assert str(away) == "gone"
    clock.now += 0.1
    found, away = await cache.find([A], 5.0)
    assert not found
    store.fails = None
    clock.now += 60.0
    assert await values(cache, A) == {A: (4, "store")}
    assert outcomes == {"answered": 2, "away": 2}


@in_loop
async def test_a_store_that_is_away_is_left_alone_and_then_tried_by_one() -> None:
    clock = Clock()
    store = Store()
    store.fails = Unavailable("gone")
    cache, _ = made(store, clock)
    for _ in range(FAILURES + 3):
        found, away = await cache.find([A], 5.0)
        assert not found
        assert away is not None
    assert len(store.calls) == FAILURES
    assert "is not asked again yet" in str(away)
    clock.now += 1.0
    store.fails = None
    store.free.clear()
    probe = asyncio.ensure_future(values(cache, A))
    await asyncio.sleep(0)
    found, away = await cache.find([B], 5.0)
    assert not found
    store.free.set()
    assert await probe == {A: (FAILURES + 1, "store")}
    assert await values(cache, B) == {B: (FAILURES + 2, "store")}


@in_loop
async def test_a_store_that_is_late_is_away() -> None:
    store = Store()
    store.free.clear()
    cache, outcomes = made(store, seconds=0.01)
    found, away = await cache.find([A], 60.0)
    assert not found
    assert "it gave no answer within 0.01s" in str(away)
    assert outcomes == {"late": 1}


@in_loop
async def test_other_errors_of_a_store_are_no_outage() -> None:
    store = Store()
    store.fails = RuntimeError("no such column")
    cache, outcomes = made(store, max_age=1.0, max_stale=60.0)
    for _ in range(FAILURES + 1):
        with pytest.raises(RuntimeError, match="no such column"):
            await cache.find([A], 5.0)
    assert len(store.calls) == FAILURES + 1
    assert outcomes == {"failed": FAILURES + 1}


@in_loop
async def test_memory_is_bounded_and_the_latest_rows_stay() -> None:
    store = Store()
    cache, _ = made(store, max_age=60.0, max_keys=2)
    for key in (A, B, A, C):
        await values(cache, key)
    assert await values(cache, B, C) == {B: (2, "cache"), C: (3, "cache")}
    assert await values(cache, A) == {A: (4, "store")}


@in_loop
async def test_calls_are_given_up_at_the_end() -> None:
    store = Store()
    store.free.clear()
    cache, _ = made(store)
    asked = asyncio.ensure_future(cache.find([A], 60.0))
    await asyncio.sleep(0)
    await cache.close()
    found, away = await asked
    assert not found
    assert isinstance(away, Unavailable)
