from __future__ import annotations

import pytest

from tests.router.admission.queueing import Loop, p99

seeds = pytest.mark.parametrize("seed", range(2))
COST = 1e-3


@seeds
@pytest.mark.parametrize("in_tasks", [False, True])
def test_at_four_times_the_capacity_goodput_and_latency_hold(seed: int, in_tasks: bool) -> None:
    times = Loop(COST, load=4.0, seed=seed, in_tasks=in_tasks).run(30).times(start=2)
    assert len(times) * COST / 28 >= 0.9
    assert p99(times) <= 0.01


@seeds
@pytest.mark.parametrize("load", [0.5, 0.9])
def test_nothing_is_refused_below_the_capacity(load: float, seed: int) -> None:
    assert Loop(COST, load=load, seed=seed).run(30).refused() == 0


@pytest.mark.parametrize(("cost", "clients"), [(1e-3, 64), (1e-3, 256), (1e-4, 1000)])
def test_clients_that_wait_for_their_answers_are_no_overload(cost: float, clients: int) -> None:
    assert Loop(cost, clients=clients).run(30).refused() == 0


def test_the_first_of_a_turn_is_let_in_whatever_it_costs() -> None:
    """Or a loop with requests that take longer than the target would answer none."""
    loop = Loop(0.05, load=4.0).run(30)
    assert loop.refused() > 0
    assert len(loop.times(start=5)) * 0.05 / 25 >= 0.9
