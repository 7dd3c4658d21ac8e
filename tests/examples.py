"""How many examples property tests take: a quarter by day, all at night.

``tests/project/test_all_examples.py`` runs them with all.
"""

from __future__ import annotations

import os

ALL = "ANABRANCH_ALL_EXAMPLES"
"""Variable that asks for all examples."""
FEWEST = 8


def examples(most: int) -> int:
    """Return how many of at most ``most`` examples are to be taken now."""
    return most if os.environ.get(ALL) else max(most // 4, min(most, FEWEST))
