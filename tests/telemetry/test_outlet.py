"""What an outlet promises: handing over never waits, and every item is accounted for."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.telemetry.outlet import Outlet
from anabranch.telemetry.registry import Observed, Registry
from tests.examples import examples

Counts = dict[str, float]


def counts(registry: Registry) -> Counts:
    """What the metrics say: selected, sent, waiting, and dropped by reason."""
    found: Counts = {}
    for name, cells in registry.snapshot().items():
        for labels, value in cells.items():
            assert not isinstance(value, Observed)
            word = name.removeprefix("anabranch_outlet_").removesuffix("_total")
            found["/".join([word, *labels[2:]])] = value
    return found


def dropped(found: Counts) -> float:
    return sum(value for name, value in found.items() if name.startswith("dropped/"))


class Sink:
    """Takes items, or does not: the gate holds it, ``error`` is what it raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.items: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.error = error

    def __call__(self, items: Sequence[int]) -> None:
        self.entered.set()
        assert self.gate.wait(30)
        if self.error is not None:
            raise self.error
        self.items += items


@contextmanager
def opened(sink: Sink, registry: Registry, **bounds: int) -> Iterator[Outlet[int]]:
    one = Outlet("g", "traces", sink, registry=registry, pause=0.0, **bounds)
    try:
        yield one
    finally:
        sink.gate.set()
        one.close(timeout=30)


def test_what_is_offered_is_delivered_in_order() -> None:
    sink, registry = Sink(), Registry()
    with opened(sink, registry) as one:
        assert all(one.offer(number) for number in range(1000))
    assert sink.items == list(range(1000))
    found = counts(registry)
    assert found["selected"] == found["sent"] == 1000
    assert found["waiting"] == dropped(found) == 0


def test_a_sink_that_hangs_holds_a_full_queue_and_nothing_else() -> None:
    sink, registry = Sink(), Registry()
    sink.gate.clear()
    with opened(sink, registry, most=10) as one:
        assert one.offer(0)
        assert sink.entered.wait(30)
        assert [one.offer(number) for number in range(1, 15)] == [True] * 9 + [False] * 5
        assert counts(registry)["waiting"] == 10
        assert counts(registry)["dropped/full"] == 5
    found = counts(registry)
    assert sink.items == list(range(10))
    assert found["sent"] == 10
    assert found["selected"] == found["sent"] + dropped(found) == 15


def test_what_waits_is_bounded_in_bytes() -> None:
    sink, registry = Sink(), Registry()
    sink.gate.clear()
    with opened(sink, registry, most_bytes=100) as one:
        assert one.offer(1, 60)
        assert not one.offer(2, 41)
        assert one.offer(3, 40)
    assert sink.items == [1, 3]


@pytest.mark.parametrize(
    ("error", "reason"), [(OSError("refused"), "failed"), (TimeoutError("slow"), "late")]
)
def test_a_sink_that_fails_drops_and_the_next_are_tried(error: Exception, reason: str) -> None:
    sink, registry = Sink(error), Registry()
    with opened(sink, registry) as one:
        assert all(one.offer(number) for number in range(100))
    found = counts(registry)
    assert found[f"dropped/{reason}"] == found["selected"] == 100
    assert found["sent"] == found["waiting"] == 0


def test_what_arrived_of_a_batch_is_sent_and_the_rest_failed() -> None:
    registry = Registry()
    one: Outlet[int] = Outlet("g", "traces", lambda items: len(items) // 2, registry=registry)
    for number in range(101):
        one.offer(number)
    assert one.close(timeout=30)
    found = counts(registry)
    assert 0 < found["sent"] <= 50
    assert found["sent"] + found["dropped/failed"] == found["selected"] == 101


def test_a_closed_outlet_takes_nothing_and_counts_it() -> None:
    sink, registry = Sink(), Registry()
    with opened(sink, registry) as one:
        pass
    assert not one.offer(1)
    assert counts(registry)["dropped/closed"] == counts(registry)["selected"] == 1


def test_closing_waits_for_no_sink_that_hangs() -> None:
    sink, registry = Sink(), Registry()
    sink.gate.clear()
    one = Outlet("g", "traces", sink, registry=registry)
    one.offer(0)
    assert sink.entered.wait(30)
    one.offer(1)
    assert not one.close(timeout=0.01)
    found = counts(registry)
    assert found["dropped/closed"] == found["waiting"] == 1
    sink.gate.set()
    assert one.close(timeout=30)
    assert sink.items == [0]
    assert counts(registry)["sent"] == 1


@settings(max_examples=examples(50), deadline=None)
@given(
    sizes=st.lists(st.integers(0, 50), max_size=60),
    most=st.integers(1, 20),
    fails=st.booleans(),
    threads=st.integers(1, 4),
)
def test_every_item_is_accounted_for(
    sizes: list[int], most: int, fails: bool, threads: int
) -> None:
    sink, registry = Sink(OSError() if fails else None), Registry()
    with opened(sink, registry, most=most, most_bytes=200) as one:

        def offer() -> None:
            for number, size in enumerate(sizes):
                one.offer(number, size)

        running = [threading.Thread(target=offer) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    found = counts(registry)
    assert found["selected"] == len(sizes) * threads
    assert found["selected"] == found["sent"] + dropped(found)
    assert found["waiting"] == 0
    assert len(sink.items) == found["sent"]
