"""A router that follows its tables, from a source in this process and from a controller."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from anabranch.access.limits import CallerLimits, LimitRule
from anabranch.access.table import OPEN
from anabranch.components.contract import Context
from anabranch.errors import TooManyRequests
from anabranch.router.admission.admission import Admission
from anabranch.router.measure.tally import Report
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.decisions import Decision, unpacked
from anabranch.telemetry.activity import Activity
from tests.router.conftest import forever

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from anabranch.router import following
    from anabranch.router.traffic import polling
    from anabranch.router.traffic.polling import RouterSync

Demo = Callable[..., Any]


async def double(inputs: Any, context: Context) -> dict[str, Any]:
    return {"doubled": inputs["x"] * 2, "rows": np.array(1)}


class FakeSource:
    """Hands out what is put in; an exception among it is raised."""

    def __init__(self, *answers: Any) -> None:
        self._answers: asyncio.Queue[Any] = asyncio.Queue()
        for answer in answers:
            self.put(answer)
        self.polls: list[int] = []
        self.polled = asyncio.Event()
        self.reports: list[int] = []
        self.reported = asyncio.Event()
        self.routers = 1
        self.refusals = 0
        self.breaks = 0
        self.shared: list[str] = []
        self.heard = asyncio.Event()

    def put(self, answer: Any) -> None:
        self._answers.put_nowait(answer)

    def lose(self) -> None:
        """Be a controller that has started anew, as the next poll finds."""
        self.breaks += 1
        self.put(ConnectionError("away"))

    async def next(self, generation: int) -> RoutingTable | None:
        self.polls.append(generation)
        self.polled.set()
        answer = await self._answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    async def report(self, report: Report) -> int:
        if self.refusals:
            self.refusals -= 1
            raise ConnectionError("away")
        self.reports.append(sum(tally.requests for tally in report.arms.values()))
        self.reported.set()
        return self.routers

    async def remember(self, made: Sequence[tuple[str, bytes]]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise ConnectionError("away")
        assert all(unpacked(packed).id == id for id, packed in made)
        self.shared += [id for id, _ in made]
        self.heard.set()

    async def has_heard(self, count: int) -> None:
        while len(self.shared) < count:
            self.heard.clear()
            await self.heard.wait()

    async def polled_with(self, generation: int) -> None:
        while generation not in self.polls:
            self.polled.clear()
            await self.polled.wait()

    async def told(self, requests: int) -> None:
        while requests not in self.reports:
            self.reported.clear()
            await self.reported.wait()


class FakeSink:
    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.flushed = asyncio.Event()
        self.generations: list[int] = []

    def flush(self, report: Report) -> None:
        self.flushed.set()
        if self.fails:
            raise ValueError("no agent")

    def weights(self, table: RoutingTable) -> None:
        self.generations.append(table.generation)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "RETRY_S", 0.0)


def test_the_first_table_is_waited_for_and_later_ones_acknowledged(demo: Demo) -> None:
    async def main() -> None:
        graph = demo({1: double, 2: double})
        source, sink = FakeSource(None, OSError("away"), graph.table({1: 1}, 4)), FakeSink()
        sync = RouterSync(graph.arms, source, sink, interval=0)
        await sync.start()
        assert source.polls == [0, 0, 0]
        assert await graph.versions(1) == [1]
        source.put(graph.table({1: 1}, 4))
        source.put(graph.table({2: 1}, 7))
        await source.polled_with(7)
        assert await graph.versions(1) == [2]
        # A store that was restored counts from anew.
        source.put(graph.table({1: 1}, 3))
        await source.polled_with(3)
        assert await graph.versions(1) == [1]
        assert sink.generations == [4, 7, 3]
        await sync.close()

    asyncio.run(main())


def test_a_table_that_cannot_be_used_is_not_acknowledged(demo: Demo) -> None:
    async def main() -> None:
        graph = demo({1: double, 2: double})
        source = FakeSource(graph.table({1: 1}, 1))
        sync = RouterSync(graph.arms, source, FakeSink(), interval=0)
        await sync.start()
        await source.polled_with(1)
        source.put(graph.table({2: 0}, 2))
        source.put(None)
        source.put(RuntimeError("away"))
        source.put(graph.table({2: 1}, 3))
        await source.polled_with(3)
        assert await graph.versions(1) == [2]
        assert source.polls == [0, 1, 1, 1, 1, 3]
        await sync.close()

    asyncio.run(main())


@pytest.mark.parametrize("sink_fails", [False, True])
def test_sums_are_sent_when_they_change_until_they_arrive(demo: Demo, sink_fails: bool) -> None:
    async def main() -> None:
        graph = demo({1: double})
        source, sink = FakeSource(graph.table({1: 1})), FakeSink(sink_fails)
        sync = RouterSync(graph.arms, source, sink, interval=0)
        await sync.start()
        await graph.versions(3)
        source.refusals = 2
        await source.told(3)
        await sink.flushed.wait()
        await graph.versions(1)
        await source.told(4)
        assert source.refusals == 0
        assert source.reports.count(3) == 1
        await sync.close()

    asyncio.run(main())


def test_a_router_has_its_share_of_the_limits_of_callers(demo: Demo) -> None:
    limits = CallerLimits(in_flight=4)

    def let_in(gate: Admission) -> int:
        with ExitStack() as held, suppress(TooManyRequests):
            for _ in range(9):
                held.enter_context(gate.place())
        return gate.passed

    async def main() -> None:
        graph = demo({1: double})
        gate = graph.arms.gate
        graph.arms.admit_by(replace(OPEN, limits=(LimitRule(None, "*", limits),)))
        table = replace(graph.table({1: 1}), routers=2)
        source = FakeSource(table)
        source.routers = 4
        sync = RouterSync(graph.arms, source, FakeSink(), interval=0)
        await sync.start()
        assert let_in(gate) == 2
        await graph.versions(1)
        await source.told(1)
        assert let_in(gate) == 2 + 1 + 1
        await sync.close()

    asyncio.run(main())


def test_idle_routers_send_their_sums_again_to_a_controller_that_lost_them(demo: Demo) -> None:
    async def main() -> None:
        graph, activity = demo({1: double}), Activity()
        source = FakeSource(graph.table({1: 1}))
        sync = RouterSync(graph.arms, source, FakeSink(), interval=0, activity=activity)
        await sync.start()
        await source.told(0)
        source.reports.clear()
        source.lose()
        await source.told(0)
        await sync.close()

    asyncio.run(main())


async def turns(until: Callable[[], bool] = lambda: False) -> None:
    """Let the event loop go on: for a while, or until something is so."""
    for _ in range(1000):
        if until():
            return
        await asyncio.sleep(0)


def test_a_router_that_rests_sends_nothing_until_something_is_counted(demo: Demo) -> None:
    async def main() -> None:
        graph, activity = demo({1: double}), Activity()
        source, sink = FakeSource(graph.table({1: 1})), FakeSink()
        sync = RouterSync(graph.arms, source, sink, interval=0, activity=activity)
        await sync.start()
        await source.told(0)
        await turns(lambda: len(activity._sleepers) == 3)  # sums, decisions and metrics
        sink.flushed.clear()
        await graph.versions(2)
        await turns()
        assert (source.reports, sink.flushed.is_set()) == ([0], False)
        activity.mark()
        await source.told(2)
        await sink.flushed.wait()
        await sync.close()

    asyncio.run(main())


def test_mirrors_alone_are_a_change(demo: Demo) -> None:
    graph = demo({1: double, 2: forever}, draws=[0.0])

    async def main() -> None:
        graph.apply({1: 1}, mirrors={2: 50.0})
        before = polling._counted(graph.arms.report())
        await graph.ask()
        sent = polling._counted(graph.arms.report())
        await graph.arms.close()
        await asyncio.gather(*graph.arms._mirrors._tasks, return_exceptions=True)
        await asyncio.sleep(0)
        ended = polling._counted(graph.arms.report())
        assert before != sent != ended

    asyncio.run(main())


def test_closing_stops_everything_and_cancels_copies(demo: Demo) -> None:
    async def main() -> int:
        graph = demo({1: double, 2: forever}, draws=[0.0])
        source = FakeSource(graph.table({1: 1}, mirrors={2: 50.0}))
        sync = RouterSync(graph.arms, source, FakeSink(), interval=0)
        await sync.start()
        await graph.ask()
        assert graph.arms.report().mirrors[2].pending == 1
        await sync.close()
        assert graph.arms.report().mirrors[2].kinds == {"Cancelled": 1}
        return len(asyncio.all_tasks())

    assert asyncio.run(main()) == 1


def test_the_last_counts_are_sent_before_the_end(demo: Demo) -> None:
    async def main() -> list[int]:
        graph = demo({1: double})
        source = FakeSource(graph.table({1: 1}))
        sync = RouterSync(graph.arms, source, FakeSink(), interval=60)
        await sync.start()
        await graph.versions(5)
        assert source.reports == []
        await sync.close()
        return source.reports

    assert asyncio.run(main()) == [5]


def test_a_controller_that_is_away_does_not_keep_a_router_from_ending(
    demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hung(FakeSource):
        async def report(self, report: Report) -> int:
            await asyncio.Event().wait()
            raise AssertionError

    monkeypatch.setattr(polling, "LAST_S", 0.01)

    async def main() -> None:
        graph = demo({1: double})
        sync = RouterSync(graph.arms, Hung(graph.table({1: 1})), FakeSink(), interval=60)
        await sync.start()
        await graph.versions(1)
        await sync.close()

    asyncio.run(main())


async def decide(graph: Any, *ids: str) -> None:
    for id in ids:
        await graph.ask(headers={"x-request-id": id})


def test_decisions_are_told_in_pieces_until_they_arrive(
    demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "SHARED", 4)
    monkeypatch.setattr(polling, "_PIECE", 2)
    ids = [f"id-{number}" for number in range(9)]

    async def main() -> None:
        graph = demo({1: double, 2: double}, draws=[0.0] * 9)
        source = FakeSource(graph.table({1: 1, 2: 1}))
        sync = RouterSync(graph.arms, source, FakeSink(), interval=0)
        await sync.start()
        source.refusals = 3
        await decide(graph, *ids)
        await source.has_heard(9)
        assert sorted(source.shared) == ids
        await sync.close()
        assert len(source.shared) == 9

    asyncio.run(main())


def test_a_controller_that_was_away_is_told_all_again(demo: Demo) -> None:
    async def main() -> None:
        graph = demo({1: double, 2: double}, draws=[0.0] * 3)
        source = FakeSource(graph.table({1: 1, 2: 1}))
        sync = RouterSync(graph.arms, source, FakeSink(), interval=0)
        await sync.start()
        await decide(graph, "a", "b")
        await source.has_heard(2)
        source.shared.clear()
        source.lose()
        await source.has_heard(2)
        assert source.shared == ["a", "b"]
        await sync.close()

    asyncio.run(main())


def test_the_last_decisions_are_told_before_the_end(demo: Demo) -> None:
    class Deaf(FakeSource):
        async def report(self, report: Report) -> int:
            raise ConnectionError("away")

    async def main() -> list[str]:
        graph = demo({1: double, 2: double}, draws=[0.0] * 2)
        source = Deaf(graph.table({1: 1, 2: 1}))
        sync = RouterSync(graph.arms, source, FakeSink(), interval=60)
        await sync.start()
        await decide(graph, "a", "b")
        assert source.shared == []
        await sync.close()
        return source.shared

    assert asyncio.run(main()) == ["a", "b"]


def test_rewards_alone_are_a_change(demo: Demo) -> None:
    graph = demo({1: double})
    graph.apply({1: 1})
    before = polling._counted(graph.arms.report())
    graph.arms.rewarded(Decision("a", 1, {}), -1.0, None)
    counted = polling._counted(graph.arms.report())
    graph.arms.rewarded(Decision("a", 1, {}), None, None)
    assert before != counted != polling._counted(graph.arms.report())
