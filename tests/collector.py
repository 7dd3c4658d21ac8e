"""Python's collector of circles of objects, in tests of objects that are freed without it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """Free nothing that is in a circle, from here on; all circles before have been."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
