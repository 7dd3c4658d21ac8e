"""A model's outputs: one value, or a dict of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def each(function: Callable[[Any], Any], outputs: Any) -> Any:
    """Return the outputs with ``function`` applied to each."""
    if isinstance(outputs, dict):
        return {name: function(value) for name, value in outputs.items()}
    return function(outputs)
