"""When each watched reference is looked at, and what was found: once for all graphs that watch it.

Times are on a clock that only grows, in seconds, but for those of day that people are shown.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

LONGEST_PAUSE_S = 60.0
"""Longest time between two tries of a place that does not answer, unless a watch waits longer."""


@dataclass
class ReferenceLooks:
    """The looks at one reference."""

    every: float
    due: float
    """When the next look is to begin."""
    found: str = ""
    """The pin of what the reference meant at the last look that succeeded."""
    began: float = float("-inf")
    """When that look began."""
    at: float | None = None
    """When that look ended, as a Unix time; None before the first."""
    failures: int = 0
    """WatchLooks in a row that failed."""


class WatchLooks:
    """The looks at all references; for one thread."""

    def __init__(self, chance: random.Random | None = None) -> None:
        self._chance = chance or random.Random()
        self._looks: dict[str, ReferenceLooks] = {}

    def keep(self, wanted: Mapping[str, float], now: float) -> None:
        """Look at these references from now on, each as often as its time in seconds says."""
        self._looks = {
            one: self._looks.get(one, ReferenceLooks(every, now)) for one, every in wanted.items()
        }
        for one, every in wanted.items():
            look = self._looks[one]
            look.due = min(look.due, now + max(every, LONGEST_PAUSE_S))
            if look.every != every:
                look.every, look.due = every, min(look.due, now + every)

    def due(self, now: float) -> list[str]:
        """Return the references that are to be looked at, those that wait longest first."""
        due = [one for one, look in self._looks.items() if look.due <= now]
        return sorted(due, key=lambda one: self._looks[one].due)

    def next_due(self, but: Iterable[str] = ()) -> float | None:
        """Return when the next look is due, at another reference than these; None without any."""
        left_out = set(but)
        return min((x.due for one, x in self._looks.items() if one not in left_out), default=None)

    def succeeded(self, reference: str, pin: str, began: float, now: float, at: float) -> None:
        """Note what a look has found that began at ``began``, and that it is Unix time ``at``."""
        look = self._looks.get(reference)
        if look is not None:
            look.found, look.began, look.at, look.failures = pin, began, at, 0
            look.due = began + look.every if began + look.every > now else now

    def failed(self, reference: str, now: float) -> None:
        """Note a look that failed; the next one comes later each time."""
        look = self._looks.get(reference)
        if look is not None:
            longest = max(look.every, LONGEST_PAUSE_S)
            pause = min(look.every * 2.0**look.failures, longest)
            look.due = now + pause * self._chance.uniform(0.5, 1.0)
            look.failures = min(look.failures + 1, 20)

    def found(self, references: Iterable[str], since: float) -> dict[str, str]:
        """Return what references mean by looks that began later than ``since``."""
        return {
            one: look.found
            for one in references
            if (look := self._looks.get(one)) is not None and look.began > since
        }

    def of(self, reference: str) -> ReferenceLooks | None:
        """Return the looks at a reference; None if it is not watched."""
        return self._looks.get(reference)
