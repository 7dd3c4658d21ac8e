"""NumPy's global generator, lent to one explanation at a time.

Alibi and SHAP draw from it and take no other. Whoever draws holds the lock, so explanations in
threads do not disturb each other, and the state from before comes back afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import numpy as np

_LOCK = RLock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator with ``seed`` (0 to 2**32 - 1) for the time of the block."""
    with _LOCK:
        before = np.random.get_state()
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(before)
