"""Answers in a real Redis: shared, and never what a request waits for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from anabranch.serve.cache import redis_store
from anabranch.serve.cache.counts import CacheCounts
from anabranch.serve.cache.redis_store import MOST_FAILURES, REST_S, RedisStore
from anabranch.telemetry.registry import Registry
from tests.redis_server import RedisServer, running_redis
from tests.serve.cache.caches import SIZE, Asked, counted
from tests.waiting import eventually, until

pytest.importorskip("redis")


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have looks take as long as they need."""
    monkeypatch.setattr(redis_store, "LOOK_S", 60.0)


@asynccontextmanager
async def opened(redis: RedisServer, namespace: str, ttl: float = 60.0) -> AsyncIterator[Asked]:
    registry = Registry()
    store = RedisStore(redis.url, SIZE, ttl, CacheCounts("g", "1", "", registry))
    try:
        yield Asked(store, registry, namespace)
    finally:
        await store.close()


async def written(asked: Asked) -> None:
    await asyncio.to_thread(until, lambda: not asked.cache._store._unwritten)


@pytest.mark.usefixtures("patient")
def test_processes_share_answers_and_namespaces_do_not(redis: RedisServer) -> None:
    async def work() -> None:
        async with (
            opened(redis, "shared") as one,
            opened(redis, "shared") as two,
            opened(redis, "other") as third,
        ):
            await one.ask(1.0)
            await written(one)
            answer, status = await two.ask(1.0)
            assert answer == [2.0]
            assert status.startswith("hit; ttl=")
            assert await third.ask(1.0) == ([2.0], "fwd=miss; stored")
            assert two.model.made == 0

    asyncio.run(work())


@pytest.mark.usefixtures("patient")
def test_more_looks_than_connections_wait_for_one_and_do_not_fail(redis: RedisServer) -> None:
    async def work() -> None:
        async with opened(redis, "crowd") as asked:
            looks = [asked.cache._store.get(b"%d" % n) for n in range(200)]
            assert await asyncio.gather(*looks) == [None] * 200
            assert counted(asked.registry).get("errors", 0) == 0
            assert asked.cache._store._asked_again == 0.0

    asyncio.run(work())


def test_answers_end_with_their_time(redis: RedisServer) -> None:
    async def work() -> None:
        redis.client.flushdb()
        async with opened(redis, "short", ttl=0.1) as asked:
            await asked.ask(1.0)
            await written(asked)
            await asyncio.to_thread(until, lambda: not redis.client.keys())
            assert await asked.ask(1.0) == ([2.0], "fwd=miss; stored")

    asyncio.run(work())


def test_a_redis_that_hangs_or_is_away_costs_few_looks(redis: RedisServer) -> None:
    async def work() -> None:
        async with opened(redis, "sick") as asked:
            await asked.ask(1.0)
            await written(asked)
            redis.pause()
            started = time.monotonic()
            found = [await asked.ask(float(n)) for n in range(100)]
            took = time.monotonic() - started
            redis.go_on()
            assert [answer for answer, _ in found] == [[2.0 * n] for n in range(100)]
            looks = counted(asked.registry)["errors"]
            assert MOST_FAILURES <= looks <= MOST_FAILURES + took / REST_S
            redis.kill()
            asked.cache._store._asked_again = 0.0
            assert (await asked.ask(500.0))[0] == [1000.0]
            redis.start()

            async def hits() -> bool:
                """Whether an answer is there; on a busy machine some looks take too long."""
                asked.cache._store._asked_again = 0.0
                found = await asked.ask(600.0)
                await written(asked)
                return found[1].startswith("hit")

            await eventually(hits)

    asyncio.run(work())
