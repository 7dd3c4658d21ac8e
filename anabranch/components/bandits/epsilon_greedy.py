"""Epsilon-greedy: the best route so far, and for a share of the requests any route."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from anabranch.components.bandits import priors
from anabranch.components.bandits.bandit import (
    ContextFree,
    Decider,
    Standing,
    normal_interval,
    problems,
)
from anabranch.components.bandits.priors import Given, PriorMean
from anabranch.components.bandits.state import State
from anabranch.components.registry import register
from anabranch.components.weights import Weights
from anabranch.errors import Mistake
from anabranch.specs.models import Router

_NONE = PriorMean(0.0, 0.0)


@register("router", "epsilon_greedy")
class EpsilonGreedy(ContextFree):
    """Chooses the route of the largest mean reward, and for a share ``epsilon`` any route.

    Sutton and Barto, "Reinforcement Learning", 2018, section 2.2. With ``anneal`` the share falls
    after that number of rewards: it is ``epsilon * anneal / n`` after n, as in epsilon-n-greedy
    of Auer, Cesa-Bianchi and Fischer, "Finite-time Analysis of the Multiarmed Bandit Problem",
    2002. ``prior`` is ``{mean, weight}``; without one a route without rewards has a mean of 0.
    Rewards are any numbers.

    Args:
        epsilon: Share of the requests, 0 to 1, that any route may get.
        anneal: Number of rewards after which the share falls; it never falls if left out.
        prior: ``{mean, weight}`` before the first reward, for all routes, or a map of such by
            route.
    """

    family = "real"

    def __init__(
        self,
        node: Router,
        *,
        epsilon: Annotated[float, Field(ge=0, le=1)] = 0.1,
        anneal: Annotated[float, Field(ge=1)] | None = None,
        prior: Given | None = None,
        **common: Any,
    ) -> None:
        super().__init__(node, **common)
        self._epsilon = epsilon
        self._anneal = math.inf if anneal is None else anneal
        self._priors = priors.read(PriorMean, prior, self.routes, _NONE)
        self.learn(None)

    @staticmethod
    def check(node: Router) -> Iterable[Mistake]:
        """Find wrong routes, shares and priors."""
        yield from problems(node, "epsilon_greedy")
        yield from priors.problems(PriorMean, node)

    def mind(self, state: State, rng: np.random.Generator) -> Decider:
        """Return the decider for a state: it draws by fixed shares."""
        believed = self._believed(state)
        most = max(one.mean for one in believed.values())
        best = [route for route, one in believed.items() if one.mean == most]
        count = math.fsum(sums.count for sums in state.routes.values())
        epsilon = self._epsilon * (self._anneal / count if count > self._anneal else 1.0)
        any_of = epsilon / len(self.routes)
        greedy = {route: (1.0 - epsilon) / len(best) for route in best}
        return _Shares({route: any_of + greedy.get(route, 0.0) for route in self.routes}, rng)

    def standings(self, state: State) -> dict[str, Standing]:
        """Return the state of each route; the interval is that of the normal approximation."""
        return self._standings(
            state, self._believed(state), lambda route: normal_interval(state.routes[route])
        )

    def _believed(self, state: State) -> dict[str, PriorMean]:
        return {route: self._priors[route].after(state.routes[route]) for route in self.routes}


class _Shares(Decider):
    """Draws routes by fixed shares."""

    def __init__(self, shares: Mapping[str, float], rng: np.random.Generator) -> None:
        self._known = dict(shares)
        self._weights = Weights(shares)
        self._random = rng.random

    def choose(self) -> str:
        """Draw a route."""
        return self._weights.pick(self._random())

    def shares(self) -> dict[str, float]:
        """Return the share of each route."""
        return self._known
