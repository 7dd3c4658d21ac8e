"""A question is answered once, and who waits for it is no worse off than without a cache."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from anabranch.components.contract import Context
from anabranch.errors import NodeError
from anabranch.graph.calls.cache_status import GRAPH
from tests.serve.cache.caches import Asked, counted, machine


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    with machine(tmp_path) as (store, registry):
        yield Asked(store, registry)


def outcomes(asked: Asked) -> dict[str, float]:
    found = counted(asked.registry)
    return {word: int(found[f"requests/{word}"]) for word in ("hit", "miss", "wait", "bypass")}


def test_the_same_question_is_answered_once(asked: Asked) -> None:
    async def work() -> None:
        assert await asked.ask(1.0) == ([2.0], "fwd=miss; stored")
        answer, status = await asked.ask(1.0)
        assert (answer, status.split("=")[0]) == ([2.0], "hit; ttl")
        assert (await asked.ask(2.0))[0] == [4.0]

    asyncio.run(work())
    assert asked.model.made == 2
    assert outcomes(asked) == {"hit": 1, "miss": 2, "wait": 0, "bypass": 0}


def test_those_who_ask_at_the_same_time_wait_for_the_first(asked: Asked) -> None:
    async def work() -> list[tuple[list[float], str]]:
        asked.model.gate = asyncio.Event()
        askers = [asyncio.create_task(asked.ask(1.0)) for _ in range(5)]
        await asyncio.sleep(0)
        asked.model.gate.set()
        return await asyncio.gather(*askers)

    found = asyncio.run(work())
    assert [answer for answer, _ in found] == [[2.0]] * 5
    assert [status for _, status in found] == ["fwd=miss; stored"] + ["fwd=miss; collapsed"] * 4
    assert asked.model.made == 1
    assert outcomes(asked) == {"hit": 0, "miss": 1, "wait": 4, "bypass": 0}


@pytest.mark.parametrize("leaves", [True, False])
def test_where_the_first_fails_or_leaves_the_others_ask_for_themselves(
    asked: Asked, leaves: bool
) -> None:
    async def work() -> list[object]:
        asked.model.gate = asyncio.Event()
        first, *others = [asyncio.create_task(asked.ask(1.0)) for _ in range(4)]
        await asyncio.sleep(0)
        if leaves:
            first.cancel()
        else:
            asked.model.failures = 1
            asked.model.gate.set()
        await asyncio.wait([first])
        asked.model.gate.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    first, *others = asyncio.run(work())
    assert isinstance(first, asyncio.CancelledError if leaves else NodeError)
    assert others == [([2.0], "fwd=miss; stored")] * 3
    assert asked.model.made == 4


def test_who_waits_keeps_to_its_own_time(asked: Asked) -> None:
    async def work() -> list[float]:
        asked.model.gate = asyncio.Event()
        first = asyncio.create_task(asked.ask(1.0))
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asked.ask(1.0)
        asked.model.gate.set()
        return (await first)[0]

    assert asyncio.run(work()) == [2.0]


def test_a_request_may_ask_for_a_fresh_answer_that_is_kept_or_not(asked: Asked) -> None:
    async def work() -> list[str]:
        return [
            (await asked.ask(1.0, cache_control="max-age=0, No-Cache"))[1],
            (await asked.ask(1.0))[1].split(";")[0],
            (await asked.ask(1.0, cache_control="no-store"))[1],
            (await asked.ask(1.0, x_anabranch_mirror="3"))[1],
            (await asked.ask(2.0, cache_control="no-store"))[1],
            (await asked.ask(2.0))[1],
        ]

    assert asyncio.run(work()) == [
        "fwd=request; stored",
        "hit",
        "fwd=request",
        "fwd=request; stored",
        "fwd=request",
        "fwd=miss; stored",
    ]


def test_what_no_client_has_asked_is_neither_looked_for_nor_counted(asked: Asked) -> None:
    async def work() -> None:
        x = np.array([1.0])
        for _ in range(2):
            context = Context(is_traffic=False)
            await asked.cache.value([{"x": x}], context, lambda: asked.model(x))
            assert context.annotations.caches == {}

    asyncio.run(work())
    assert asked.model.made == 2
    assert sum(outcomes(asked).values()) == 0


def test_what_may_not_be_kept_is_given_to_its_asker_alone(asked: Asked) -> None:
    async def work() -> list[tuple[list[float], str]]:
        asked.model.may_be_kept = False
        together = await asyncio.gather(asked.ask(1.0), asked.ask(1.0))
        return [*together, await asked.ask(1.0)]

    assert asyncio.run(work()) == [([2.0], "fwd=miss")] * 3
    assert asked.model.made == 3


def test_answers_over_an_eighth_of_the_cache_are_not_kept(asked: Asked) -> None:
    async def work() -> list[str]:
        values = np.zeros(2**15)
        return [(await asked.ask(*values))[1] for _ in range(2)]

    assert asyncio.run(work()) == ["fwd=miss"] * 2


def test_what_a_store_gives_that_is_no_answer_is_answered_anew(asked: Asked) -> None:
    async def work() -> None:
        await asked.ask(1.0)
        store = asked.cache._store
        (key,) = store._unwritten
        store.put(key, b"x" * 64)
        assert await asked.ask(1.0) == ([2.0], "fwd=miss; stored")

    asyncio.run(work())
    assert counted(asked.registry)["errors"] == 1


def test_an_answer_is_the_asker_s_own(asked: Asked) -> None:
    async def work() -> None:
        x = np.array([1.0])
        for _ in range(3):
            context = Context()
            found = await asked.cache.value([{"x": x}], context, lambda: asked.model(x))
            assert found["y"].tolist() == [2.0], context.annotations.caches[GRAPH]
            found["y"] += 1

    asyncio.run(work())
