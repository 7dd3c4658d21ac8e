"""New lines of logs of which only the latest lines can be asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def new_lines(seen: Sequence[str], now: Sequence[str]) -> list[str]:
    """Lines of ``now`` that ``seen`` did not hold, in order; both are the latest of several logs.

    The logs grow independently, so a line counts by how often it stands there: where it stands
    more often than before, its last occurrences are the new ones.
    """
    fresh = Counter(now) - Counter(seen)
    found: list[str] = []
    for line in reversed(now):
        if fresh[line] > 0:
            fresh[line] -= 1
            found.append(line)
    return found[::-1]
