from __future__ import annotations

import math
from typing import Any

import pytest

from anabranch.access.limits import (
    NO_LIMITS,
    CallerLimits,
    LimitRule,
    LimitsByCaller,
    limits_of,
)
from anabranch.access.table import AccessTable


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"rate": 0.0}, "rate must be above 0 requests a second, not 0"),
        ({"rate": -1.0}, "rate must be above 0"),
        ({"rate": math.nan}, "rate must be above 0"),
        ({"rate": math.inf}, "rate must be above 0"),
        ({"rate": 1.0, "burst": 0}, "burst must be at least 1, not 0"),
        ({"burst": 2}, "burst needs a rate"),
        ({"in_flight": 0}, "in_flight must be at least 1, not 0"),
        ({"tokens_per_minute": -5}, "tokens_per_minute must be at least 1, not -5"),
    ],
)
def test_a_limit_that_lets_nothing_through_is_refused(limits: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CallerLimits(**limits)


@pytest.mark.parametrize(
    ("rate", "burst", "at_once"),
    [(10.0, None, 10.0), (0.5, None, 1.0), (10.0, 3, 3.0), (None, None, 1.0)],
)
def test_a_burst_is_as_much_as_comes_in_a_second(
    rate: float | None, burst: int | None, at_once: float
) -> None:
    assert CallerLimits(rate=rate, burst=burst).most_at_once == at_once


def test_callers_without_limits_of_their_own_have_the_others() -> None:
    own, others = CallerLimits(rate=5.0), CallerLimits(in_flight=2)
    limits = LimitsByCaller({"ada": own}, others)
    assert (limits.of("ada"), limits.of("bob"), limits.of("")) == (own, others, others)
    assert LimitsByCaller({"ada": own}).of("bob") == NO_LIMITS


def test_for_each_caller_the_first_rule_that_fits_counts() -> None:
    one, two, three = (CallerLimits(rate=float(rate)) for rate in (1, 2, 3))
    rules = [
        LimitRule("ada", "shop-*", one),
        LimitRule("ada", "*", two),
        LimitRule(None, "shop-*", three),
        LimitRule(None, "shop-a", one),
    ]
    assert limits_of(rules, "shop-a") == LimitsByCaller({"ada": one}, three)
    assert limits_of(rules, "other") == LimitsByCaller({"ada": two})
    assert limits_of(rules[:1], "other") is None
    assert AccessTable(limits=tuple(rules)).limits_at("other") == LimitsByCaller({"ada": two})
