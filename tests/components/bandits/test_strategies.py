from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components import registry
from anabranch.components.bandits import Bandit, LinUCB, State
from anabranch.components.bandits.linucb import MAX_FEATURES
from anabranch.components.contract import Choice
from anabranch.components.tensors.types import TypeConflict
from anabranch.errors import InvalidRequest
from anabranch.specs.models import Router, TensorSpec
from tests.components.bandits.worlds import ARMS, bandit, play

FREE: list[tuple[str, dict[str, Any]]] = [
    ("epsilon_greedy", {}),
    ("thompson", {}),
    ("thompson", {"rewards": "gaussian"}),
    ("ucb1", {}),
]
"""The strategies that do not look at the request."""
each = pytest.mark.parametrize(("strategy", "args"), FREE)
rewards = st.lists(st.tuples(st.sampled_from(list(ARMS)), st.floats(0, 1)), max_size=20)


def learned(learner: Bandit, found: list[tuple[str, float]]) -> State:
    state = State.empty(learner.routes)
    for route, reward in found:
        state = learner.after(state, route, reward)
    return state


def regret(taken: list[str]) -> float:
    return math.fsum(max(ARMS.values()) - ARMS[route] for route in taken)


@each
def test_the_best_arm_is_found(strategy: str, args: dict[str, Any]) -> None:
    for seed in range(5):
        taken = play(bandit(strategy, seed=seed, **args), 2_000, seed=seed)
        assert taken.count("best") >= 0.85 * len(taken), Counter(taken)


@each
def test_also_where_rewards_come_late_and_many_at_once(strategy: str, args: dict[str, Any]) -> None:
    taken = play(bandit(strategy, seed=1, **args), 2_000, seed=2, every=50)
    assert taken.count("best") >= 0.8 * len(taken), Counter(taken)


@each
def test_a_seed_repeats_all_draws(strategy: str, args: dict[str, Any]) -> None:
    first = play(bandit(strategy, seed=3, min_share=0.1, **args), 200)
    assert first == play(bandit(strategy, seed=3, min_share=0.1, **args), 200)


@pytest.mark.parametrize("strategy", ["epsilon_greedy", "thompson"])
def test_without_a_seed_draws_differ(strategy: str) -> None:
    first, second = bandit(strategy), bandit(strategy)
    assert [first.route() for _ in range(100)] != [second.route() for _ in range(100)]


@each
def test_without_rewards_all_routes_get_requests(strategy: str, args: dict[str, Any]) -> None:
    learner = bandit(strategy, seed=1, **args)
    counts = Counter(learner.route() for _ in range(3_000))
    assert all(850 < counts[route] < 1_150 for route in ARMS), counts


@each
def test_a_least_share_is_kept(strategy: str, args: dict[str, Any]) -> None:
    learner = bandit(strategy, seed=1, min_share={"worst": 0.2, "middle": 0.05}, **args)
    learner.learn(learned(learner, [("best", 1.0), ("middle", 0.0), ("worst", 0.0)] * 5_000))
    counts = Counter(learner.route() for _ in range(10_000))
    # Four standard deviations of a binomial distribution below the share.
    assert counts["worst"] >= 2_000 - 4 * math.sqrt(10_000 * 0.2 * 0.8)
    assert counts["middle"] >= 500 - 4 * math.sqrt(10_000 * 0.05 * 0.95)
    assert counts["best"] > 6_000


@each
def test_least_shares_may_leave_nothing_to_decide(strategy: str, args: dict[str, Any]) -> None:
    learner = bandit(strategy, seed=1, min_share={"worst": 1.0}, **args)
    assert {learner.route() for _ in range(200)} == {"worst"}


@each
def test_what_people_see_agrees_with_what_is_done(strategy: str, args: dict[str, Any]) -> None:
    learner = bandit(strategy, seed=1, min_share=0.1, **args)
    rng = np.random.default_rng(1)
    routes = [("best", 0.55), ("middle", 0.5), ("worst", 0.45)] * 10
    state = learned(learner, [(name, float(rng.random() < mean)) for name, mean in routes])
    learner.learn(state)
    standings = learner.standings(state)
    counts = Counter(learner.route() for _ in range(1_000))
    assert math.fsum(one.share or 0.0 for one in standings.values()) == pytest.approx(1.0)
    for route, one in standings.items():
        assert one.share is not None
        assert one.share >= 0.1
        assert counts[route] / 1_000 == pytest.approx(one.share, abs=0.1)
        assert one.interval is not None
        assert one.interval[0] < one.mean < one.interval[1]
        assert one.rewards == 10
    assert learner.standings(state) == standings


@each
def test_a_swap_of_the_arms_is_noticed_where_old_rewards_fade(
    strategy: str, args: dict[str, Any]
) -> None:
    def swapped(number: int) -> Mapping[str, float]:
        return ARMS if number < 1_500 else {**ARMS, "best": 0.3, "worst": 0.9}

    fading = play(bandit(strategy, decay=100.0, seed=1, **args), 3_000, swapped)
    assert fading[:1_500].count("best") > 900
    assert fading[2_250:].count("worst") > 450


def test_thompson_takes_longer_without_decay() -> None:
    def swapped(number: int) -> Mapping[str, float]:
        return ARMS if number < 1_500 else {**ARMS, "best": 0.3, "worst": 0.9}

    for seed in range(3):
        slow = play(bandit("thompson", seed=seed), 2_500, swapped, seed)[1_500:]
        fast = play(bandit("thompson", decay=100.0, seed=seed), 2_500, swapped, seed)[1_500:]
        assert slow.count("worst") < fast.count("worst")


def test_the_regret_of_ucb1_is_below_its_bound() -> None:
    rounds = 3_000
    gaps = [0.9 - mean for mean in ARMS.values() if mean < 0.9]
    # Theorem 1 of Auer, Cesa-Bianchi and Fischer, 2002; it is of the expectation.
    bound = 8 * math.fsum(math.log(rounds) / gap for gap in gaps)
    bound += (1 + math.pi**2 / 3) * math.fsum(gaps)
    found = [regret(play(bandit("ucb1"), rounds, seed=seed)) for seed in range(10)]
    assert 0 < np.mean(found) < bound


def test_thompson_regrets_less_than_ucb1_and_that_less_than_chance() -> None:
    seeds = range(5)
    thompson = np.mean([regret(play(bandit("thompson", seed=s), 2_000, seed=s)) for s in seeds])
    ucb1 = np.mean([regret(play(bandit("ucb1"), 2_000, seed=s)) for s in seeds])
    assert thompson < ucb1 < 2_000 * 0.3 / 2


@given(rewards)
def test_a_beta_posterior_is_its_closed_form(found: list[tuple[str, float]]) -> None:
    learner = bandit("thompson", prior={"alpha": 2.0, "beta": 3.0})
    standings = learner.standings(learned(learner, found))
    for route, one in standings.items():
        mine = [reward for name, reward in found if name == route]
        alpha, beta = 2 + math.fsum(mine), 3 + len(mine) - math.fsum(mine)
        assert one.posterior == pytest.approx({"alpha": alpha, "beta": beta})
        assert one.mean == pytest.approx(alpha / (alpha + beta))


def test_the_draws_of_thompson_are_of_its_posterior() -> None:
    learner = bandit("thompson", ["a", "b"], prior={"a": {"alpha": 9.0, "beta": 2.0}})
    one = learner.standings(State.empty(("a", "b")))["a"]
    # P(Beta(9, 2) > U) of a uniform U is the mean.
    assert one.share == pytest.approx(9 / 11, abs=0.02)
    # Quantiles of Beta(9, 2), whose distribution function is 10 x⁹ - 9 x¹⁰.
    assert one.interval is not None
    low, high = (10 * x**9 - 9 * x**10 for x in one.interval)
    assert (low, high) == pytest.approx((0.025, 0.975), abs=0.01)


def test_gaussian_rewards_may_be_of_any_scale() -> None:
    for scale in (1e-3, 1.0, 1e5):
        learner = bandit("thompson", rewards="gaussian", seed=1)
        rng = np.random.default_rng(2)
        state, taken = State.empty(learner.routes), []
        for _ in range(1_000):
            route = learner.route()
            taken.append(route)
            reward = scale * (10 + ARMS[route] + 0.3 * rng.normal())
            state = learner.after(state, route, reward)
            learner.learn(state)
        assert taken.count("best") > 850, (scale, Counter(taken))


def test_epsilon_falls_with_the_rewards() -> None:
    learner = bandit("epsilon_greedy", epsilon=0.3, anneal=10.0)
    some, many = ([("best", 1.0)] * count for count in (10, 1_000))
    for found, epsilon in ((some, 0.3), (many, 0.003)):
        shares = {k: v.share for k, v in learner.standings(learned(learner, found)).items()}
        assert shares == pytest.approx(
            {"best": 1 - epsilon * 2 / 3, "middle": epsilon / 3, "worst": epsilon / 3}
        )


def test_equal_means_share_what_is_greedy() -> None:
    learner = bandit("epsilon_greedy", epsilon=0.0, prior={"best": {"mean": 0.5, "weight": 2.0}})
    state = learned(learner, [("middle", 1.0), ("middle", 0.0)])
    shares = {route: one.share for route, one in learner.standings(state).items()}
    assert shares == {"best": 0.5, "middle": 0.5, "worst": 0.0}


def test_ucb1_takes_the_largest_bound() -> None:
    learner = bandit("ucb1")
    found = [("best", 1.0)] * 6 + [("middle", 1.0), ("middle", 0.0)] + [("worst", 0.0)] * 2
    learner.learn(learned(learner, found))
    bounds = {
        name: mean + math.sqrt(2 * math.log(10) / count)
        for name, mean, count in (("best", 1.0, 6), ("middle", 0.5, 2), ("worst", 0.0, 2))
    }
    assert learner.route() == max(bounds, key=lambda name: bounds[name]) == "middle"


def test_between_two_states_ucb1_counts_what_it_sends() -> None:
    learner = bandit("ucb1")
    assert [learner.route() for _ in range(6)] == [*ARMS, *ARMS]
    learner.learn(learned(learner, [(route, 0.5) for route in ARMS]))
    assert len({learner.route() for _ in range(3)}) == 3


def test_priors_are_what_is_known_before() -> None:
    for strategy, prior in [
        ("epsilon_greedy", {"worst": {"mean": 1.0, "weight": 100.0}}),
        ("thompson", {"worst": {"alpha": 1000.0, "beta": 1.0}}),
        ("ucb1", {route: {"mean": float(route == "worst"), "weight": 1e4} for route in ARMS}),
    ]:
        learner = bandit(strategy, prior=prior, seed=1)
        counts = Counter(learner.route() for _ in range(200))
        assert counts["worst"] > 150, strategy


@pytest.mark.parametrize(
    ("strategy", "args", "least", "most"),
    [
        ("thompson", {}, 0.0, 1.0),
        ("ucb1", {}, 0.0, 1.0),
        ("epsilon_greedy", {}, -1e9, 1e9),
        ("thompson", {"rewards": "gaussian"}, -1e9, 1e9),
        ("linucb", {}, -1e9, 1e9),
    ],
)
def test_which_rewards_are_taken(
    strategy: str, args: dict[str, Any], least: float, most: float
) -> None:
    learner = bandit(strategy, **args)
    assert learner.wrong_reward(least) is learner.wrong_reward(most) is None
    for wrong in (math.nextafter(least, -math.inf), math.nextafter(most, math.inf)):
        assert f"must be from {least:g} to {most:g}" in (learner.wrong_reward(wrong) or "")


def test_states_go_by_routes_rewards_and_features() -> None:
    key = bandit("thompson", ["a", "b"]).key(0)
    assert key == bandit("thompson", ["b", "a"], decay=10.0).key(0)
    assert key == bandit("ucb1", ["a", "b"]).key(0)
    others = [
        bandit("thompson", ["a", "c"]).key(0),
        bandit("thompson", ["a", "b", "c"]).key(0),
        bandit("thompson", ["a", "b"], rewards="gaussian").key(0),
        bandit("linucb", ["a", "b"]).key(2),
        bandit("linucb", ["a", "b"]).key(3),
    ]
    assert len({key, *others}) == 6
    assert all(len(one) <= 64 for one in others)


def world(seed: int, rounds: int, learner: LinUCB) -> tuple[list[bool], State]:
    """Rounds in a world that is linear in four features; whether each choice was the best."""
    rng = np.random.default_rng(seed)
    truth = {route: rng.normal(size=4) for route in learner.routes}
    state, right = State.empty(learner.routes), []
    for _ in range(rounds):
        x = rng.normal(size=(1, 4)).astype(np.float32)
        choice = learner.route(x=x)
        assert isinstance(choice, Choice)
        assert choice.features == pytest.approx(x[0].tolist())
        right.append(choice == max(truth, key=lambda route: float(x[0] @ truth[route])))
        reward = float(x[0] @ truth[choice] + 0.1 * rng.normal())
        state = learner.after(state, choice, reward, choice.features)
        learner.learn(state)
    return right, state


def linucb(**args: Any) -> LinUCB:
    found = bandit("linucb", **args)
    assert isinstance(found, LinUCB)
    return found


def test_linucb_finds_a_linear_world() -> None:
    for seed in range(3):
        right, state = world(seed, 600, linucb())
        assert sum(right[300:]) > 0.95 * 300
        standings = linucb().standings(state)
        assert all(one.share is None for one in standings.values())
        assert all(len(one.posterior["theta"]) == 4 for one in standings.values())


def test_linucb_is_algorithm_1() -> None:
    """Against the definition, with the inverse as it stands there."""
    learner = linucb(alpha=0.7, ridge=2.0)
    _, state = world(5, 60, learner)
    rng = np.random.default_rng(9)
    for _ in range(50):
        x = rng.normal(size=4)
        bounds = {}
        for route, sums in state.routes.items():
            a = np.zeros((4, 4))
            a[np.tril_indices(4)] = sums.gram
            a = a + np.tril(a, -1).T + 2.0 * np.eye(4)
            inverse = np.linalg.inv(a)
            theta = inverse @ np.array(sums.moment)
            bounds[route] = x @ theta + 0.7 * np.sqrt(x @ inverse @ x)
        assert learner.route(x=x[None]) == max(bounds, key=lambda route: bounds[route])


def test_linucb_keeps_least_shares_and_tells_the_features_then_too() -> None:
    learner = linucb(min_share={"worst": 1.0})
    choice = learner.route(x=np.ones((1, 2), np.float32))
    assert (choice, choice.features) == ("worst", (1.0, 1.0))  # type: ignore[attr-defined]


def test_several_inputs_are_one_after_the_other() -> None:
    node = Router(type="router", strategy="linucb", routes=["a"], inputs={"user": "u", "item": "i"})
    learner = LinUCB(node)
    choice = learner.route(item=np.float32(3.0).reshape(()), user=np.array([[1.0, 2.0]]))
    assert choice.features == (1.0, 2.0, 3.0)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones((2, 3)), "must be one row, not [2, 3]"),
        (np.ones((1, 1, 3)), "must be one row"),
        (np.ones((1, 4)), "takes 3 features, not 4"),
        (np.array([[1.0, np.nan, 1.0]]), "must be finite"),
        (np.array([[1.0, np.inf, 1.0]]), "must be finite"),
        (np.array([[1e6, 1e6, 0.0]]), "a norm of at most 1e+06"),
    ],
)
def test_wrong_features_are_the_callers_mistake(x: np.ndarray[Any, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as found:
        linucb(features=3).route(x=x)
    assert message in str(found.value)


def spec(*shape: int, datatype: str = "FP32") -> TensorSpec:
    return TensorSpec.model_validate({"datatype": datatype, "shape": shape})


def test_the_number_of_features_is_that_of_the_inputs() -> None:
    assert LinUCB.size({"x": spec(-1, 3), "y": spec(2), "z": spec()}, {}) == 6
    assert LinUCB.size({"x": None}, {"features": 5}) == 5


@pytest.mark.parametrize(
    ("inputs", "args", "message"),
    [
        ({"x": spec(1, 3)}, {"features": 4}, "args.features is 4, but the inputs have 3 numbers"),
        ({"x": spec(1, -1)}, {}, "give it as args.features"),
        ({"x": None}, {}, "give it as args.features"),
        ({"x": spec(1, 3, datatype="INT64")}, {}, "'x' is INT64[1, 3]; features are FP16"),
        ({"x": spec(2, 3)}, {}, "features are one row"),
        ({"x": spec(1, 2, 3)}, {}, "features are one row"),
        ({"x": spec(1, MAX_FEATURES + 1)}, {}, "takes from 1 to 64 features, not 65"),
        ({"x": spec(1, 0)}, {}, "takes from 1 to 64 features, not 0"),
    ],
)
def test_inputs_that_are_no_features(
    inputs: dict[str, TensorSpec | None], args: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeConflict) as found:
        LinUCB.infer(inputs, args)
    assert message in str(found.value)


@pytest.mark.parametrize(
    ("strategy", "fields", "args", "problem"),
    [
        ("thompson", {"routes": None}, {}, ("routes", "needs routes, a list of nodes")),
        ("ucb1", {"routes": {"a": 1}}, {}, ("routes", "learns the weights")),
        ("ucb1", {"otherwise": "a"}, {}, ("otherwise", "belongs to the strategy 'rules'")),
        ("thompson", {}, {"rewards": "poisson"}, ("rewards", "not one of beta, gaussian")),
        ("thompson", {}, {"decay": 0.5}, ("decay", "must be at least 1")),
        ("thompson", {}, {"seed": -1}, ("seed", "must be at least 0")),
        ("thompson", {}, {"prior": {"alpha": 1}}, ("prior", "this prior needs beta")),
        ("thompson", {}, {"prior": {"alpha": 1, "beta": 0}}, ("beta", "from 1e-06 to 1e+09")),
        ("thompson", {}, {"prior": {"alpha": 1, "beta": 1, "mean": 1}}, ("mean", "no parameter")),
        (
            "thompson",
            {},
            {"prior": {"aa": {"alpha": 1, "beta": 1}}},
            ("aa", "did you mean 'a'?"),
        ),
        (
            "thompson",
            {},
            {"rewards": "gaussian", "prior": {"mean": 1e10, "weight": 1}},
            ("mean", "must be from -1e+09 to 1e+09"),
        ),
        (
            "thompson",
            {},
            {"rewards": "gaussian", "prior": {"mean": 0, "weight": 1, "shape": 0.1}},
            ("shape", "must be from 0.5 to 1e+09"),
        ),
        ("epsilon_greedy", {}, {"epsilon": 1.1}, ("epsilon", "must be at most 1, not 1.1")),
        ("epsilon_greedy", {}, {"anneal": 0}, ("anneal", "must be at least 1")),
        ("ucb1", {}, {"min_share": 0.51}, ("min_share", "1.02 together, more than 1")),
        ("ucb1", {}, {"min_share": {"a": -0.1}}, ("a", "must be from 0 to 1, not -0.1")),
        ("ucb1", {}, {"min_share": {"z": 0.1}}, ("z", "no such route")),
        ("ucb1", {}, {"epsilon": 0.1}, ("epsilon", "unknown argument")),
        ("linucb", {}, {}, ("inputs", "needs inputs")),
        ("linucb", {"inputs": {"x": "x"}}, {"features": 65}, ("features", "must be at most 64")),
        ("linucb", {"inputs": {"x": "x"}}, {"ridge": 0}, ("ridge", "must be at least 1e-06")),
        ("linucb", {"inputs": {"x": "x"}}, {"alpha": -1}, ("alpha", "must be at least 0")),
    ],
)
def test_mistakes_in_a_spec(
    strategy: str, fields: dict[str, Any], args: dict[str, Any], problem: tuple[str, str]
) -> None:
    given = {"type": "router", "strategy": strategy, "routes": ["a", "b"], "args": args, **fields}
    found = registry.problems(Router.model_validate(given))
    assert any(path[-1] == problem[0] and problem[1] in message for path, message in found), found
