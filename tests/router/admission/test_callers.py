from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.access.limits import CallerLimits, LimitsByCaller
from anabranch.errors import Quota, TooManyRequests, Unavailable
from anabranch.router.admission.admission import Admission
from anabranch.router.admission.callers import ACTIVE_S, COUNTED_S, MOST_CALLERS, Callers
from tests.router.admission.queueing import Shared, p99


def callers(limits: CallerLimits, routers: int = 1) -> Callers:
    """What a router knows of callers that have all the same limits."""
    found = Callers("demo")
    found.limit(LimitsByCaller(others=limits), routers, 0.0)
    return found


def ask(at: Callers, now: float, name: str = "ada") -> bool:
    """Whether a request that ends at once is let in."""
    state = at.of(name, now)
    try:
        state.check(now)
    except TooManyRequests:
        return False
    with state.begin(now):
        return True


def refusal(at: Callers, now: float = 0.0, name: str = "ada") -> TooManyRequests:
    with pytest.raises(TooManyRequests) as caught:
        at.of(name, now).check(now)
    return caught.value


def test_a_rate_has_a_burst_and_is_told_with_its_quota() -> None:
    at = callers(CallerLimits(rate=4.0, burst=8))
    assert [ask(at, 0.0) for _ in range(9)] == [True] * 8 + [False]
    error = refusal(at)
    assert str(error) == (
        "caller 'ada' may ask graph 'demo' for 4 requests a second, 8 at once, and this is more; "
        "try again in 1s"
    )
    assert error.quota == Quota(limit=8, window=2, reset=1)
    assert [ask(at, 0.25), ask(at, 0.25)] == [True, False]


def test_callers_do_not_use_up_what_is_others() -> None:
    at = callers(CallerLimits(rate=1.0))
    assert ask(at, 0.0, "ada")
    assert not ask(at, 0.0, "ada")
    assert ask(at, 0.0, "bob")
    assert str(refusal(at, 0.0, "ada")).startswith("caller 'ada' may ask")
    assert ask(at, 0.0, "")
    assert str(refusal(at, 0.0, "")).startswith("callers without a name may ask")


def test_requests_under_way_have_places() -> None:
    at = callers(CallerLimits(in_flight=2))
    state = at.of("ada", 0.0)
    with ExitStack() as held:
        held.enter_context(state.begin(0.0))
        held.enter_context(state.begin(0.0))
        error = refusal(at)
        assert "for 2 requests under way, and this is more; try again in 1s" in str(error)
        assert error.quota is None
        assert ask(at, 0.0, "bob")
    assert ask(at, 0.0)


def test_tokens_are_counted_behind_and_have_to_come_back() -> None:
    at = callers(CallerLimits(tokens_per_minute=60))
    assert ask(at, 0.0)
    tokens = at.of("ada", 0.0).tokens
    assert tokens is not None
    tokens.take(0.0, 90)
    error = refusal(at)
    assert "for 60 tokens a minute, and this is more; try again in 31s" in str(error)
    assert error.quota == Quota(limit=60, window=60, reset=31)
    assert not ask(at, 29.0)
    assert ask(at, 31.0)


@given(
    st.integers(1, 6), st.floats(0.5, 40), st.integers(1, 30), st.integers(0, 2**32),
    st.floats(1, 10),
)  # fmt: skip
def test_all_routers_together_let_no_more_through_than_the_limit(
    routers: int, rate: float, burst: int, seed: int, times: float
) -> None:
    limits = CallerLimits(rate=rate, burst=burst)
    graph = [callers(limits, routers) for _ in range(routers)]
    rng, now, let_in = random.Random(seed), 0.0, []
    while now < 20 / rate:
        now += rng.expovariate(times * rate)
        if ask(rng.choice(graph), now):
            let_in.append(now)
    for first, last in itertools.combinations(range(len(let_in)), 2):
        most = max(burst, routers) + rate * (let_in[last] - let_in[first])
        assert last - first + 1 <= most + 1e-6


@pytest.mark.parametrize("routers", [1, 2, 5])
def test_requests_that_go_to_all_routers_alike_get_the_whole_rate(routers: int) -> None:
    graph = [callers(CallerLimits(rate=10.0), routers) for _ in range(routers)]
    turn = itertools.cycle(graph)
    let_in = sum(ask(next(turn), number / 100) for number in range(3000))
    assert 300 - routers <= let_in <= 300 + 10


@given(st.integers(1, 9), st.integers(1, 9))
def test_places_are_rounded_up(routers: int, in_flight: int) -> None:
    graph = [callers(CallerLimits(in_flight=in_flight), routers) for _ in range(routers)]
    with ExitStack() as held:
        for at in graph * in_flight:
            with suppress(TooManyRequests):
                at.of("ada", 0.0).check(0.0)
                held.enter_context(at.of("ada", 0.0).begin(0.0))
        inside = sum(at.of("ada", 0.0).inside for at in graph)
    assert in_flight <= inside <= in_flight + routers - 1


def test_other_limits_hold_at_once_and_what_was_used_stays_used() -> None:
    at = callers(CallerLimits(rate=10.0, burst=10))
    for _ in range(10):
        assert ask(at, 0.0)
    at.limit(LimitsByCaller(others=CallerLimits(rate=10.0, burst=10)), 2, 0.0)
    at.limit(LimitsByCaller(others=CallerLimits(rate=10.0, burst=99)), 1, 0.0)
    assert not ask(at, 0.0)
    at.limit(LimitsByCaller({"ada": CallerLimits()}), 1, 0.0)
    assert all(ask(at, 0.0) for _ in range(99))
    at.limit(None, 1, 0.0)
    assert ask(at, 0.0)


def test_the_most_idle_callers_are_forgotten_but_not_while_they_are_served() -> None:
    at = callers(CallerLimits(rate=0.001))
    served = at.of("served", 0.0).begin(0.0)
    for number in range(MOST_CALLERS):
        assert ask(at, 1.0 + number, f"caller-{number}")
    assert at.of("served", 1.0) is served
    last = MOST_CALLERS - 1
    assert not ask(at, 1.0 + last, f"caller-{last}")
    assert ask(at, 1.0 + last, "caller-0")


# Turns under overload

seeds = pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.nightly)])
servers = pytest.mark.parametrize(("servers", "seconds"), [(1, 60), (4, 30), (16, 12)])
START = 5


def two(a: float, b: float, servers: int, seed: int, **more: Any) -> Shared:
    loads = {"a": lambda t: a, "b": lambda t: b}
    return Shared(loads, servers=servers, seed=seed, **more)


@seeds
@servers
def test_ten_times_the_share_of_one_leaves_anothers_latency_and_requests(
    servers: int, seconds: int, seed: int
) -> None:
    fair = two(0.4, 0.4, servers, seed).run(seconds)
    greedy = two(4.0, 0.4, servers, seed).run(seconds)
    assert p99(greedy.times("b", START)) <= 1.2 * p99(fair.times("b", START))
    assert greedy.refused("b", START) <= 0.06
    answered = len(greedy.times("a", START)) + len(greedy.times("b", START))
    assert answered * greedy.service / servers >= 0.97 * (seconds - START)


@seeds
@servers
def test_ten_times_the_limit_of_one_leaves_anothers_latency_and_requests(
    servers: int, seconds: int, seed: int
) -> None:
    rate = 0.4 * servers / 0.02
    limits = LimitsByCaller({"a": CallerLimits(rate=rate, burst=servers)})
    fair = two(0.4, 0.4, servers, seed).run(seconds)
    greedy = two(4.0, 0.4, servers, seed, limits=limits).run(seconds)
    assert p99(greedy.times("b", START)) <= 1.2 * p99(fair.times("b", START))
    assert greedy.refused("b") == 0
    assert 0.88 <= greedy.refused("a", START) <= 0.92


@seeds
@servers
def test_callers_that_all_ask_for_too_much_have_about_equal_parts(
    servers: int, seconds: int, seed: int
) -> None:
    queue = two(9.0, 3.0, servers, seed).run(seconds)
    a, b = (queue.times(name, START) for name in "ab")
    assert len(b) <= len(a) <= 1.15 * len(b)
    assert (len(a) + len(b)) * queue.service / servers >= 0.97 * (seconds - START)
    assert max(p99(a), p99(b)) <= 6 * queue.service


@seeds
def test_a_caller_that_is_alone_is_let_in_as_if_it_had_no_name(seed: int) -> None:
    named, nameless = (
        Shared({name: lambda t: 4.0}, seed=seed).run(20).offers[name] for name in ("a", "")
    )
    assert named == nameless
    assert any(offer.took is None for offer in named)


@seeds
def test_a_caller_that_has_gone_leaves_its_part(seed: int) -> None:
    loads = {"a": lambda t: 4.0, "b": lambda t: 0.4 if t < 20 else 0.0}
    queue = Shared(loads, seed=seed).run(40)
    answered = [one for one in queue.offers["a"] if one.took is not None and one.at >= 25]
    assert len(answered) * queue.service >= 0.97 * 15


def test_the_last_places_are_for_callers_that_have_few() -> None:
    now = 0.0
    gate = Admission("demo", 8, clock=lambda: now)

    async def main() -> None:
        nonlocal now
        with ExitStack() as held:
            for _ in range(6):
                held.enter_context(gate.place(caller="a"))
            now += COUNTED_S
            held.enter_context(gate.place(caller="b"))
            now += COUNTED_S
            message = "caller 'a' has 6 of the 8 requests in progress that this replica takes"
            for ask in (gate.check, lambda name: gate.place(caller=name)):
                with pytest.raises(Unavailable, match=message):
                    ask("a")
            held.enter_context(gate.place())
            with pytest.raises(Unavailable, match="8 requests are in progress, the most that"):
                gate.place(caller="b")
        now += 2 * ACTIVE_S
        with ExitStack() as held:
            for _ in range(8):
                held.enter_context(gate.place(caller="a"))

    asyncio.run(main())
