"""Beliefs about a route, before and after its rewards.

Each kind is conjugate: belief and rewards make a belief of the same kind (Murphy, "Conjugate
Bayesian analysis of the Gaussian distribution", 2007, for the Gaussian).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeAlias, TypeVar

from anabranch.components.bandits.state import RouteSums
from anabranch.errors import FieldPath, Mistake
from anabranch.specs.excerpts import hint, listing, shown
from anabranch.specs.models import Router

Given: TypeAlias = dict[str, float] | dict[str, dict[str, float]]
"""``prior`` as in a spec: one prior for all routes, or route: prior."""

_LEAST = 1e-6
"""Smallest value of a parameter that must be more than 0, unless it says otherwise."""
_LEAST_OF = {"shape": 0.5}
"""With fewer than one degree of freedom, draws from Student's t leave the range of floats."""
_LARGEST = 1e9

_Belief = TypeVar("_Belief")


@dataclass(frozen=True, slots=True)
class PriorMean:
    """A mean, and how many rewards it counts for."""

    mean: float
    weight: float

    def after(self, sums: RouteSums) -> PriorMean:
        """Return the belief after rewards; the prior's mean while nothing has any weight."""
        weight = self.weight + sums.count
        if not weight:
            return self
        return PriorMean((self.weight * self.mean + sums.count * sums.mean) / weight, weight)


@dataclass(frozen=True, slots=True)
class Beta:
    """Of the mean of rewards from 0 to 1, each of which counts as that much of a success."""

    alpha: float
    beta: float

    @property
    def mean(self) -> float:
        """The expected mean reward."""
        return self.alpha / (self.alpha + self.beta)

    def after(self, sums: RouteSums) -> Beta:
        """Return the belief after rewards."""
        won = min(max(sums.count * sums.mean, 0.0), sums.count)
        return Beta(self.alpha + won, self.beta + sums.count - won)


@dataclass(frozen=True, slots=True)
class Gaussian:
    """Of the mean and the variance of rewards: a normal-inverse-gamma distribution.

    The mean is known as well as from ``weight`` rewards; the variance is inverse-gamma of ``shape``
    and ``scale``.
    """

    mean: float
    weight: float
    shape: float = 1.0
    scale: float = 1.0

    @property
    def width(self) -> float:
        """Scale of the mean's distribution, Student's t with 2 ``shape`` degrees of freedom."""
        return math.sqrt(self.scale / (self.shape * self.weight))

    def after(self, sums: RouteSums) -> Gaussian:
        """Return the belief after rewards."""
        weight = self.weight + sums.count
        off = sums.mean - self.mean
        return Gaussian(
            self.mean + off * sums.count / weight,
            weight,
            self.shape + sums.count / 2,
            self.scale + (sums.spread + off * off * self.weight * sums.count / weight) / 2,
        )


def unit_information(routes: Iterable[RouteSums]) -> Gaussian:
    """Return a prior worth one reward, of the scale of those that there were over all routes.

    After Kass and Wasserman, "A Reference Bayesian Test for Nested Hypotheses", 1995. So nobody
    needs to say how large rewards are, and a route without any is worth a try.
    """
    known = [sums for sums in routes if sums.count]
    count = math.fsum(sums.count for sums in known)
    if not count:
        return Gaussian(0.0, 1.0)
    mean = math.fsum(sums.count * sums.mean for sums in known) / count
    off = (sums.spread + sums.count * (sums.mean - mean) ** 2 for sums in known)
    variance = math.fsum(off) / count
    return Gaussian(mean, 1.0, 1.0, variance if variance > 0 else 1.0)


def read(
    kind: type[_Belief], given: Given | None, routes: Sequence[str], default: _Belief
) -> dict[str, _Belief]:
    """Return the prior of every route; ``default`` for routes without an entry in ``given``."""
    if given is None:
        return dict.fromkeys(routes, default)
    if _is_common(given):
        return dict.fromkeys(routes, kind(**given))
    named: Mapping[str, Any] = given
    return {route: kind(**named[route]) if route in named else default for route in routes}


def problems(kind: type[Any], router: Router) -> Iterator[Mistake]:
    """Find the mistakes in the prior of a node, which must be of a kind."""
    given: Any = router.args.get("prior")
    routes = tuple(router.routes or ())
    if given is None:
        return
    if _is_common(given):
        yield from _wrong(kind, given, ("args", "prior"))
        return
    for route, one in given.items():
        if route not in routes:
            yield ("args", "prior", route), f"no such route{hint(route, routes)}"
        else:
            yield from _wrong(kind, one, ("args", "prior", route))


def _is_common(given: Mapping[str, Any]) -> bool:
    return not any(isinstance(value, Mapping) for value in given.values())


def _wrong(kind: type[Any], given: Any, place: FieldPath) -> Iterator[Mistake]:
    known = {one.name: one for one in fields(kind)}
    for name, value in given.items():
        if name not in known:
            yield (*place, name), f"no parameter of this prior{hint(name, known)}"
        elif name == "mean" and not abs(value) <= _LARGEST:
            yield (*place, name), f"must be from -{_LARGEST:g} to {_LARGEST:g}, not {shown(value)}"
        elif name != "mean" and not (least := _LEAST_OF.get(name, _LEAST)) <= value <= _LARGEST:
            yield (*place, name), f"must be from {least:g} to {_LARGEST:g}, not {shown(value)}"
    missing = [name for name, one in known.items() if one.default is MISSING and name not in given]
    if missing:
        yield place, f"this prior needs {listing(missing)}"
