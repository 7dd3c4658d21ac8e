"""A weighted choice is exact: edges, neighbours of edges, and arms without weight."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import accumulate

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from anabranch.components.weights import Weights

LAST = math.nextafter(1.0, 0.0)
finite = st.floats(0, 1e300) | st.sampled_from([0, 1, 90, 5e-324, 1e-9, 0.1, 1e300])
maps = st.dictionaries(st.integers(1, 40), finite, min_size=1, max_size=8).filter(
    lambda weights: sum(weights.values()) > 0
)
points = st.floats(0, LAST) | st.sampled_from([0.0, LAST])


def owner(weights: dict[int, float], point: float) -> int:
    """The arm by the definition, in exact numbers."""
    total = sum(map(Fraction, weights.values()))
    edges = accumulate(map(Fraction, weights.values()))
    at = Fraction(point) * total
    return next(name for name, edge in zip(weights, edges, strict=True) if at < edge)


def edges(weights: dict[int, float]) -> list[float]:
    """Every cumulative edge with its neighbours, within [0, 1)."""
    total = sum(map(Fraction, weights.values()))
    near = [float(edge / total) for edge in accumulate(map(Fraction, weights.values()))]
    around = [p for e in near for p in (math.nextafter(e, -1), e, math.nextafter(e, 2))]
    return [0.0, LAST, *(point for point in around if 0 <= point < 1)]


@pytest.mark.parametrize(
    "weights",
    [
        {1: 90, 2: 9, 3: 1},
        {1: 0.1, 2: 0.2, 3: 0.3},
        {1: 0, 2: 1, 3: 0, 4: 2, 5: 0},
        {1: 1, 2: 1, 3: 1},
        dict.fromkeys(range(49), 1 / 49),
        {1: 1, 2: 1e-30, 3: 1},
        {1: 5e-324, 2: 5e-324, 3: 5e-324},
        {1: 1e307, 2: 1e307, 3: 1e307},
        {1: 99.99, 2: 0.01},
    ],
)
def test_every_edge_and_its_neighbours_go_to_the_exact_arm(weights: dict[int, float]) -> None:
    chosen = Weights(weights)
    for point in edges(weights):
        assert chosen.pick(point) == owner(weights, point), point


def test_a_share_holds_its_lower_edge_and_not_its_upper_one() -> None:
    chosen = Weights({"a": 50, "b": 25, "never": 0, "c": 25})
    assert [chosen.pick(p) for p in (0.0, math.nextafter(0.5, 0), 0.5)] == ["a", "a", "b"]
    assert [chosen.pick(p) for p in (math.nextafter(0.75, 0), 0.75, LAST)] == ["b", "c", "c"]


@given(maps, points)
def test_any_point_goes_to_its_owner_who_has_weight(
    weights: dict[int, float], point: float
) -> None:
    for each in (point, *edges(weights)):
        picked = Weights(weights).pick(each)
        assert picked == owner(weights, each)
        assert weights[picked] > 0


@given(maps, points, st.sampled_from([2.0**-20, 2.0**20]))
def test_a_common_factor_changes_nothing(
    weights: dict[int, float], point: float, factor: float
) -> None:
    assume(not any(0 < weight < 1e-290 for weight in weights.values()))  # would underflow
    scaled = {name: weight * factor for name, weight in weights.items()}
    assert Weights(scaled).pick(point) == Weights(weights).pick(point)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"a": -1}, "the weight of 'a' must be a finite number of at least 0, not -1"),
        ({"a": 1, "b": -5e-324}, "the weight of 'b' must be"),
        ({"a": math.nan}, "the weight of 'a' must be a finite number of at least 0, not nan"),
        ({"a": math.inf, "b": 1}, "the weight of 'a' must be"),
        ({3: 10**400}, "the weight of 3 must be"),
        ({}, r"the sum of the weights must be above 0 and finite, not that of none"),
        ({"a": 0, "b": 0.0}, r"above 0 and finite, not that of a: 0, b: 0"),
        ({"a": 1e308, "b": 1e308}, r"above 0 and finite, not that of a: 1e\+308, b: 1e\+308"),
    ],
)
def test_what_cannot_be_drawn_is_refused(weights: dict[object, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Weights(weights)


@pytest.mark.parametrize(
    ("weights", "only"), [({1: 5}, 1), ({1: 0, 2: 1e-9}, 2), ({1: 1, 2: 1e-9}, None)]
)
def test_the_only_arm(weights: dict[int, float], only: int | None) -> None:
    assert Weights(weights).only == only
