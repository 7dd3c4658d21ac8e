"""What waits for segments that hang takes no places of other requests."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.errors import DeadlineExceeded, Unavailable
from anabranch.router.admission.admission import Admission, Overload, Place
from anabranch.router.admission.bulkheads import SHARE, Bulkhead, CallPlace, bulkheads
from anabranch.router.admission.ceiling import FEWEST
from tests.clock import Clock
from tests.examples import examples

PLACES = 256
Held: TypeAlias = Place | CallPlace


def hung(gate: Admission, heads: dict[str, Bulkhead], order: list[str]) -> dict[str, int]:
    """Have a request for each of these segments come, which hangs if let in; how many are."""
    for name in order:
        place = gate.place(streams=True)
        try:
            heads[name].place({}, None)
        except Unavailable as error:
            place.__exit__(type(error), error, None)
    return {name: head.inside for name, head in heads.items()}


def admission(places: int) -> Admission:
    return Admission("demo", places, clock=lambda: 0.0)


async def places_left(places: int, segments: int, order: list[int]) -> tuple[int, int, list[int]]:
    gate = admission(places)
    names = [f"s{number}" for number in range(segments)]
    heads = bulkheads(dict.fromkeys(names, FEWEST), gate, clock=lambda: 0.0)
    inside = hung(gate, heads, [names[one % segments] for one in order])
    assert gate.inside == sum(inside.values())
    left = 0
    while True:
        try:
            gate.place(streams=True)
        except Unavailable:
            return gate.limit, left, list(inside.values())
        left += 1


@settings(max_examples=examples(100))
@given(
    places=st.integers(8, 300),
    segments=st.integers(1, 6),
    order=st.lists(st.integers(0, 5), min_size=1, max_size=700),
)
def test_whatever_hangs_places_are_left(places: int, segments: int, order: list[int]) -> None:
    """A quarter of them where one segment hangs, and as many of the rest each for several."""
    limit, left, inside = asyncio.run(places_left(places, segments, order))
    hanging = sum(one > 0 for one in inside)
    assert left >= limit // (1 + 3 * hanging) - hanging
    assert left >= 1


@pytest.mark.parametrize(("segments", "let_in", "left"), [(1, [192], 64), (2, [110, 109], 37)])
def test_how_many_wait_at_most(segments: int, let_in: list[int], left: int) -> None:
    order = list(range(segments)) * 300
    assert asyncio.run(places_left(PLACES, segments, order)) == (PLACES, left, let_in)


def test_a_segment_that_is_well_is_not_shut_out_by_other_requests() -> None:
    async def main() -> None:
        gate = admission(PLACES)
        heads = bulkheads({"one": FEWEST, "other": FEWEST}, gate, clock=lambda: 0.0)
        for _ in range(PLACES - 90):
            gate.place(streams=True)
        assert hung(gate, heads, ["one"] * 90) == {"one": 89, "other": 0}
        assert int(SHARE * PLACES) // 2 == 96

    asyncio.run(main())


def test_a_refusal_names_the_segment() -> None:
    async def main() -> None:
        gate = admission(8)
        (head,) = bulkheads({"forest": FEWEST}, gate, clock=lambda: 0.0).values()
        hung(gate, {"forest": head}, ["forest"] * 6)
        with pytest.raises(Unavailable, match="6 requests wait for segment 'forest', and") as found:
            head.place({}, None)
        assert found.value.retry_after == 1
        assert (head.inside, gate.inside) == (6, 6)

    asyncio.run(main())


def overloaded(clock: Clock, gate: Admission, head: Bulkhead) -> Overload:
    """Have four calls come for each one that ends, until one is refused; why it is."""
    waiting: deque[tuple[Held, ...]] = deque()
    for number in itertools.count():
        clock.now += 0.005
        place = gate.place()
        try:
            waiting.append((head.place({}, None), place))
        except Overload as error:
            place.__exit__(type(error), error, None)
            return error
        if number % 4 == 3 or number < 12:
            for one in waiting.popleft():
                one.__exit__(None, None, None)
    raise AssertionError("no overload")


def test_an_overload_of_a_segment_is_none_of_its_graph() -> None:
    async def main() -> None:
        clock = Clock(0.0)
        gate = Admission("demo", PLACES, clock=clock)
        (head,) = bulkheads({"forest": FEWEST}, gate, clock).values()
        error = overloaded(clock, gate, head)
        assert str(error).startswith("segment 'forest' gets more requests than it can answer")
        assert head.inside < 100
        for _ in range(100):
            with gate.place():
                clock.now += 0.005

    asyncio.run(main())


def test_a_call_whose_deadline_cannot_be_met_is_refused() -> None:
    async def main() -> None:
        clock = Clock(0.0)
        gate = Admission("demo", PLACES, clock=clock)
        (head,) = bulkheads({"forest": FEWEST}, gate, clock).values()
        for _ in range(3):
            with head.place({}, None):
                clock.now += 0.02
        waiting: deque[CallPlace] = deque()
        for number in range(200):
            clock.now += 0.005
            waiting.append(head.place({}, None))
            if number % 4 == 3:
                waiting.popleft().__exit__(None, None, None)
            if head.backlog.expected(clock.now) > 0.01:
                break
        with pytest.raises(Overload, match=r"'forest' cannot answer within 0\.01s"):
            head.place({}, 0.01)
        head.place({}, 60.0)

    asyncio.run(main())


def test_a_request_that_has_left_is_not_measured_again() -> None:
    """Work that goes on in its context may still call a segment."""

    async def main() -> None:
        gate = admission(PLACES)
        (head,) = bulkheads({"forest": FEWEST}, gate, lambda: 0.0).values()
        with gate.place():
            pass
        with head.place({}, None):
            assert (gate.inside, gate._backlog.inside) == (0, 0)
        with gate.place():
            assert gate._backlog.inside == 1
            for _ in range(2):
                with head.place({}, None):
                    assert (gate.inside, gate._backlog.inside) == (1, 0)
        assert (gate.inside, gate._backlog.inside) == (0, 0)

    asyncio.run(main())


def test_what_a_request_waited_for_before_its_call_counts() -> None:
    async def main() -> None:
        clock = Clock(0.0)
        gate = Admission("demo", PLACES, clock=clock)
        (head,) = bulkheads({"forest": FEWEST}, gate, clock).values()
        with gate.place():
            clock.now += 0.02
            with head.place({}, None):
                clock.now += 5.0
        assert gate._backlog.unloaded == pytest.approx(0.02)
        assert head.backlog.unloaded == pytest.approx(5.0)

    asyncio.run(main())


@dataclass
class Hanging:
    """A router of a graph with a segment that hangs, and requests of which some need it.

    Both kinds come at random, ``needing`` and ``others`` a second. The former end at their
    deadline, after ``deadline`` seconds; the others take ``took(draw)`` seconds. Time is simulated.
    """

    needing: float
    others: float
    took: Callable[[random.Random], float]
    deadline: float = 20.0
    seed: int = 0
    let_in: dict[str, int] = field(default_factory=lambda: {"needing": 0, "others": 0})
    refused: list[str] = field(default_factory=list)
    """Why others were refused."""

    async def run(self, seconds: float) -> Hanging:
        now = 0.0
        gate = Admission("demo", PLACES, clock=lambda: now)
        (head,) = bulkheads({"forest": FEWEST}, gate, clock=lambda: now).values()
        draw, number = random.Random(self.seed), itertools.count()
        events: list[tuple[float, int, str, list[Held]]] = []

        def at(time: float, kind: str, *places: Held) -> None:
            heapq.heappush(events, (time, next(number), kind, list(places)))

        for kind in self.let_in:
            at(draw.expovariate(getattr(self, kind)), kind)
        while events:
            now, _, kind, places = heapq.heappop(events)
            await asyncio.sleep(0)
            for one in places:
                one.__exit__(DeadlineExceeded if kind == "needing" else None, None, None)
            if places:
                continue
            if now > seconds:
                continue
            at(now + draw.expovariate(getattr(self, kind)), kind)
            try:
                place = gate.place()
            except Unavailable as error:
                if kind == "others":
                    self.refused.append(f"{now:.3f}: {error}")
                continue
            if kind == "others":
                at(now + self.took(draw), kind, place)
            else:
                try:
                    at(now + self.deadline, kind, head.place({}, None), place)
                except Unavailable as error:
                    place.__exit__(type(error), error, None)
                    continue
            self.let_in[kind] += 1
        return self


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in (1, 2))]
)
@pytest.mark.parametrize("needing", [5.0, 50.0, 500.0])
@pytest.mark.parametrize(
    ("others", "took"),
    [
        (200.0, lambda draw: 0.002),
        (100.0, lambda draw: draw.uniform(0.001, 0.1)),
        (20.0, lambda draw: draw.expovariate(5)),
        (2.0, lambda draw: 0.05),
    ],
    ids=["quick", "mixed", "slow", "rare"],
)
def test_requests_that_do_not_need_a_segment_that_hangs_are_always_let_in(
    others: float, took: Callable[[random.Random], float], needing: float, seed: int
) -> None:
    found = asyncio.run(Hanging(needing, others, took, seed=seed).run(60.0))
    assert found.refused == []
    assert found.let_in["others"] > 60
    assert found.let_in["needing"] >= min(needing * 50, 192)
