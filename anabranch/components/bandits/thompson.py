"""Thompson sampling: each route is chosen as often as it is likely to be the best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from anabranch.components.bandits import priors
from anabranch.components.bandits.bandit import (
    ContextFree,
    Decider,
    Standing,
    problems,
)
from anabranch.components.bandits.priors import Beta, Gaussian, Given
from anabranch.components.bandits.state import State
from anabranch.components.registry import register
from anabranch.errors import Mistake
from anabranch.specs.models import Router

_FLAT = Beta(1.0, 1.0)
_BLOCK = 64
"""Decisions of one block of draws; a call of NumPy for each decision would take longer."""
_LOOK = 10_000
"""Draws for the shares and intervals that people read."""
_TAILS = (0.025, 0.975)

_Belief: TypeAlias = Beta | Gaussian
Draws: TypeAlias = Callable[[np.random.Generator, int], np.ndarray[Any, np.dtype[np.float64]]]
"""Returns draws of the mean of every route: an array [draws, routes]."""


@register("router", "thompson")
class Thompson(ContextFree):
    """Draws a mean for each route from the belief about it, and chooses the largest.

    Thompson, "On the Likelihood that One Unknown Probability Exceeds Another", 1933; Russo et al.,
    "A Tutorial on Thompson Sampling", 2018. With ``rewards: beta`` they are from 0 to 1, and one of
    0.3 counts as 0.3 successes and 0.7 failures; the ``prior`` is ``{alpha, beta}``, 1 and 1 unless
    told otherwise. With ``rewards: gaussian`` they are any numbers, of unknown mean and variance;
    the ``prior`` is ``{mean, weight}`` and maybe ``shape`` and ``scale`` of the variance, and
    without one it is worth a single reward of the scale of all that there were.

    Args:
        rewards: ``beta`` for rewards from 0 to 1, ``gaussian`` for any numbers.
        prior: Belief before the first reward, for all routes, or a map of such by route.
    """

    def __init__(
        self,
        node: Router,
        *,
        rewards: Literal["beta", "gaussian"] = "beta",
        prior: Given | None = None,
        **common: Any,
    ) -> None:
        super().__init__(node, **common)
        self._gaussian = rewards == "gaussian"
        self._given = prior
        self.learn(None)

    @staticmethod
    def check(node: Router) -> Iterable[Mistake]:
        """Find wrong routes, shares and priors."""
        yield from problems(node, "thompson")
        kind = Gaussian if node.args.get("rewards") == "gaussian" else Beta
        yield from priors.problems(kind, node)

    @property
    def family(self) -> str:
        """The family: ``real`` for Gaussian rewards, ``unit`` for rewards from 0 to 1."""
        return "real" if self._gaussian else "unit"

    def mind(self, state: State, rng: np.random.Generator) -> Decider:
        """Return the decider for a state: it draws from the beliefs."""
        return _Sampler(self.routes, self._draws(state), rng)

    def standings(self, state: State) -> dict[str, Standing]:
        """Return the state of each route; shares and intervals come from 10,000 draws."""
        drawn = self._draws(state)(np.random.default_rng(0), _LOOK)
        tails = np.quantile(drawn, _TAILS, axis=0).T.tolist()
        intervals = {
            route: (low, high) for route, (low, high) in zip(self.routes, tails, strict=True)
        }
        return self._standings(state, self._believed(state), intervals.get)

    def _believed(self, state: State) -> Mapping[str, _Belief]:
        default = priors.unit_information(state.routes.values()) if self._gaussian else _FLAT
        before = priors.read(type(default), self._given, self.routes, default)
        return {route: before[route].after(state.routes[route]) for route in self.routes}

    def _draws(self, state: State) -> Draws:
        believed: Sequence[Any] = list(self._believed(state).values())
        return _of_gaussians(believed) if self._gaussian else _of_betas(believed)


def _of_betas(believed: Sequence[Beta]) -> Draws:
    alpha, beta = [one.alpha for one in believed], [one.beta for one in believed]
    return lambda rng, count: rng.beta(alpha, beta, (count, len(alpha)))


def _of_gaussians(believed: Sequence[Gaussian]) -> Draws:
    mean = np.array([one.mean for one in believed])
    width = np.array([one.width for one in believed])
    freedom = [2.0 * one.shape for one in believed]
    return lambda rng, count: mean + width * rng.standard_t(freedom, (count, len(mean)))


class _Sampler(Decider):
    """Draws decisions in blocks; a new state discards the rest of a block."""

    def __init__(self, routes: Sequence[str], draws: Draws, rng: np.random.Generator) -> None:
        self._routes = routes
        self._draws = draws
        self._rng = rng
        self._drawn: list[int] = []

    def choose(self) -> str:
        """Draw a route."""
        if not self._drawn:
            self._drawn = self._draws(self._rng, _BLOCK).argmax(axis=1).tolist()
        return self._routes[self._drawn.pop()]

    def shares(self) -> dict[str, float]:
        """Return the probability of each route to be the best."""
        best = self._draws(self._rng, _LOOK).argmax(axis=1)
        counts = np.bincount(best, minlength=len(self._routes))
        return dict(zip(self._routes, (counts / _LOOK).tolist(), strict=True))
