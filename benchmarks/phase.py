"""Turns of one kind at a load that does not wait for answers, so that kinds can be compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from benchmarks.client import percentile
from benchmarks.open_loop import OpenLoop
from benchmarks.running import NotMeasured

WARM_UP_S = 1.0
"""How much of the start of a turn does not count, in seconds."""


@dataclass
class Phase:
    """Turns of one kind; latencies in milliseconds."""

    medians: list[float] = field(default_factory=list)
    tails: list[float] = field(default_factory=list)
    """The 99th percentile of each turn."""
    failed: int = 0
    """Requests that were not answered, or not with 200."""

    def add(self, loop: OpenLoop) -> None:
        """Add a turn, without its first second. Raises NotMeasured if no answer is left."""
        start = min((answer.at for answer in loop.answers), default=0.0) + WARM_UP_S
        seconds = sorted(answer.seconds for answer in loop.answers if answer.at >= start)
        if not seconds:
            raise NotMeasured("no request was answered after the warm-up")
        self.medians.append(percentile(seconds, 0.5) * 1e3)
        self.tails.append(percentile(seconds, 0.99) * 1e3)
        self.failed += loop.broken + sum(answer.status != 200 for answer in loop.answers)

    @property
    def p50(self) -> float:
        """The median over all turns of their medians."""
        return median(self.medians)

    @property
    def p99(self) -> float:
        """The median over all turns of their 99th percentiles."""
        return median(self.tails)
