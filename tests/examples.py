"""How many examples property tests take: a quarter by day or fewer, all at night.

``tests/project/test_all_examples.py`` runs them with all.
"""

from __future__ import annotations

import os

ALL = "ANABRANCH_ALL_EXAMPLES"
"""Variable that asks for all examples."""
FEWEST = 8


def examples(most: int, by_day: int | None = None) -> int:
    """Return how many of at most ``most`` examples are to be taken now.

    ``by_day`` is for tests whose examples take a tenth of a second and more each.
    """
    return most if os.environ.get(ALL) else by_day or max(most // 4, min(most, FEWEST))
