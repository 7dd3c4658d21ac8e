"""What is answered, tried again and lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from anabranch.control.later import worker as module
from anabranch.control.later.metrics import AsyncMetrics
from anabranch.control.later.worker import MOST_OF_GRAPH, AsyncWorker, pause
from anabranch.control.store.async_requests import AsyncRequests, DueRequest, KeptReply
from anabranch.errors import NotFound, Unavailable
from anabranch.router.gateway.http_router import RouterEnded
from anabranch.router.later import AsyncRequest, AsyncState
from anabranch.telemetry.definitions import ASYNC_ENDED, ASYNC_OPEN, MetricDefinition
from anabranch.telemetry.registry import Labels, Registry
from tests.control.stores import new_store
from tests.waiting import until

REQUEST = AsyncRequest("/v2/models/digits/infer", (), b"{}", "key:ci", idempotent=False)
GOOD = KeptReply(200, (), b"good")
BUSY = KeptReply(503, (), b"busy")


@pytest.fixture
def requests(tmp_path: Path) -> Iterator[AsyncRequests]:
    store = new_store(f"sqlite:///{tmp_path / 'store.db'}")
    yield AsyncRequests(store.database)
    store.close()


class Router:
    """Gives or raises one outcome after the other."""

    def __init__(self, *outcomes: KeptReply | Exception) -> None:
        self.outcomes = list(outcomes)
        self.asked = 0

    async def __call__(self, one: DueRequest) -> KeptReply:
        self.asked += 1
        found = self.outcomes.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


def nobody() -> None:
    """Nobody wants to know that a request is over."""


def ended(
    requests: AsyncRequests, router: Callable[..., object], request: AsyncRequest = REQUEST
) -> AsyncState:
    """What becomes of a request."""
    id = requests.add("digits", request).id

    async def main() -> AsyncState:
        running = asyncio.create_task(AsyncWorker(requests, router, nobody).run())  # type: ignore[arg-type]
        find = requests.find

        def is_over() -> bool:
            found = find("digits", id, None)
            return found is not None and found.phase not in ("waiting", "running")

        await asyncio.to_thread(until, is_over)
        running.cancel()
        found = find("digits", id, None)
        assert found is not None
        return found

    return asyncio.run(main())


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(module, "LONGEST_PAUSE_S", 0.002)
    monkeypatch.setattr(module, "_LOOK_S", 0.005)


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize(
    ("outcomes", "repeatable", "once"),
    [
        ([GOOD], (200, 1), (200, 1)),
        ([BUSY, GOOD], (200, 2), (503, 1)),
        ([Unavailable("no router"), GOOD], (200, 2), (200, 2)),
        ([RouterEnded("gone"), GOOD], (200, 2), (0, 1)),
        ([NotFound("no graph")], (404, 1), (404, 1)),
        ([OSError("no token"), GOOD], (200, 2), (0, 1)),
    ],
)
def test_what_becomes_of_a_request(
    requests: AsyncRequests,
    idempotent: bool,
    outcomes: list[KeptReply | Exception],
    repeatable: tuple[int, int],
    once: tuple[int, int],
) -> None:
    router = Router(*outcomes)
    found = ended(requests, router, replace(REQUEST, idempotent=idempotent))
    status, asked = repeatable if idempotent else once
    assert (found.status, router.asked) == (status, asked)
    assert found.phase == ("lost" if status == 0 else "done")


def test_it_is_not_tried_for_ever(requests: AsyncRequests) -> None:
    router = Router(*[BUSY] * module.ATTEMPTS)
    assert ended(requests, router, replace(REQUEST, idempotent=True)).status == 503
    assert router.asked == module.ATTEMPTS


def test_a_store_that_does_not_answer_ends_no_evaluation(
    requests: AsyncRequests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY_S", 0.005)
    gate, asked, away, began = asyncio.Event(), 0, 0, 0
    find, recover = requests.has_waiting, requests.recover

    async def send(one: DueRequest) -> KeptReply:
        nonlocal asked
        asked += 1
        await gate.wait()
        return GOOD

    def often_away() -> bool:
        nonlocal away
        if asked and away < 3:
            away += 1
            raise Unavailable("the store does not answer")
        return find()

    def once_away() -> list[str]:
        nonlocal began
        began += 1
        if began == 1:
            raise Unavailable("the store does not answer")
        return recover()

    monkeypatch.setattr(requests, "has_waiting", often_away)
    monkeypatch.setattr(requests, "recover", once_away)
    id = requests.add("digits", REQUEST).id

    async def main() -> None:
        running = asyncio.create_task(AsyncWorker(requests, send, nobody).run())
        await asyncio.to_thread(until, lambda: away == 3)
        gate.set()
        await asyncio.to_thread(until, lambda: requests.kept()[0] == 0)
        running.cancel()

    asyncio.run(main())
    found = requests.find("digits", id, None)
    assert found is not None
    assert (found.phase, found.status, asked) == ("done", 200, 1)
    assert began == 2


def test_few_of_a_graph_run_at_a_time_and_a_cancelled_one_ends(requests: AsyncRequests) -> None:
    now, most = 0, 0
    gate = asyncio.Event()

    async def send(one: DueRequest) -> KeptReply:
        nonlocal now, most
        now += 1
        most = max(most, now)
        try:
            await gate.wait()
        finally:
            now -= 1
        return GOOD

    ids = [requests.add("digits", REQUEST).id for _ in range(3 * MOST_OF_GRAPH)]

    async def main() -> None:
        worker = AsyncWorker(requests, send, nobody)
        running = asyncio.create_task(worker.run())
        await asyncio.to_thread(until, lambda: now == MOST_OF_GRAPH)
        requests.withdraw("digits", ids[0], None)
        worker.cancel("digits", ids[0])
        gate.set()
        await asyncio.to_thread(until, lambda: requests.kept()[0] == 0)
        running.cancel()

    asyncio.run(main())
    assert most <= MOST_OF_GRAPH + 1
    phases = [found.phase for id in ids if (found := requests.find("digits", id, None))]
    assert phases == ["cancelled", *["done"] * (len(ids) - 1)]


def test_metrics_tell_how_requests_stand_and_ended(
    requests: AsyncRequests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each end is also told, once it is in the store: a webhook may wait for it."""
    monkeypatch.setattr(module, "_COUNT_S", 0.0)
    registry, gate = Registry(), asyncio.Event()
    requests.add("left", REQUEST)
    requests.due(time.time(), 1, [])
    outcomes: list[KeptReply | Exception] = [GOOD, RouterEnded("gone"), NotFound("no graph"), GOOD]

    async def send(one: DueRequest) -> KeptReply:
        await gate.wait()
        found = outcomes.pop()
        if isinstance(found, Exception):
            raise found
        return found

    ids = [requests.add("digits", REQUEST).id for _ in range(MOST_OF_GRAPH + 1)]
    left, _ = requests.kept()
    left_when_told: list[int] = []

    def shown(metric: MetricDefinition) -> Mapping[Labels, object]:
        return registry.snapshot().get(metric.name, {})

    def told() -> None:
        left_when_told.append(requests.kept()[0])

    async def main() -> None:
        worker = AsyncWorker(requests, send, told, AsyncMetrics(registry))
        running = asyncio.create_task(worker.run())
        full = {("digits", "waiting"): 1, ("digits", "running"): MOST_OF_GRAPH}
        await asyncio.to_thread(until, lambda: shown(ASYNC_OPEN) == full)
        requests.withdraw("digits", ids[-1], None)
        worker.cancel("digits", ids[-1])
        gate.set()
        await asyncio.to_thread(until, lambda: shown(ASYNC_OPEN) == {})
        running.cancel()

    asyncio.run(main())
    assert shown(ASYNC_ENDED) == {
        ("left", "lost"): 1, ("digits", "cancelled"): 1, ("digits", "answered"): 2,
        ("digits", "failed"): 1, ("digits", "lost"): 1,
    }  # fmt: skip
    assert len(left_when_told) == left
    assert all(now <= left - told for told, now in enumerate(left_when_told, 1))


def test_pauses_grow_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    pauses = [pause(failed) for failed in range(30)]
    assert pauses[:3] == [1.0, 2.0, 4.0]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 60.0
