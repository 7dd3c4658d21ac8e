"""Base of the strategies of learning routers: routes, discounting, least shares, draws."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, TypeAlias, cast

import numpy as np
from pydantic import Field

from anabranch.components.bandits.state import RouteSums, State
from anabranch.components.tensors.arrays import Array
from anabranch.components.weights import Weights
from anabranch.errors import Mistake
from anabranch.specs.excerpts import hint, shown
from anabranch.specs.models import NodeBase, Router

MinShare: TypeAlias = float | dict[str, float]
"""``min_share`` as in a spec: a share for every route, or route: share."""
Interval: TypeAlias = tuple[float, float]

MAX_REWARD = 1e9
"""Largest absolute value of a reward, for strategies whose rewards need not be from 0 to 1."""
_NORMAL = 1.959964
"""Standard deviations either side of the mean within which 95 % of a normal distribution are."""
_TOLERANCE = 1e-9
_DIGEST = 32


@dataclass(frozen=True)
class Standing:
    """The state of a route, for people."""

    rewards: int
    """Number of counted rewards."""
    weight: float
    """Present weight of these rewards; smaller than their number with a decay."""
    mean: float
    """Expected reward, by prior and rewards."""
    interval: Interval | None
    """Interval of the mean, with 95 % or by the strategy's confidence; None if unknown."""
    share: float | None
    """Present share of the requests; None where it depends on the request."""
    posterior: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the belief about the route."""


class Decider(ABC):
    """The decisions of a strategy for one state. It is called from one thread at a time.

    A decider never changes its state: a new state means a new decider.
    """

    @abstractmethod
    def choose(self) -> str:
        """Draw a route."""

    @abstractmethod
    def shares(self) -> dict[str, float]:
        """Return the present probability of each route."""


class Bandit(ABC):
    """A learning router. A subclass is one strategy; its constructor ends with ``learn``.

    ``decay`` is a half-life in rewards: after so many rewards for any routes, a reward counts for
    half. ``min_share`` is the least share of the requests for each route. ``seed`` makes all
    draws of a replica repeatable, for tests.

    Args:
        decay: Half-life of a reward, in rewards of all routes, at least 1; rewards never fade if
            left out.
        min_share: Least share of the requests of every route, 0 to 1, or a map by route.
        seed: Seed of all draws of a replica, for tests.
    """

    def __init__(
        self,
        node: Router,
        *,
        decay: Annotated[float, Field(ge=1)] | None = None,
        min_share: MinShare = 0.0,
        seed: Annotated[int, Field(ge=0)] | None = None,
    ) -> None:
        self.routes = tuple(node.routes or ())
        self._keep = 1.0 if decay is None else 0.5 ** (1.0 / decay)
        self._rng = np.random.default_rng(seed)
        self._random = self._rng.random
        self._least = shares_of(min_share, self.routes)
        self._forced = math.fsum(self._least.values())
        self._floor = Weights(self._least) if self._forced else None

    @abstractmethod
    def learn(self, state: State | None) -> None:
        """Decide from now on by the state; by the priors alone if it is None."""

    @abstractmethod
    def route(self, /, **inputs: Array) -> str:
        """Return the name of a route."""

    @abstractmethod
    def standings(self, state: State) -> dict[str, Standing]:
        """Return the state of each route; draws for it are the same for the same state."""

    @classmethod
    def size(cls, inputs: Mapping[str, Any], args: Mapping[str, Any]) -> int:
        """Return the number of features of the strategy, given the types of its inputs."""
        return 0

    @property
    @abstractmethod
    def family(self) -> str:
        """The family of strategies that learn the same from rewards: unit, real or linear."""

    def wrong_reward(self, reward: float) -> str | None:
        """Return why the strategy cannot learn from a finite reward; None if it can."""
        least, most = (0.0, 1.0) if self.family == "unit" else (-MAX_REWARD, MAX_REWARD)
        if least <= reward <= most:
            return None
        return f"must be from {least:g} to {most:g}, not {shown(reward)}"

    def wrong_features(self, features: Sequence[float], size: int) -> str | None:
        """Return why the strategy cannot learn from finite features; None if it can."""
        if len(features) == size:
            return None
        return f"it learns from {size} features of each request, not {len(features)}"

    def key(self, size: int) -> str:
        """Return the name of the state: equal for strategies that can inherit each other's state.

        The name has at most 64 characters, from the family, the routes in any order, and the
        number of features.
        """
        routes = "\n".join(sorted(self.routes))
        digest = hashlib.sha256(routes.encode()).hexdigest()[:_DIGEST]
        return "-".join([self.family, *([str(size)] if size else []), digest])

    def after(
        self, state: State, route: str, reward: float, features: Sequence[float] = ()
    ) -> State:
        """Return the state after one more reward of a route."""
        return state.after(route, reward, features, self._keep)

    def _must(self) -> str | None:
        """Return a route that the least shares demand; None if the strategy may decide."""
        if self._floor is None:
            return None
        point = self._random()
        return self._floor.pick(point / self._forced) if point < self._forced else None

    def _with_least(self, shares: Mapping[str, float]) -> dict[str, float]:
        """Return the shares of routes, given the strategy's shares beyond the least shares."""
        free = max(0.0, 1.0 - self._forced)
        return {route: self._least[route] + free * shares[route] for route in self.routes}


class ContextFree(Bandit):
    """A strategy that decides without the request's features."""

    _mind: Decider

    @abstractmethod
    def mind(self, state: State, rng: np.random.Generator) -> Decider:
        """Return the decider for a state."""

    def learn(self, state: State | None) -> None:
        """Decide from now on by the state; by the priors alone if it is None."""
        self._mind = self.mind(state or State.empty(self.routes), self._rng)

    def route(self, /, **inputs: Array) -> str:
        """Return the name of a route."""
        return self._must() or self._mind.choose()

    def _standings(
        self,
        state: State,
        believed: Mapping[str, Any],
        interval: Callable[[str], Interval | None],
    ) -> dict[str, Standing]:
        """Return the state of each route, given its belief, a dataclass with a ``mean``."""
        mind = self.mind(state, np.random.default_rng(0))
        shares = self._with_least(mind.shares())
        return {
            route: Standing(
                state.routes[route].rewards,
                state.routes[route].count,
                believed[route].mean,
                interval(route),
                shares[route],
                asdict(believed[route]),
            )
            for route in self.routes
        }


def shares_of(given: MinShare, routes: Sequence[str]) -> dict[str, float]:
    """Return the least share of every route."""
    if isinstance(given, Mapping):
        return {route: given.get(route, 0.0) for route in routes}
    return dict.fromkeys(routes, given)


def normal_interval(sums: RouteSums) -> Interval | None:
    """Return where the mean of a route is, with 95 %, as the normal approximation has it."""
    if sums.count <= 1.0:
        return None
    width = _NORMAL * math.sqrt(sums.spread / (sums.count - 1.0) / sums.count)
    return sums.mean - width, sums.mean + width


def problems(node: NodeBase, strategy: str) -> Iterable[Mistake]:
    """Find what is wrong with a router that learns, whatever its strategy."""
    router = cast(Router, node)
    if router.routes is None:
        yield ("routes",), f"the strategy {strategy!r} needs routes, a list of nodes"
    elif isinstance(router.routes, dict):
        yield ("routes",), f"the strategy {strategy!r} learns the weights; write a list of nodes"
    for name in ("rules", "otherwise"):
        if getattr(router, name) is not None:
            yield (name,), f"{name} belongs to the strategy 'rules', not {strategy!r}"
    if router.sticky is not None:
        yield ("sticky",), f"sticky belongs to the strategy 'weighted', not {strategy!r}"
    yield from _wrong_shares(router)


def _wrong_shares(router: Router) -> Iterable[Mistake]:
    given: Any = router.args.get("min_share", 0.0)
    routes = tuple(router.routes or ())
    named = given if isinstance(given, Mapping) else {}
    for route in named:
        if route not in routes:
            yield ("args", "min_share", route), f"no such route{hint(route, routes)}"
    shares = shares_of(given, routes)
    for route, share in shares.items():
        if not 0 <= share <= 1:
            place = ("args", "min_share", *([route] if route in named else []))
            yield place, f"must be from 0 to 1, not {shown(share)}"
            return
    total = math.fsum(shares.values())
    if total > 1 + _TOLERANCE:
        yield (
            ("args", "min_share"),
            f"the least shares of {len(routes)} routes are {total:g} together, more than 1",
        )
