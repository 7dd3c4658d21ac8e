"""Worlds in which a strategy's choices have known rewards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from anabranch.components import registry
from anabranch.components.bandits import Bandit, State
from anabranch.specs.models import Router

ARMS = {"best": 0.9, "middle": 0.6, "worst": 0.3}


def bandit(strategy: str, routes: Sequence[str] = tuple(ARMS), **args: Any) -> Bandit:
    """A strategy as a graph makes it."""
    inputs = {"x": "x"} if strategy == "linucb" else {}
    node = Router(type="router", strategy=strategy, routes=list(routes), args=args, inputs=inputs)
    assert registry.problems(node) == []
    found = registry.get("router", strategy).cls(node, **args)
    assert isinstance(found, Bandit)
    return found


def play(
    learner: Bandit,
    rounds: int,
    means: Callable[[int], Mapping[str, float]] = lambda _: ARMS,
    seed: int = 0,
    every: int = 1,
) -> list[str]:
    """The routes taken in so many rounds of rewards of 0 or 1.

    The strategy learns of them after ``every`` round that many.
    """
    rng = np.random.default_rng(seed)
    state, taken = State.empty(learner.routes), []
    for number in range(rounds):
        route = learner.route()
        taken.append(route)
        state = learner.after(state, route, float(rng.random() < means(number)[route]))
        if (number + 1) % every == 0:
            learner.learn(state)
    return taken
