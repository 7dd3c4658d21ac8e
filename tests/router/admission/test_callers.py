from __future__ import annotations

import itertools
import random
from contextlib import ExitStack, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.access.limits import CallerLimits, LimitsByCaller
from anabranch.errors import Quota, TooManyRequests
from anabranch.router.admission.callers import MOST_CALLERS, Callers


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
    assert not at.are_limited
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
