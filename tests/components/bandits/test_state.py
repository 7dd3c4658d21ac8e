from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.bandits import RouteSums, State

ROUTES = ("a", "b", "c")
NONE: dict[str, Any] = {route: {} for route in ROUTES}
numbers = st.floats(-1e6, 1e6)
rewards = st.lists(st.tuples(st.sampled_from(ROUTES), numbers), max_size=30)
keeps = st.floats(0.01, 1.0)


def learned(found: list[tuple[str, float]], keep: float = 1.0) -> State:
    state = State.empty(ROUTES)
    for route, reward in found:
        state = state.after(route, reward, keep=keep)
    return state


@given(rewards, keeps)
def test_the_sums_are_those_of_all_rewards_each_discounted_by_its_age(
    found: list[tuple[str, float]], keep: float
) -> None:
    state = learned(found, keep)
    weights = keep ** np.arange(len(found) - 1, -1, -1.0)
    for route in ROUTES:
        mine = [index for index, (name, _) in enumerate(found) if name == route]
        sums = state.routes[route]
        assert sums.rewards == len(mine)
        assert sums.count == pytest.approx(weights[mine].sum())
        if mine:
            values = np.array([found[index][1] for index in mine])
            mean = np.average(values, weights=weights[mine])
            scale = max(1.0, np.abs(values).max())
            assert sums.mean == pytest.approx(mean, rel=1e-9, abs=1e-9 * scale)
            spread = (weights[mine] * (values - mean) ** 2).sum()
            assert sums.spread == pytest.approx(spread, rel=1e-6, abs=1e-9 * scale**2)


@given(st.lists(st.tuples(numbers, st.tuples(numbers, numbers)), min_size=1, max_size=10), keeps)
def test_features_are_summed_likewise(
    found: list[tuple[float, tuple[float, float]]], keep: float
) -> None:
    state = State.empty(ROUTES)
    for reward, features in found:
        state = state.after("b", reward, features, keep)
    weights = keep ** np.arange(len(found) - 1, -1, -1.0)
    x = np.array([features for _, features in found])
    gram = (x * weights[:, None]).T @ x
    moment = x.T @ (weights * [reward for reward, _ in found])
    close = {"rel": 1e-9, "abs": 1e-2}
    assert state.routes["b"].gram == pytest.approx((gram[0, 0], gram[1, 0], gram[1, 1]), **close)
    assert state.routes["b"].moment == pytest.approx(tuple(moment), **close)
    assert (state.routes["a"].gram, state.routes["a"].moment) == ((), ())


@given(rewards, keeps)
def test_what_is_written_is_read_back_the_same(found: list[tuple[str, float]], keep: float) -> None:
    state = learned(found, keep)
    assert State.read(state.to_json(), ("c", "b", "a"), 0) == state


def test_features_are_read_back_too() -> None:
    state = State.empty(ROUTES).after("a", 0.1, (0.1, 1 / 3, 7.0))
    assert State.read(state.to_json(), ROUTES, 3) == state
    for size in (0, 2):
        with pytest.raises(ValueError, match=f"another number of features than {size}"):
            State.read(state.to_json(), ROUTES, size)


def test_nothing_that_was_learned_changes() -> None:
    state = learned([("a", 1.0)])
    before = state.to_json()
    assert state.after("a", 0.0, keep=0.5) != state
    assert state.to_json() == before


def changed(**fields: Any) -> str:
    state = json.loads(learned([("a", 1.0)]).to_json())
    state["routes"]["a"] |= fields
    return json.dumps(state)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        json.dumps({"version": 1, "routes": {"a": {}}}),
        json.dumps({"version": 2, "routes": NONE}),
        json.dumps({"version": 1, "routes": {**NONE, "d": {}}}),
        json.dumps({"version": 1, "routes": NONE, "more": 1}),
        changed(more=1),
        changed(count=-1.0),
        changed(spread=-1e-9),
        changed(rewards=1.5),
        changed(rewards=True),
        changed(mean="1"),
        changed(mean=float("nan")),
        changed(mean=float("inf")),
        changed(gram=[1.0]),
        changed(moment=[float("nan")]),
    ],
)
def test_what_is_no_state_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        State.read(text, ROUTES, 0)


def test_a_state_of_other_routes_is_refused() -> None:
    with pytest.raises(ValueError, match="a state of the routes a, b, c"):
        State.read(State.empty(ROUTES).to_json(), ("a", "b"), 0)


def test_sums_begin_with_nothing() -> None:
    empty: Mapping[str, RouteSums] = State.empty(ROUTES).routes
    assert empty == dict.fromkeys(ROUTES, RouteSums(0, 0.0, 0.0, 0.0, (), ()))
