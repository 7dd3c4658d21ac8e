from __future__ import annotations

from collections.abc import Callable

import pytest

from anabranch.router.admission.turns import LONGEST, Turns
from tests.router.admission.queueing import Edge, Loop, p99

seeds = pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.nightly)])
doors = pytest.mark.parametrize("edge", [Edge, lambda: None], ids=["edge", "own port"])
behinds = pytest.mark.parametrize(
    "behind", [0, 2, 4, *(pytest.param(n, marks=pytest.mark.nightly) for n in (1, 3))]
)
COST = 1e-3
Door = Callable[[], Edge | None]


@seeds
@behinds
@pytest.mark.parametrize("cost", [1e-3, 5e-3])
def test_behind_an_edge_goodput_and_latency_hold_at_four_times_the_capacity(
    seed: int, behind: int, cost: float
) -> None:
    loop = Loop(cost, load=lambda t: 4.0, seed=seed, behind=behind, edge=Edge()).run(20)
    times = loop.times(start=5)
    assert len(times) * cost / 15 >= 0.95
    assert p99(times) <= 3 * cost * (1 + 1e-9)


@pytest.mark.parametrize(("behind", "delay"), [(0, 1e-3), (0, 5e-3), (2, 3e-3)])
def test_the_loop_does_not_idle_where_the_edge_takes_its_time(behind: int, delay: float) -> None:
    """As it does where it waits for a processor: more requests have to be on their way then."""
    edge = Edge(delay=delay)
    loop = Loop(COST, load=lambda t: 4.0, behind=behind, edge=edge).run(18)
    times = loop.times(start=8)
    assert len(times) * COST / 10 >= 0.9
    assert p99(times) <= 0.01 + 5 * delay


@seeds
@pytest.mark.parametrize("behind", [0, 2])
def test_an_overload_is_seen_before_a_thousand_connections_wait(seed: int, behind: int) -> None:
    """From then on nothing grows any more, as with clients that wait for their answers."""
    edge = Edge(most=1024)
    loop = Loop(0.7e-3, load=lambda t: 4.0, seed=seed, behind=behind, edge=edge).run(10)
    times = loop.times(start=3)
    assert len(times) * 0.7e-3 / 7 >= 0.95
    assert p99(times) <= 3 * 0.7e-3 * (1 + 1e-9)


@seeds
def test_without_an_edge_what_is_too_much_is_refused_by_the_loop(seed: int) -> None:
    times = Loop(COST, load=lambda t: 4.0, seed=seed).run(30).times(start=5)
    assert len(times) * COST / 25 >= 0.85
    assert p99(times) <= 0.02


@doors
@seeds
@pytest.mark.parametrize("load", [0.5, 0.9])
def test_nothing_is_refused_below_the_capacity(load: float, seed: int, edge: Door) -> None:
    loop = Loop(COST, load=lambda t: load, seed=seed, edge=edge()).run(30)
    assert loop.refused() == 0


@pytest.mark.parametrize("load", [1.25, 1.5])
@behinds
def test_a_small_overload_is_seen_within_seconds(load: float, behind: int) -> None:
    judge_small_overload(load, behind)


def test_the_smallest_overload_is_seen_within_seconds() -> None:
    judge_small_overload(1.1, 0)


def judge_small_overload(load: float, behind: int) -> None:
    times = Loop(COST, load=lambda t: load, edge=Edge(), behind=behind).run(30).times(start=8)
    assert p99(times) <= 0.01


@pytest.mark.parametrize("clients", [16, 128, 256, 1000])
@pytest.mark.parametrize("cost", [3e-4, 1e-3, 5e-3, 0.02])
@behinds
def test_clients_that_wait_for_their_answers_are_no_overload(
    cost: float, clients: int, behind: int
) -> None:
    """However slowly their connections are accepted."""
    loop = Loop(cost, clients=clients, edge=Edge(), behind=behind)
    loop.run(5 + 2 * clients * cost)
    assert loop.refused() == 0


def test_a_burst_is_no_overload() -> None:
    loop = Loop(COST, load=lambda t: 4.0 if 5 < t < 5.1 else 0.3, edge=Edge()).run(20)
    assert loop.refused() == 0


@doors
def test_nothing_is_refused_soon_after_an_overload(edge: Door) -> None:
    loop = Loop(COST, load=lambda t: 4.0 if t < 10 else 0.5, edge=edge()).run(30)
    assert loop.refused() > 0
    assert loop.refused(start=14) == 0


def test_an_overload_that_was_none_ends_by_itself() -> None:
    """Clients that ask again at once when they are refused look like one."""
    turns = Turns()
    turns.is_pressed = True
    loop = Loop(COST, clients=64, edge=Edge(), turns=turns).run(LONGEST + 5)
    assert loop.refused(start=LONGEST + 3) == 0


def test_the_first_of_a_turn_is_let_in_whatever_it_costs() -> None:
    """Or a loop with requests that take longer than the target would answer none."""
    loop = Loop(0.05, load=lambda t: 4.0, edge=Edge()).run(60)
    assert loop.refused() > 0
    assert len(loop.times(start=5)) * 0.05 / 55 >= 0.9
