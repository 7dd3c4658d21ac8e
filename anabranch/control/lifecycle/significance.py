"""Whether two means differ: a sequential test, valid at every look.

Observations lie from 0 to 1: rewards, or errors as 0 and 1. They come in *blocks*, each with its
own numbers of observations of two arms, a and b, which do not depend on the values in the block. A
hypothesis says that the means, θ_a and θ_b, differ by d, or by at most or at least d; the means
may change from block to block as long as it holds.

Before a block, alternatives (p_a, p_b) are chosen from what was seen before. Each bets on the block
its likelihood over that of (q_a, q_b), the pair of the hypothesis that is nearest to it by the sum
of n_a KL(p_a, q_a) and n_b KL(p_b, q_b):

    (p_a/q_a)^s_a ((1-p_a)/(1-q_a))^(n_a-s_a) (p_b/q_b)^s_b ((1-p_b)/(1-q_b))^(n_b-s_b)

for n observations with the sum s. Its mean is at most 1 under the hypothesis. Hence the mean of the
products over all blocks, one product for each alternative, is the wealth of a gambler who began
with 1 in a game that is not in his favour, and by Ville's inequality it ever reaches 1/error with
at most the probability ``error``: however often one looks, and whenever one stops. Only counts and
sums are needed, and no common mean has to be known.

The bet is the E-variable of Turner, Ly and Grünwald, "Generic E-variables for exact sequential
k-sample tests that allow for optional stopping", Journal of Statistical Planning and Inference 230,
2024, and for differences other than 0 of Turner and Grünwald, "Exact anytime-valid confidence
intervals for contingency tables and beyond", Statistics & Probability Letters 198, 2023. They have
observations of 0 and 1; for x in between, (p/q)^x ((1-p)/(1-q))^(1-x) is at most
x p/q + (1-x) (1-p)/(1-q), whose mean depends on the mean of x alone. Always valid p-values are
those of Johari, Koomen, Pekelis and Walsh, "Always Valid Inference: Continuous Monitoring of A/B
Tests", Operations Research 70, 2022.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Hypothesis: TypeAlias = Literal["equal", "at_most", "at_least"]
"""Of the difference of the means: that it is, is at most, or is at least a number."""

MIN_BLOCK = 10
"""Observations of either arm in a block; a block of one arm alone would tell nothing."""
_TILTS = 0.01 * 2.0 ** (np.arange(16) / 2)
"""Half the differences of the alternatives' log odds: from 2 % to 37 times the odds."""
_SIGNED = {"equal": np.concatenate([_TILTS, -_TILTS]), "at_most": _TILTS, "at_least": -_TILTS}
_HALVINGS = 60
_EDGE = 1e-9


class Observations(NamedTuple):
    """Observations of one arm: their number and their sum, which is from 0 to the number."""

    number: float = 0.0
    total: float = 0.0

    def plus(self, other: Observations) -> Observations:
        """Return both samples together."""
        return Observations(self.number + other.number, self.total + other.total)

    @property
    def mean(self) -> float | None:
        """The mean; None without an observation."""
        return self.total / self.number if self.number else None


class Pair(NamedTuple):
    """Samples of both arms; where blocks of many tests are bet on at once, of arrays."""

    a: Observations = Observations()
    b: Observations = Observations()

    def plus(self, other: Pair) -> Pair:
        """Return both pairs together."""
        return Pair(self.a.plus(other.a), self.b.plus(other.b))

    @property
    def difference(self) -> float | None:
        """The mean of a minus the mean of b; None where an arm has no observation."""
        one, two = self.a.mean, self.b.mean
        return None if one is None or two is None else one - two


@dataclass(frozen=True)
class Evidence:
    """The evidence against a hypothesis on the difference of two means, a minus b."""

    hypothesis: Hypothesis = "equal"
    difference: float = 0.0
    """From -1 to 1, both excluded."""
    wealth: tuple[float, ...] = ()
    """Logarithm of the wealth of each alternative; empty before the first block."""
    seen: Pair = field(default_factory=Pair)
    """Observations in the blocks so far."""
    open: Pair = field(default_factory=Pair)
    """Observations of the block that is not complete."""
    peak: float = 0.0
    """Largest logarithm of the mean wealth so far, at least 0."""

    def plus(self, more: Pair) -> Evidence:
        """Return the evidence after more observations, whose numbers do not depend on them."""
        block = self.open.plus(more)
        if min(block.a.number, block.b.number) < MIN_BLOCK:
            return replace(self, open=block)
        # Nothing is known before the first block, on which nothing is bet.
        bets = log_bets(block, self.seen, self.hypothesis, self.difference)
        before = np.asarray(self.wealth) if self.wealth else np.zeros(bets.shape)
        wealth = before + bets if self.seen.a.number else before
        return replace(
            self,
            wealth=tuple(wealth.tolist()),
            seen=self.seen.plus(block),
            open=Pair(),
            peak=max(self.peak, float(log_mean(wealth))),
        )

    @property
    def p_value(self) -> float:
        """The smallest error at which the hypothesis is rejected; it never grows."""
        return math.exp(-self.peak)

    def rejects(self, error: float) -> bool:
        """Return whether the hypothesis is rejected; wrong with at most the probability ``error``,
        over all looks together.
        """
        return self.p_value <= error

    @property
    def all(self) -> Pair:
        """All observations."""
        return self.seen.plus(self.open)

    def to_json(self) -> list[Any]:
        """Return JSON-able data that ``from_json`` reads back."""
        return [self.hypothesis, self.difference, self.wealth, self.seen, self.open, self.peak]

    @classmethod
    def from_json(cls, data: list[Any]) -> Evidence:
        """Read what ``to_json`` wrote."""
        hypothesis, difference, wealth, seen, opened, peak = data
        return cls(hypothesis, difference, tuple(wealth), _pair(seen), _pair(opened), peak)


@dataclass(frozen=True)
class Trial:
    """Evidence on a limit of a difference: against both sides of it."""

    at_most: Evidence
    at_least: Evidence
    outside: int = 0
    """Observations that were not from 0 to 1; with any, nothing more is learned."""

    def plus(self, more: Pair, outside: int) -> Trial:
        """Return the evidence after more observations, so many of them not from 0 to 1."""
        if self.outside or outside:
            return replace(self, outside=self.outside + outside)
        return Trial(self.at_most.plus(more), self.at_least.plus(more))

    def to_json(self) -> list[Any]:
        """Return JSON-able data that ``from_json`` reads back."""
        return [self.at_most.to_json(), self.at_least.to_json(), self.outside]

    @classmethod
    def from_json(cls, data: list[Any]) -> Trial:
        """Read what ``to_json`` wrote."""
        at_most, at_least, outside = data
        return cls(Evidence.from_json(at_most), Evidence.from_json(at_least), outside)


def _pair(data: list[list[float]]) -> Pair:
    return Pair(*(Observations(*one) for one in data))


def log_bets(block: Pair, seen: Pair, hypothesis: Hypothesis, difference: float) -> Numbers:
    """Return the logarithm of each alternative's bet on a block, along a last axis of its own.

    The samples may hold arrays of one shape; ``seen`` are the observations before the block.
    """
    (n_a, s_a), (n_b, s_b) = (map(_column, sample) for sample in block)
    (m_a, t_a), (m_b, t_b) = (map(_column, sample) for sample in seen)
    tilts = _SIGNED[hypothesis]
    # Half an observation of either value keeps means off 0 and 1.
    near_b = _nearest(m_a + 1, t_a + 0.5, m_b + 1, t_b + 0.5, difference)
    p_a = _tilted(near_b + difference, tilts)
    p_b = _tilted(near_b, -tilts)
    q_b = _nearest(n_a, n_a * p_a, n_b, n_b * p_b, difference)
    return _gain(n_a, s_a, p_a, _inside(q_b + difference)) + _gain(n_b, s_b, p_b, q_b)


def log_mean(wealth: Numbers) -> Numbers:
    """Return the logarithm of the mean wealth, given logarithms along the last axis."""
    top = wealth.max(axis=-1, keepdims=True)
    found: Numbers = np.log(np.exp(wealth - top).mean(axis=-1)) + top[..., 0]
    return found


def _column(number: Any) -> Numbers:
    return np.asarray(number, np.float64)[..., np.newaxis]


def _inside(mean: Numbers) -> Numbers:
    found: Numbers = np.clip(mean, _EDGE, 1.0 - _EDGE)
    return found


def _tilted(mean: Numbers, tilts: Numbers) -> Numbers:
    mean = _inside(mean)
    odds = mean / (1.0 - mean) * np.exp(tilts)
    return _inside(odds / (1.0 + odds))


def _gain(n: Numbers, s: Numbers, p: Numbers, q: Numbers) -> Numbers:
    found: Numbers = s * np.log(p / q) + (n - s) * np.log((1.0 - p) / (1.0 - q))
    return found


def _nearest(n_a: Numbers, s_a: Numbers, n_b: Numbers, s_b: Numbers, difference: float) -> Numbers:
    """Return the likeliest mean of b where that of a is larger by the difference.

    The likelihood is concave, so its slope has one zero.
    """
    if difference == 0.0:
        return _inside((s_a + s_b) / (n_a + n_b))
    low = np.full_like(s_a + s_b, max(0.0, -difference))
    high = np.full_like(low, min(1.0, 1.0 - difference))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        mean_a, mean_b = _inside(middle + difference), _inside(middle)
        slope = _slope(n_a, s_a, mean_a) + _slope(n_b, s_b, mean_b)
        low, high = np.where(slope > 0, middle, low), np.where(slope > 0, high, middle)
    return _inside((low + high) / 2)


def _slope(n: Numbers, s: Numbers, mean: Numbers) -> Numbers:
    found: Numbers = s / mean - (n - s) / (1.0 - mean)
    return found
