from __future__ import annotations

import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.router.admission.backlog import TARGET, Backlog
from tests.router.admission.queueing import PLACES, ROUND, Queue, p99

doors = pytest.mark.parametrize("is_edge", [True, False], ids=["edge", "own port"])
SERVERS = [(1, 0.02), (1, 0.005), (2, 0.2), (4, 0.02), (16, 0.05)]
seeds = pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.nightly)])


@doors
@seeds
@pytest.mark.parametrize(("servers", "service"), SERVERS)
def test_at_four_times_the_capacity_goodput_and_latency_hold(
    servers: int, service: float, seed: int, is_edge: bool
) -> None:
    start, end = 10.0, 25.0
    queue = Queue(lambda t: 4.0, servers, lambda t: service, seed, is_edge=is_edge).run(end)
    assert queue.rate(start, end) >= 0.9 * servers / service
    assert p99(queue.times(start)) <= 2 * service * (1 + 1e-9)


@doors
@pytest.mark.parametrize(("load", "seconds"), [(1.25, 15), (1.5, 6)])
@pytest.mark.parametrize(("servers", "service"), [(1, 0.02), (4, 0.04), (32, 0.2)])
def test_a_small_overload_is_seen(
    servers: int, service: float, load: float, seconds: float, is_edge: bool
) -> None:
    queue = Queue(lambda t: load, servers, lambda t: service, is_edge=is_edge).run(seconds)
    assert queue.refused() > 0


@doors
@seeds
@pytest.mark.parametrize(("servers", "service"), SERVERS)
@pytest.mark.parametrize("load", [0.3, 0.9])
def test_nothing_is_refused_below_the_capacity(
    servers: int, service: float, load: float, seed: int, is_edge: bool
) -> None:
    queue = Queue(lambda t: load, servers, lambda t: service, seed, is_edge=is_edge).run(30)
    assert queue.refused() == 0


@seeds
def test_nor_where_service_times_are_most_uneven(seed: int) -> None:
    times = iter([0.002, 0.002, 0.056] * 100_000)
    assert (
        Queue(lambda t: 0.9, 4, lambda t: next(times) if t else 0.02, seed).run(30).refused() == 0
    )


def test_an_overload_that_passes_leaves_nothing_behind() -> None:
    queue = Queue(lambda t: 4.0 if t < 10 else 0.9, 4, lambda t: 0.05).run(60)
    assert queue.refused() > 0
    assert queue.refused(start=20) == 0
    assert queue.backlog.ceiling is None


def test_a_load_in_bursts_that_clear_is_borne() -> None:
    """Sixty at once, every two seconds, take 1.2 s each time."""
    backlog, now = Backlog(PLACES), 0.0
    for _ in range(20):
        for place in range(60):
            backlog.offered(now)
            assert backlog.inside < backlog.limit(5)
            assert backlog.began(now) == place + 1
        for place in range(60):
            backlog.ended(now + 0.02 * (place + 1), now, place + 1)
        now += 2


def test_clients_that_wait_for_their_answers_are_no_overload() -> None:
    """Two hundred of them, all of which begin at once."""
    backlog, now = Backlog(PLACES), 0.0
    entries = []
    for _ in range(200):
        backlog.offered(now)
        entries.append((now, backlog.began(now)))
    for began, rank in entries:  # grows by those who ask again
        now += 0.005
        backlog.ended(now, began, rank)
        backlog.offered(now)
        assert backlog.ceiling is None
        entries.append((now, backlog.began(now)))
        if len(entries) > 5000:
            break


@pytest.mark.parametrize("load", [0.7, 4.0])
def test_the_first_request_may_take_long(load: float) -> None:
    times = iter([3.0])
    queue = Queue(lambda t: load, 4, lambda t: next(times, 0.02) if t else 0.02).run(30)
    if load < 1:
        assert queue.refused() == 0
    else:
        assert queue.rate(10, 30) >= 0.9 * 200
        assert p99(queue.times(10)) <= 2 * 0.02 * 1.3  # one server's time at the start was 3 s


@pytest.mark.parametrize("most", [0, 128])
def test_clients_that_an_edge_has_in_flight_are_no_overload_while_they_are_accepted(
    most: int,
) -> None:
    """Nor where the edge has only told of them on connections that waited to be accepted."""
    backlog, now, entries = Backlog(PLACES), 0.0, deque[tuple[float, int]]()
    for number in range(128):
        backlog.told(most if number >= ROUND else 0)
        backlog.offered(now)
        entries.append((now, backlog.began(now)))
        now += 0.01
        if number % 4 == 3:
            backlog.ended(now, *entries.popleft())
            assert backlog.ceiling is None


def test_requests_that_another_queue_refuses_are_no_overload() -> None:
    """As those beyond a batched node's own queue."""
    backlog = Backlog(PLACES)
    for second in range(100):
        for number in range(160):
            now = second + number / 160
            backlog.offered(now)
            backlog.began(now)
            if number % 4:
                backlog.withdrawn(now)
            elif backlog.inside > 32:
                backlog.ended(now, now - 0.4, backlog.inside)
    assert backlog.ceiling is None


@pytest.mark.parametrize("load", [1.5, 4.0])
def test_batches_stay_full_under_overload(load: float) -> None:
    """Of a node with a long queue of its own, which takes 32 requests at a time."""
    size, service, backlog, draw = 32, 0.2, Backlog(PLACES), random.Random(0)
    waiting: list[tuple[float, int]] = []
    now, ends, answered = 0.0, 0.0, 0
    batch: list[tuple[float, int]] = []
    while now < 40:
        now += draw.expovariate(load * size / service)
        if ends <= now:
            for began, rank in batch:
                backlog.ended(ends, began, rank)
            answered += len(batch) if ends > 10 else 0
            batch, waiting = waiting[:size], waiting[size:]
            ends = max(ends, now if not batch else ends) + (service if batch else 0.0)
        backlog.offered(now)
        if backlog.inside < min(PLACES, backlog.limit(5)):
            waiting.append((now, backlog.began(now)))
    assert answered >= 0.9 * 30 * size / service


def test_a_graph_that_becomes_slow_is_measured_anew() -> None:
    """Its servers take five times as long; the load is what they can bear then, and more."""
    queue = Queue(lambda t: 4.0, 8, lambda t: 0.02 if t < 10 else 0.1).run(40)
    assert queue.rate(20, 40) >= 0.9 * 80
    assert p99(queue.times(20)) <= 2 * 0.1 * (1 + 1e-9)


def test_a_graph_that_slows_down_and_has_room_is_borne_soon() -> None:
    """As one that waits for a service elsewhere: 150 requests in progress are no queue."""
    queue = Queue(lambda t: 0.1 if t < 5 else 0.6, 250, lambda t: 0.02 if t < 5 else 0.2).run(30)
    assert queue.refused(start=10) == 0


def test_higher_priorities_are_refused_last() -> None:
    queue = Queue(lambda t: 1.5, 4, lambda t: 0.02, levels=(1, 5, 9)).run(30)
    offers = [offer for offer in queue.offers if offer.at >= 10]
    high, usual, low = (
        sum(o.took is None for o in offers if o.level == level)
        / sum(o.level == level for o in offers)
        for level in (1, 5, 9)
    )
    assert high < 0.05 < usual < low


def test_expected_time_is_known_of_a_queue_that_stands() -> None:
    backlog = Backlog(PLACES)
    assert backlog.expected(0.0) == 0.0
    backlog.offered(0.0)
    backlog.ended(0.01, 0.0, backlog.began(0.0))
    for _ in range(13):
        backlog.offered(1.0)
        backlog.began(1.0)
    assert backlog.expected(1.5) == 0.0  # no request has ended yet
    for number in range(1, 4):
        backlog.ended(1.0 + number, 1.0, number)
    assert backlog.expected(4.0) == pytest.approx(10.0)


def test_there_is_none_where_nobody_waits() -> None:
    backlog = Backlog(PLACES)
    for number in range(100):
        backlog.offered(float(number))
        backlog.ended(number + 0.1, number, backlog.began(number))
        assert backlog.expected(number + 0.5) == 0.0


Step = tuple[str, float]
steps = st.lists(
    st.tuples(
        st.sampled_from(["offer", "tell", "end", "fail", "withdraw", "error"]), st.floats(0, 0.5)
    ),
    max_size=300,
)


@given(steps, st.integers(2, 64))
def test_whatever_comes_the_books_are_right(taken: list[Step], fewest: int) -> None:
    backlog, now = Backlog(PLACES, fewest), 0.0
    inside: list[tuple[float, int]] = []
    for what, passed in taken:
        now += passed
        if what == "offer":
            backlog.offered(now)
            limits = [backlog.limit(level) for level in range(1, 10)]
            assert limits == sorted(limits, reverse=True)
            assert min(limits) >= 1
            if backlog.inside < min(limits[4], PLACES):
                inside.append((now, backlog.began(now)))
        elif what == "tell":
            backlog.told(len(inside) // ROUND * ROUND)
        elif inside:
            began, rank = inside.pop(0)
            if what in ("end", "error"):
                backlog.ended(now, began, rank if what == "end" else 0)
            elif what == "fail":
                backlog.failed(now)
            else:
                backlog.withdrawn(now)
        assert backlog.inside == len(inside)
        assert backlog.expected(now) >= 0.0
    assert backlog.unloaded >= 0.0


def test_clients_that_give_up_one_by_one_are_no_queue() -> None:
    """Nothing waits behind them, and the burst that follows is one like any other."""
    backlog = Backlog(PLACES)
    for number in range(4):
        backlog.offered(float(number))
        backlog.ended(number + 0.1, number, backlog.began(number))
    for number in range(100):
        backlog.offered(10.0 + number)
        backlog.began(10.0 + number)
        backlog.failed(10.5 + number)
    for number in range(100):
        backlog.offered(200.0)
        backlog.began(200.0)
        if number % 10 == 9:
            backlog.ended(200.1, 199.8, 2)
    assert backlog.ceiling is None


def test_a_wait_below_the_target_is_no_queue() -> None:
    """Requests of microseconds, of which many come at a time."""
    backlog, now = Backlog(PLACES), 0.0
    for _ in range(1000):
        for _ in range(10):
            backlog.offered(now)
            backlog.ended(now + TARGET / 2, now, backlog.began(now))
        now += 0.001
    assert backlog.ceiling is None
