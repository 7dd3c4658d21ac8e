"""Reporters that rest while nothing is counted."""

from __future__ import annotations

import asyncio
import threading

from anabranch.telemetry.activity import Activity, Pace

FOREVER = 3600.0


async def _rested(pace: Pace, activity: Activity) -> asyncio.Task[None]:
    """Go on until the reporter rests; returns the task in which it does."""
    before = len(activity._sleepers)
    while True:
        task = asyncio.create_task(pace.next())
        for _ in range(5):
            await asyncio.sleep(0)
        if len(activity._sleepers) > before:
            return task


def test_a_reporter_keeps_its_pace_while_there_are_marks_and_rests_after() -> None:
    async def main() -> None:
        activity = Activity()
        pace = Pace(activity, 0.0, FOREVER)
        for _ in range(10):
            activity.mark()
            await pace.next()
        task = await _rested(pace, activity)
        activity.mark()
        await task
        assert len(activity._sleepers) == 0

    asyncio.run(main())


def test_a_rest_ends_by_itself() -> None:
    async def main() -> None:
        pace = Pace(Activity(), 0.0, 0.0)
        for _ in range(10):
            await pace.next()

    asyncio.run(main())


def test_a_mark_wakes_all_who_rest_once() -> None:
    async def main() -> None:
        activity = Activity()
        paces = [Pace(activity, 0.0, FOREVER) for _ in range(3)]
        tasks = [await _rested(pace, activity) for pace in paces]
        activity.mark()
        await asyncio.gather(*tasks)
        assert len(activity._sleepers) == 0

    asyncio.run(main())


def test_a_reporter_that_is_cancelled_is_called_no_more() -> None:
    async def main() -> None:
        activity = Activity()
        task = await _rested(Pace(activity, 0.0, FOREVER), activity)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert len(activity._sleepers) == 0

    asyncio.run(main())


def test_a_thread_is_woken_by_marks_and_by_the_end() -> None:
    activity, closing = Activity(), threading.Event()
    pace, laps, lapped = Pace(activity, 0.0, FOREVER), [0], threading.Condition()

    def run() -> None:
        while not pace.next_in_thread(closing):
            with lapped:
                laps[0] += 1
                lapped.notify_all()

    thread = threading.Thread(target=run)
    thread.start()
    with lapped:
        for expected in range(1, 20):
            while laps[0] < expected:
                activity.mark()
                lapped.wait(0.01)
    closing.set()
    activity.mark()
    thread.join(30)
    assert not thread.is_alive()
