"""UCB1: the route with the largest upper confidence bound is chosen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from anabranch.components.bandits import priors
from anabranch.components.bandits.bandit import (
    ContextFree,
    Decider,
    Standing,
    problems,
)
from anabranch.components.bandits.priors import Given, PriorMean
from anabranch.components.bandits.state import State
from anabranch.components.registry import register
from anabranch.components.tensors.arrays import Array
from anabranch.errors import Mistake
from anabranch.specs.models import Router

_HOPEFUL = PriorMean(1.0, 0.0)
_LOOK = 1_000
"""Decisions for the shares that people read."""


@register("router", "ucb1")
class UCB1(ContextFree):
    """Chooses the route with the largest upper confidence bound, mean + sqrt(2 ln t / n).

    Auer, Cesa-Bianchi and Fischer, "Finite-time Analysis of the Multiarmed Bandit Problem", 2002;
    with a decay, discounted UCB of Garivier and Moulines, 2011. Rewards are from 0 to 1. n counts
    the rewards of a route and t those of all, and a request that this replica has sent there since
    it last learned counts too, for its reward is still to come: so all routes get requests while
    rewards are late. A route without any comes first. ``prior`` is ``{mean, weight}`` and counts
    as that many rewards.

    Args:
        prior: ``{mean, weight}`` before the first reward, for all routes, or a map of such by
            route.
    """

    family = "unit"
    _mind: _Bounds

    def __init__(
        self,
        node: Router,
        *,
        prior: Given | None = None,
        **common: Any,
    ) -> None:
        super().__init__(node, **common)
        self._priors = priors.read(PriorMean, prior, self.routes, _HOPEFUL)
        self.learn(None)

    @staticmethod
    def check(node: Router) -> Iterable[Mistake]:
        """Find wrong routes, shares and priors."""
        yield from problems(node, "ucb1")
        yield from priors.problems(PriorMean, node)

    def mind(self, state: State, rng: np.random.Generator) -> _Bounds:
        """Return the decider for a state."""
        return _Bounds(self._believed(state))

    def route(self, /, **inputs: Array) -> str:
        """Return the name of a route."""
        mind = self._mind
        forced = self._must()
        if forced is None:
            return mind.choose()
        mind.took(forced)
        return forced

    def standings(self, state: State) -> dict[str, Standing]:
        """Return the state of each route: bounds, and its share of the next 1,000 requests."""
        believed = self._believed(state)
        return self._standings(state, believed, _Bounds(believed).interval)

    def _believed(self, state: State) -> dict[str, PriorMean]:
        return {route: self._priors[route].after(state.routes[route]) for route in self.routes}


class _Bounds(Decider):
    """Confidence bounds, which narrow with every request that is sent to a route."""

    def __init__(self, believed: Mapping[str, PriorMean]) -> None:
        self._means = [one.mean for one in believed.values()]
        self._counts = [one.weight for one in believed.values()]
        self._places = {route: place for place, route in enumerate(believed)}
        self._routes = list(believed)
        self._total = math.fsum(self._counts)

    def choose(self) -> str:
        """Take the route of the largest upper bound, the first of equal ones."""
        double_log = self._double_log()
        best, place = -math.inf, 0
        for index, count in enumerate(self._counts):
            bound = self._means[index] + math.sqrt(double_log / count) if count else math.inf
            if bound > best:
                best, place = bound, index
        self._take(place)
        return self._routes[place]

    def took(self, route: str) -> None:
        """Count a request that the least shares sent to a route."""
        self._take(self._places[route])

    def interval(self, route: str) -> tuple[float, float] | None:
        """Return the bounds of a route's mean; None without rewards and requests."""
        place = self._places[route]
        if not self._counts[place]:
            return None
        width = math.sqrt(self._double_log() / self._counts[place])
        return self._means[place] - width, self._means[place] + width

    def shares(self) -> dict[str, float]:
        """Return the routes' shares of the next requests, while no reward comes."""
        chosen = [self.choose() for _ in range(_LOOK)]
        return {route: chosen.count(route) / _LOOK for route in self._routes}

    def _take(self, place: int) -> None:
        self._counts[place] += 1.0
        self._total += 1.0

    def _double_log(self) -> float:
        return 2.0 * math.log(self._total) if self._total > 1.0 else 0.0
