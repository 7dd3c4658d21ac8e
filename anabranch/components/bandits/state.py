"""The state of a learning router: sums over the rewards of each route, as an immutable value.

With a decay all sums are discounted by the same factor at every reward, whichever route it is of
(discounted UCB: Garivier and Moulines, "On Upper-Confidence Bound Policies for Switching Bandit
Problems", 2011; discounted Thompson sampling: Raj and Kalyani, "Taming Non-stationary Bandits",
2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter

_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_Weight = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class RouteSums:
    """The sums of one route. With a decay, all sums but ``rewards`` are discounted."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    rewards: Annotated[int, Field(ge=0)] = 0
    """Number of rewards."""
    count: _Weight = 0.0
    """Present weight of the rewards."""
    mean: float = 0.0
    spread: _Weight = 0.0
    """Sum of the squared differences from the mean."""
    gram: tuple[float, ...] = ()
    """Sum of x xᵀ over the features x: the lower triangle, row by row; empty without features."""
    moment: tuple[float, ...] = ()
    """Sum of reward times x."""

    def aged(self, keep: float) -> RouteSums:
        """Return the sums discounted by the factor ``keep``."""
        return replace(
            self,
            count=self.count * keep,
            spread=self.spread * keep,
            gram=_scaled(self.gram, keep),
            moment=_scaled(self.moment, keep),
        )

    def plus(self, reward: float, features: Sequence[float] = ()) -> RouteSums:
        """Return the sums after a reward; Welford's method updates mean and spread."""
        count = self.count + 1.0
        from_before = reward - self.mean
        mean = self.mean + from_before / count
        return RouteSums(
            self.rewards + 1,
            count,
            mean,
            self.spread + max(0.0, from_before * (reward - mean)),
            *self._linear(reward, features),
        )

    def _linear(
        self, reward: float, features: Sequence[float]
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        if not features:
            return (), ()
        x = np.asarray(features, np.float64)
        gram, moment = np.outer(x, x)[np.tril_indices(x.size)], reward * x
        if self.gram:
            gram, moment = gram + self.gram, moment + self.moment
        return tuple(gram.tolist()), tuple(moment.tolist())


def _scaled(values: tuple[float, ...], by: float) -> tuple[float, ...]:
    return tuple(value * by for value in values)


@dataclass(frozen=True, slots=True)
class State:
    """The sums of every route."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    routes: dict[str, RouteSums]
    version: Literal[1] = field(default=1, kw_only=True)
    """Of the JSON that it is kept as."""

    @classmethod
    def empty(cls, routes: Sequence[str]) -> Self:
        """Return the state before any reward."""
        return cls({route: RouteSums() for route in routes})

    def after(
        self, route: str, reward: float, features: Sequence[float] = (), keep: float = 1.0
    ) -> State:
        """Return the state after a reward of a route, before which all others are discounted."""
        aged = self.routes
        if keep != 1.0:
            aged = {name: sums.aged(keep) for name, sums in aged.items()}
        return State({**aged, route: aged[route].plus(reward, features)})

    def to_json(self) -> str:
        """Return the state as JSON-able data; ``read`` gives an equal one."""
        return _STATE.dump_json(self).decode()

    @classmethod
    def read(cls, text: str, routes: Sequence[str], size: int) -> State:
        """Return a state of these routes, over so many features, 0 for none.

        ValueError for what is none: a key or a route too many or missing, another type, no finite
        number, a negative weight, sums of another size, another version.
        """
        found = _STATE.validate_json(text)
        if found.routes.keys() != set(routes):
            raise ValueError(f"a state of the routes {', '.join(found.routes)}")
        sizes = {(len(sums.gram), len(sums.moment)) for sums in found.routes.values()}
        if not sizes <= {(0, 0), (size * (size + 1) // 2, size)}:
            raise ValueError(f"a state over another number of features than {size}")
        return found


_STATE = TypeAdapter(State)
