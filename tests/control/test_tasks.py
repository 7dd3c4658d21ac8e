from __future__ import annotations

import asyncio
import logging

import pytest

from anabranch.access.actor import ACTOR, ENGINE, Actor
from anabranch.control.tasks import WokenLoop, forever
from tests.control.actors import ANN, acting


def test_what_fails_or_ends_is_started_again_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    runs = 0
    third = asyncio.Event()

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise ValueError("bad luck")
        if runs == 3:
            third.set()
            await asyncio.Event().wait()

    async def scenario() -> None:
        task = asyncio.create_task(forever("the worker", work, pause=0))
        await third.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with caplog.at_level(logging.ERROR, "anabranch.control"):
        asyncio.run(scenario())
    assert [record.message for record in caplog.records] == [
        "the worker has failed; starting it again",
        "the worker has ended; starting it again",
    ]
    assert "bad luck" in caplog.text


def test_the_work_acts_as_the_engine_whoever_has_started_it() -> None:
    acted: asyncio.Queue[Actor] = asyncio.Queue()

    async def work() -> None:
        await acted.put(ACTOR.get())
        await acted.put(await asyncio.to_thread(ACTOR.get))
        await asyncio.Event().wait()

    async def scenario() -> None:
        with acting(ANN):
            task = asyncio.create_task(forever("the worker", work))
            assert (await acted.get(), await acted.get()) == (ENGINE, ENGINE)
            assert ACTOR.get() == ANN
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())


def test_work_beside_a_loop_wakes_it_at_its_end_is_logged_and_ends_with_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each key has one task at a time; the rest between two looks is longer than the test."""
    ended: list[str] = []

    class Loop(WokenLoop[str]):
        looks = 0

        async def _round(self) -> float:
            self.looks += 1
            if self.looks == 1:
                self._start("bad", self._fail())
            elif self.looks == 2:
                assert "bad" not in self._tasks
                self._start("long", self._last())
            return 3600.0

        async def _fail(self) -> None:
            raise ValueError("bad luck")

        async def _last(self) -> None:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("long")

    began = asyncio.Event()

    async def scenario() -> None:
        task = asyncio.create_task(Loop().run())
        await began.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)  # a cancelled task ends in the next round of the event loop

    with caplog.at_level(logging.ERROR, "anabranch.control"):
        asyncio.run(scenario())
    assert ended == ["long"]
    assert [record.message for record in caplog.records] == ["bad: work has failed"]
    assert "bad luck" in caplog.text
