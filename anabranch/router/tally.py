"""What a router counts of its arms and mirrors: sums that only grow, so that windows are differences.

A router sends its sums to the controller twice a second, whole; what is lost on the way is in the
next report, and the controller needs no memory of its own but the sums it has last seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self, TypeAlias

Bin: TypeAlias = int | str


@dataclass(slots=True)
class Histogram:
    """Durations in logarithmic bins, as in DDSketch: quantiles are within 2 % of the true ones."""

    counts: dict[int, int] = field(default_factory=dict)

    def add(self, seconds: float) -> None:
        """Count one duration."""
        raise NotImplementedError

    def quantile(self, share: float) -> float | None:
        """The duration, in seconds, below which ``share`` (0 to 1) of them lie; None without any."""
        raise NotImplementedError

    def plus(self, other: Self) -> Self:
        """Both together."""
        raise NotImplementedError

    def minus(self, earlier: Self) -> Self:
        """What was added since ``earlier``."""
        raise NotImplementedError


@dataclass(slots=True)
class Tally:
    """Requests that one arm has evaluated; those that the caller got wrong are left out."""

    requests: int = 0
    errors: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    """Errors by class, such as NodeError."""
    latency: Histogram = field(default_factory=Histogram)
    """Evaluation times, without the hop to an arm in another process."""
    outputs: dict[str, dict[Bin, int]] = field(default_factory=dict)
    """How often each bin of each output's values came, where the table asks for a sketch."""

    def plus(self, other: Self) -> Self:
        """Both together."""
        raise NotImplementedError

    def minus(self, earlier: Self) -> Self:
        """What came since ``earlier``."""
        raise NotImplementedError


@dataclass(slots=True)
class MirrorTally:
    """Copies to one mirror. ``selected`` is ``sent`` plus ``dropped``, at every moment."""

    selected: int = 0
    sent: int = 0
    dropped: int = 0
    """Over the bound on pending copies or bytes."""
    compared: int = 0
    """Copies that were answered; ``agreed`` and ``close`` are of these."""
    agreed: int = 0
    """Equal classes, or for outputs that have none, close."""
    close: int = 0
    """All elements equal, floats within the tolerance."""
    errors: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    pending: int = 0
    """Copies on their way now: the one field that may shrink."""
    latency: Histogram = field(default_factory=Histogram)
    """Evaluation times of the copies that were answered."""
    primary: Histogram = field(default_factory=Histogram)
    """Evaluation times of the same requests, as the client got them."""

    def plus(self, other: Self) -> Self:
        """Both together."""
        raise NotImplementedError

    def minus(self, earlier: Self) -> Self:
        """What came since ``earlier``; ``pending`` is as now."""
        raise NotImplementedError


@dataclass(slots=True)
class Report:
    """All sums of one router, or of several together, by revision."""

    arms: dict[int, Tally] = field(default_factory=dict)
    mirrors: dict[int, MirrorTally] = field(default_factory=dict)

    def plus(self, other: Self) -> Self:
        """Both together."""
        raise NotImplementedError

    def minus(self, earlier: Self) -> Self:
        """What came since ``earlier``."""
        raise NotImplementedError

    def arm(self, revision: int) -> Tally:
        """The tally of an arm, empty if there is none."""
        raise NotImplementedError

    def mirror(self, revision: int) -> MirrorTally:
        """The tally of a mirror, empty if there is none."""
        raise NotImplementedError


def merged(reports: Mapping[str, Report]) -> Report:
    """The sum of several routers' reports."""
    raise NotImplementedError
