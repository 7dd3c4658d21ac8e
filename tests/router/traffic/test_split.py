"""Which revision answers: rules, then the sticky key, then a draw."""

from __future__ import annotations

import logging
import math
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.graph.plan.plan import Signature
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.split import Split
from anabranch.specs.models import Traffic

SIGNATURE = Signature({}, {}, 60.0)
GOLD = {"x-tier": "gold"}
CANDIDATE = {"when": "request.headers['x-tier'] == 'gold'", "to": "candidate"}


def split(
    weights: dict[int, float],
    draw: Callable[[], float] | None = None,
    mirrors: dict[int, float] | None = None,
    reachable: Iterable[int] = (),
    stable: int = 1,
    **policy: Any,
) -> Split:
    revisions = dict.fromkeys([*weights, *(mirrors or ()), *reachable], SIGNATURE)
    table = RoutingTable(
        "g", 1, stable, weights, mirrors or {}, revisions, Traffic.model_validate(policy)
    )
    return Split(table) if draw is None else Split(table, draw)


def forced(*points: float) -> Callable[[], float]:
    return iter(points).__next__


def never() -> float:
    raise AssertionError("nothing was to be drawn")


@pytest.mark.parametrize("seed", range(20))
def test_100_000_draws_are_as_the_weights_say(seed: int) -> None:
    choose = split({1: 90, 2: 9, 3: 1, 4: 0}, random.Random(seed).random).choose
    counts = Counter(choose({}, {}) for _ in range(100_000))
    expected = {1: 90_000, 2: 9_000, 3: 1_000}
    assert counts.keys() == expected.keys()
    statistic = sum((counts[n] - often) ** 2 / often for n, often in expected.items())
    # The chi-square distribution with two degrees of freedom is exponential.
    assert math.exp(-statistic / 2) > 0.001


@pytest.mark.parametrize(
    "weights",
    [{3: 90, 4: 9, 5: 1}, {3: 0.1, 9: 0.2, 4: 0.0, 7: 0.3}, {1: 99.9, 2: 0.1}, {1: 1, 2: 2, 3: 4}],
)
def test_forced_draws_at_every_edge_pick_the_exact_arm(weights: dict[int, float]) -> None:
    total = sum(map(Fraction, weights.values()))
    edges = [edge / total for edge in accumulate(map(Fraction, weights.values()))]
    near = [math.nextafter(float(edge), to) for edge in edges for to in (-1, 2)]
    for point in (0.0, *map(float, edges), *near):
        if 0 <= point < 1:
            exact = next(n for n, edge in zip(weights, edges, strict=True) if point < edge)
            assert split(weights, forced(point)).choose({}, {}) == exact


def test_a_single_arm_needs_no_draw() -> None:
    for weights in ({2: 1.0}, {1: 0.0, 2: 5.0, 3: 0.0}):
        alone = split(weights, never, sticky={"header": "x-user"})
        assert alone.only == 2
        assert alone.choose({"x-user": "ann"}, {}) == 2
    assert split({1: 1, 2: 1}).only is None
    assert split({1: 1}, rules=[CANDIDATE | {"to": "stable"}]).only is None
    assert split({1: 1}, rules=[CANDIDATE]).only == 1


@pytest.mark.parametrize(
    "weights", [{}, {1: 0}, {1: -1, 2: 2}, {1: math.nan}, {1: 1e308, 2: 1e308}]
)
def test_weights_that_cannot_be_drawn(weights: dict[int, float]) -> None:
    with pytest.raises(ValueError, match="weight"):
        split(weights)


def test_the_default_draw_is_random_whatever_components_do() -> None:
    chooser = split({1: 1, 2: 1})
    runs = set()
    for _ in range(2):
        random.seed(0)
        runs.add(tuple(chooser.choose({}, {}) for _ in range(100)))
    assert len(runs) == 2


@pytest.mark.parametrize(
    ("sticky", "headers", "parameters"),
    [
        ({"header": "X-User"}, {"x-user": "{}"}, {}),
        ({"cookie": "uid"}, {"cookie": "a=b; uid={}"}, {}),
        ({"parameter": "user"}, {}, {"user": "{}"}),
    ],
)
def test_a_key_decides_alike_in_every_replica_and_draws_nothing(
    sticky: dict[str, str], headers: dict[str, str], parameters: dict[str, str]
) -> None:
    replicas = [split({1: 70, 2: 30}, never, sticky=sticky) for _ in range(2)]
    raised = split({1: 60, 2: 40}, never, sticky=sticky)
    moves: Counter[tuple[int, int]] = Counter()
    for index in range(10_000):
        request = [
            {name: text.format(f"user-{index}") for name, text in part.items()}
            for part in (headers, parameters)
        ]
        first, second = (replica.choose(*request) for replica in replicas)
        assert first == second
        moves[first, raised.choose(*request)] += 1
    assert moves[2, 1] == 0
    assert 900 <= moves[1, 2] <= 1_100
    assert 2_800 <= moves[2, 2] <= 3_200


def test_without_a_key_there_is_a_draw() -> None:
    for headers in ({}, {"x-user": ""}, {"x-user": " "}, {"x-users": "ann"}):
        chooser = split({1: 90, 2: 10}, forced(0.89, 0.9), sticky={"header": "x-user"})
        assert [chooser.choose(headers, {}) for _ in range(2)] == [1, 2]


@pytest.mark.parametrize(
    ("to", "found"),
    [("stable", 2), ("candidate", 4), ("r3", 3), ("r5", 5), ("r7", 7), ("r9", None)],
)
def test_targets_of_rules(to: str, found: int | None) -> None:
    rules = [CANDIDATE | {"to": to}]
    chooser = split({2: 9, 3: 1, 4: 0}, lambda: 0.0, {5: 10}, [7], stable=2, rules=rules)
    assert chooser.choose(GOLD, {}) == (found or 2)
    assert chooser.choose({}, {}) == 2
    assert (chooser.only is None) or found is None


def test_without_a_candidate_its_rule_does_not_match() -> None:
    rules = [CANDIDATE, CANDIDATE | {"to": "r9"}, CANDIDATE | {"to": "r5"}]
    assert split({1: 1}, never, reachable=[5], rules=rules).choose(GOLD, {}) == 5
    assert split({1: 1}, never, rules=rules).choose(GOLD, {}) == 1


def test_rules_come_first_then_the_key_then_the_draw() -> None:
    policy = {"sticky": {"header": "x-user"}, "rules": [CANDIDATE]}
    chooser = split({1: 1, 2: 1}, forced(0.0, 0.5), **policy)
    ann = split({1: 1, 2: 1}, never, sticky=policy["sticky"]).choose({"x-user": "ann"}, {})
    assert chooser.choose(GOLD | {"x-user": "ann"}, {}) == 2
    assert chooser.choose({"x-user": "ann"}, {}) == ann
    assert [chooser.choose({}, {}), chooser.choose({}, {})] == [1, 2]


def test_the_first_rule_that_holds_wins() -> None:
    rules = [
        {"when": "request.parameters.test == true", "to": "r3"},
        {"when": "request.id == 'seven'", "to": "r2"},
        {"when": "has(request.parameters.test)", "to": "r1"},
    ]
    chooser = split({1: 1, 2: 0, 3: 0}, never, rules=rules)
    assert chooser.choose({}, {"test": True}, "seven") == 3
    assert chooser.choose({}, {"test": False}, "seven") == 2
    assert chooser.choose({}, {"test": False}) == 1


def test_a_rule_that_fails_matches_nothing_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rules = [
        {"when": "request.parameters.age > 17", "to": "r2"},
        {"when": "request.id", "to": "r2"},
        {"when": "request.headers['x-tier'] == 'gold'", "to": "r3"},
    ]
    chooser = split({1: 1, 2: 0, 3: 0}, lambda: 0.0, rules=rules)
    with caplog.at_level(logging.WARNING, "anabranch.router"):
        assert [chooser.choose(GOLD, {"age": "old"}, "id") for _ in range(3)] == [3, 3, 3]
        assert chooser.choose({}, {"age": 18}) == 2
    assert [record.getMessage().split(":")[1].split("'")[1] for record in caplog.records] == [
        "request.parameters.age > 17",
        "request.id",
    ]


def test_a_request_that_rules_cannot_read_matches_none(caplog: pytest.LogCaptureFixture) -> None:
    chooser = split({1: 1, 2: 0}, lambda: 0.0, rules=[{"when": "true", "to": "candidate"}])
    with caplog.at_level(logging.WARNING, "anabranch.router"):
        assert [chooser.choose({}, {"text": "\ud800"}) for _ in range(2)] == [1, 1]
        assert chooser.choose({}, {"text": "fine"}) == 2
    assert len(caplog.records) == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from(["x-tier", "x-user", "cookie"]), st.text(st.characters())),
    st.dictionaries(st.sampled_from(["user", "age"]), json_values),
    st.sampled_from(["header", "cookie", "parameter"]),
)
def test_no_request_can_fail(
    headers: dict[str, str], parameters: dict[str, Any], field: str
) -> None:
    names = {"header": "x-user", "cookie": "uid", "parameter": "user"}
    rules = [
        {"when": "request.parameters.age + 1 > 17", "to": "r2"},
        {"when": "request.parameters.age.exists(a, a.b == 'c')", "to": "r1"},
        {"when": "request.headers['x-tier'].matches('^(g|s)+$')", "to": "candidate"},
    ]
    chooser = split({1: 9, 2: 1}, rules=rules, sticky={field: names[field]})
    assert chooser.choose(headers, parameters) in (1, 2)


def test_mirrors_are_drawn_one_by_one() -> None:
    chooser = split({1: 1}, forced(0.2499, 0.5, 0.25, 0.4999), {5: 25, 6: 50, 7: 0})
    assert chooser.is_mirrored(1)
    assert [chooser.mirrors(1), chooser.mirrors(1)] == [[5], [6]]
    assert not split({1: 1}, mirrors={7: 0}).is_mirrored(1)
    assert not split({1: 1}).is_mirrored(1)
    assert split({1: 1}, never).mirrors(1) == []


def test_a_full_mirror_gets_everything_but_what_it_answered_itself() -> None:
    chooser = split({1: 1, 2: 1}, lambda: math.nextafter(1, 0), {2: 100, 3: 100})
    assert [chooser.mirrors(1), chooser.mirrors(2), chooser.mirrors(3)] == [[2, 3], [3], [2]]


@pytest.mark.parametrize("percent", [0.1, 25, 99.9])
def test_mirrors_get_their_share(percent: float) -> None:
    chooser = split({1: 1}, random.Random(1).random, {2: percent, 3: 50})
    draws = [tuple(chooser.mirrors(1)) for _ in range(50_000)]
    for number, share in ((2, percent / 100), (3, 0.5)):
        found = sum(number in draw for draw in draws)
        assert abs(found - 50_000 * share) <= 4 * math.sqrt(50_000 * share * (1 - share))
    both = sum(draw == (2, 3) for draw in draws)
    assert abs(both - 25_000 * percent / 100) <= 4 * math.sqrt(25_000 * percent / 100) + 1


def test_forks_draw_numbers_of_their_own() -> None:
    code = """
import os
from anabranch.components.weights import (DRAW)
for _ in range(3):
    if os.fork() == 0:
        print(DRAW(), flush=True)
        os._exit(0)
    os.wait()
print(DRAW())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert len(set(done.stdout.split())) == 4, done.stderr
