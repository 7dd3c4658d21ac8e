"""LinUCB: the route with the largest upper bound for the request's features is chosen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from anabranch.components.bandits.bandit import (
    Bandit,
    Standing,
    normal_interval,
    problems,
)
from anabranch.components.bandits.state import RouteSums, State
from anabranch.components.contract import Choice
from anabranch.components.registry import register
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.types import TypeConflict, Types
from anabranch.errors import InvalidRequest, Mistake
from anabranch.specs.models import Router, TensorSpec

MAX_FEATURES = 64
MAX_NORM = 1e6
"""Largest Euclidean norm of the features of a request."""
_TOO_LARGE = f"the features of a router must be finite, and of a norm of at most {MAX_NORM:g}"
_FLOATS = ("FP16", "FP32", "FP64", "BF16")
_Vector = np.ndarray[Any, np.dtype[np.float64]]


@register("router", "linucb")
class LinUCB(Bandit):
    """Chooses the route with the largest upper bound of a reward that is linear in the features.

    Disjoint LinUCB: algorithm 1 of Li, Chu, Langford and Schapire, "A Contextual-Bandit Approach
    to Personalized News Article Recommendation", 2010. For each route A = ``ridge`` I + sum of
    x xᵀ, b = sum of reward times x, and the bound is x·θ + ``alpha`` sqrt(xᵀ A⁻¹ x) with
    θ = A⁻¹ b. The features x are the node's ``inputs`` one after the other, each a tensor of floats
    of one row; add a constant 1 for an intercept. Rewards are any numbers; the bound is meant
    for rewards of about the size of 1. The prior of θ is normal with variance 1 / ``ridge``.

    Args:
        features: Number of features, needed where the types of the inputs do not tell it.
        alpha: Width of the confidence bound, at least 0; larger values explore more.
        ridge: Regularisation of the regression, at least 1e-6.
    """

    family = "linear"

    def __init__(
        self,
        node: Router,
        *,
        features: Annotated[int, Field(ge=1, le=MAX_FEATURES)] | None = None,
        alpha: Annotated[float, Field(ge=0)] = 1.0,
        ridge: Annotated[float, Field(ge=1e-6)] = 1.0,
        **common: Any,
    ) -> None:
        super().__init__(node, **common)
        self._names = tuple(node.inputs)
        self._size = features
        self._alpha = alpha
        self._ridge = ridge
        self.learn(None)

    @staticmethod
    def check(node: Router) -> Iterable[Mistake]:
        """Find wrong routes, shares and parameters, and missing inputs."""
        yield from problems(node, "linucb")
        if not node.inputs:
            yield ("inputs",), "the strategy 'linucb' needs inputs, its features"

    @classmethod
    def infer(cls, inputs: Types, args: Mapping[str, Any]) -> None:
        """Return None: outputs are unknown. Raise TypeConflict for inputs that are no features."""
        cls.size(inputs, args)

    @classmethod
    def size(cls, inputs: Mapping[str, Any], args: Mapping[str, Any]) -> int:
        """Return the number of features; raise TypeConflict where it is unknown or inconsistent."""
        sizes = [_size(name, spec) for name, spec in inputs.items()]
        known = None if None in sizes else sum(size or 0 for size in sizes)
        given: int | None = args.get("features")
        if known is None and given is None:
            raise TypeConflict("the number of features is unknown: give it as args.features")
        if known is not None and given is not None and known != given:
            raise TypeConflict(f"args.features is {given}, but the inputs have {known} numbers")
        found = given if known is None else known
        if found is None or not 1 <= found <= MAX_FEATURES:
            raise TypeConflict(f"takes from 1 to {MAX_FEATURES} features, not {found}")
        return found

    def learn(self, state: State | None) -> None:
        """Decide from now on by the state; by the prior alone if it is None.

        Takes a millisecond or more where there are many features. Decisions may go on meanwhile.
        """
        known = state or State.empty(self.routes)
        size = next((len(one.moment) for one in known.routes.values() if one.moment), self._size)
        self._bounds = None if size is None else self._ready(known, size)

    def route(self, /, **inputs: Array) -> str:
        """Return a ``Choice`` of a route; raise InvalidRequest for wrong features."""
        x = self._features(inputs)
        bounds = self._bounds
        if bounds is None:  # nothing was learned, and nobody said how many features there are
            bounds = self._bounds = self._ready(State.empty(self.routes), x.size)
        best = bounds.best(x)
        return Choice(self._must() or best, tuple(x.tolist()))

    def wrong_features(self, features: Sequence[float], size: int) -> str | None:
        """Return why the strategy cannot learn from finite features; None if it can."""
        wrong = super().wrong_features(features, size)
        return wrong or (None if math.hypot(*features) <= MAX_NORM else _TOO_LARGE)

    def standings(self, state: State) -> dict[str, Standing]:
        """Return the state of each route: its mean over all requests, and θ as the posterior."""
        return {route: self._standing(state.routes[route]) for route in self.routes}

    def _standing(self, sums: RouteSums) -> Standing:
        interval = normal_interval(sums)
        if not sums.moment:
            return Standing(sums.rewards, sums.count, sums.mean, interval, None, {"theta": None})
        theta, _ = _solved(sums, len(sums.moment), self._ridge)
        posterior = {"theta": theta.tolist()}
        return Standing(sums.rewards, sums.count, sums.mean, interval, None, posterior)

    def _features(self, inputs: Mapping[str, Array]) -> _Vector:
        if len(self._names) == 1:
            found = _row(self._names[0], inputs[self._names[0]])
        else:
            found = np.concatenate([_row(name, inputs[name]) for name in self._names])
        x = found.astype(np.float64)
        if self._size is not None and x.size != self._size:
            raise InvalidRequest(f"a router takes {self._size} features, not {x.size}")
        if not x.dot(x) <= MAX_NORM**2:
            raise InvalidRequest(_TOO_LARGE)
        return x

    def _ready(self, state: State, size: int) -> _Bounds:
        self._size = size
        return _Bounds(self.routes, state, size, self._alpha, self._ridge)


class _Bounds:
    """The bounds of all routes in one matrix, so that one product decides a request."""

    def __init__(
        self, routes: Sequence[str], state: State, size: int, alpha: float, ridge: float
    ) -> None:
        self._routes = routes
        self._alpha = alpha
        solved = [_solved(state.routes[route], size, ridge) for route in routes]
        self._matrix = np.vstack([*(root for _, root in solved), *(theta for theta, _ in solved)])
        self._product = np.empty(len(self._matrix))
        self._roots = [
            self._product[place * size : (place + 1) * size] for place in range(len(routes))
        ]
        self._means = self._product[len(routes) * size :]

    def best(self, x: _Vector) -> str:
        """Return the route of the largest bound, the first of equal routes."""
        self._matrix.dot(x, out=self._product)
        best, found = -math.inf, 0
        for place, mean in enumerate(self._means.tolist()):
            root = self._roots[place]
            bound = mean + self._alpha * math.sqrt(root.dot(root))
            if bound > best:
                best, found = bound, place
        return self._routes[found]


def _solved(sums: RouteSums, size: int, ridge: float) -> tuple[_Vector, _Vector]:
    """Return θ, and a matrix R with RᵀR = A⁻¹, so that xᵀ A⁻¹ x is the square of the norm of R x.

    Through the eigenvalues of the sum of x xᵀ: those are at least 0, whatever rounding says.
    """
    gram = np.zeros((size, size))
    if sums.gram:
        gram[np.tril_indices(size)] = sums.gram
    values, vectors = np.linalg.eigh(gram)  # reads the lower triangle alone
    root = (vectors / np.sqrt(np.maximum(values, 0.0) + ridge)).T
    theta = root.T @ (root @ np.asarray(sums.moment)) if sums.moment else np.zeros(size)
    return theta, root


def _row(name: str, array: Array) -> Array:
    if array.ndim > 2 or (array.ndim == 2 and array.shape[0] != 1):
        raise InvalidRequest(
            f"{name!r}, the features of a router, must be one row, not {list(array.shape)}: "
            "it takes one decision for a request"
        )
    return array.reshape(-1)


def _size(name: str, spec: TensorSpec | None) -> int | None:
    """Return the number of elements of a tensor of one row; None if it is unknown."""
    if spec is None:
        return None
    if spec.datatype not in _FLOATS:
        raise TypeConflict(f"{name!r} is {spec}; features are {', '.join(_FLOATS)}: cast it")
    if len(spec.shape) > 2 or (len(spec.shape) == 2 and spec.shape[0] not in (-1, 1)):
        raise TypeConflict(f"{name!r} is {spec}; features are one row")
    last = spec.shape[-1] if spec.shape else 1
    return None if last == -1 else last
