"""Weighted rendezvous hashing: stable keys, right shares, and no key moves that need not."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.sticky.rendezvous import Rendezvous

KEYS = [f"user-{index}" for index in range(10_000)]
weights = st.floats(0.001, 1000) | st.integers(1, 100)
arms = st.dictionaries(st.integers(1, 10**9), weights, min_size=2, max_size=5)

ELSEWHERE = """
import hashlib
from anabranch.components.sticky.rendezvous import Rendezvous
arms = Rendezvous({12: 0.5, 4: 9, 3: 90})
picks = [arms.pick(f"user-{index}") for index in range(10_000)]
print(hashlib.sha256(repr(picks).encode()).hexdigest())
"""


def picks(given: dict[int, float]) -> list[int]:
    return list(map(Rendezvous(given).pick, KEYS))


def test_the_same_keys_go_to_the_same_arms_in_every_process() -> None:
    here = picks({3: 90, 4: 9, 12: 0.5})
    assert here == picks({12: 0.5, 3: 90, 4: 9})
    digest = hashlib.sha256(repr(here).encode()).hexdigest()
    for seed in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", ELSEWHERE],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == digest


def test_the_assignment_is_a_promise() -> None:
    """Another hash would move every caller on an upgrade."""
    thirds = Rendezvous({1: 1, 2: 1, 3: 1})
    found = [thirds.pick(key) for key in ("a", "b", "c", "ü", "\ud800", "user-1", "user-2", "0")]
    assert found == [1, 3, 2, 2, 2, 1, 2, 2]


@pytest.mark.parametrize(
    "given",
    [
        {1: 90, 2: 10},
        {1: 90, 2: 9, 3: 1},
        {1: 1, 2: 1, 3: 1, 4: 1},
        {7: 0.2, 8: 0.1},
        {1: 9e-310, 2: 1e-310},
        {1: 9e300, 2: 1e300},
        {1: 0, 2: 3, 3: 1},
    ],
)
def test_shares_are_those_of_the_weights(given: dict[int, float]) -> None:
    counts = Counter(picks(given))
    top = max(given.values())
    total = sum(weight / top for weight in given.values())
    for number, weight in given.items():
        share = weight / top / total
        deviation = math.sqrt(len(KEYS) * share * (1 - share))
        assert abs(counts[number] - len(KEYS) * share) <= 4 * deviation
        assert bool(counts[number]) == bool(weight)


def test_from_10_to_20_percent_moves_the_keys_it_must_and_none_back() -> None:
    moves = Counter(zip(picks({1: 90, 2: 10}), picks({1: 80, 2: 20}), strict=True))
    assert moves[2, 1] == 0
    assert 900 <= moves[1, 2] <= 1100


def test_an_arm_that_comes_takes_only_its_share_and_gives_it_back_when_it_goes() -> None:
    before, during = picks({1: 60, 2: 40}), picks({1: 60, 2: 40, 3: 5})
    assert all(new in (old, 3) for old, new in zip(before, during, strict=True))
    assert picks({1: 60, 2: 40, 3: 0}) == before


@given(arms, st.data())
def test_a_raised_weight_moves_keys_to_that_arm_only(
    given: dict[int, float], data: st.DataObject
) -> None:
    raised = data.draw(st.sampled_from(sorted(given)))
    factor = data.draw(st.floats(1, 1e6))
    keys = data.draw(st.lists(st.text(), min_size=20, max_size=60))
    before = Rendezvous(given)
    after = Rendezvous(given | {raised: given[raised] * factor})
    for key in keys:
        assert after.pick(key) in (before.pick(key), raised)


@given(st.floats(0.05, 0.9), st.floats(0.05, 0.9), st.text(max_size=5))
def test_the_share_that_moves_is_the_difference_of_the_shares(
    before: float, after: float, salt: str
) -> None:
    """No key moves that need not: those that move are those that the shares demand."""

    def picked(share: float) -> list[str]:
        routes = {"a": share, "b": (1 - share) * 0.7, "c": (1 - share) * 0.3}
        assignment = Rendezvous(routes, salt.encode("utf-8", "replace").decode())
        return list(map(assignment.pick, KEYS))

    one, two = picked(before), picked(after)
    moved = [(old, new) for old, new in zip(one, two, strict=True) if old != new]
    assert all((new if after > before else old) == "a" for old, new in moved)
    share = abs(after - before)
    assert abs(len(moved) - len(KEYS) * share) <= 6 * math.sqrt(len(KEYS) * share * (1 - share)) + 1


def test_routes_of_two_routers_are_independent_of_each_other() -> None:
    outer = Rendezvous({"a": 1, "b": 1}, salt="outer/")
    inner = Rendezvous({"a": 1, "b": 1}, salt="inner/")
    counts = Counter((outer.pick(key), inner.pick(key)) for key in KEYS)
    assert len(counts) == 4
    assert all(
        abs(count - 2500) <= 4 * math.sqrt(10_000 * 0.25 * 0.75) for count in counts.values()
    )


def test_the_assignment_of_routes_is_a_promise_too() -> None:
    thirds = Rendezvous({"a": 1, "b": 1, "c": 1}, salt="chooser/")
    found = [thirds.pick(key) for key in ("a", "b", "c", "ü", "\ud800", "user-1", "user-2", "0")]
    assert found == ["a", "a", "c", "c", "c", "c", "b", "c"]


@given(arms, st.integers(-900, 900), st.lists(st.text(), max_size=50))
def test_a_common_factor_moves_nothing(
    given: dict[int, float], exponent: int, keys: list[str]
) -> None:
    scaled = Rendezvous({number: weight * 2.0**exponent for number, weight in given.items()})
    assert [scaled.pick(key) for key in keys] == [Rendezvous(given).pick(key) for key in keys]


@given(arms, st.text(st.characters()))
def test_any_text_is_a_key(given: dict[int, float], key: str) -> None:
    assert Rendezvous(given).pick(key) in given
