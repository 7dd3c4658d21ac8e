"""Symbols in the shapes of inputs: sizes that must be equal within a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from anabranch.errors import InvalidRequest
from anabranch.specs.models import InputSpec

Array: TypeAlias = np.ndarray[Any, Any]
Place: TypeAlias = tuple[str, int]
"""Name of an input, and the number of one of its dimensions."""
Symbols: TypeAlias = Mapping[str, tuple[Place, ...]]
"""The places of each symbol."""


def symbols_of(inputs: Mapping[str, InputSpec]) -> Symbols:
    """Return the symbols that stand in several places; one in a single place binds nothing."""
    places: dict[str, tuple[Place, ...]] = {}
    for name, spec in inputs.items():
        for axis, size in enumerate(spec.shape):
            if isinstance(size, str):
                places[size] = (*places.get(size, ()), (name, axis))
    return {symbol: found for symbol, found in places.items() if len(found) > 1}


def check_symbols(symbols: Symbols, inputs: Mapping[str, Array]) -> None:
    """Raise InvalidRequest where a symbol has two sizes; the inputs have their declared ranks."""
    for symbol, places in symbols.items():
        there = [place for place in places if place[0] in inputs]
        if not there:
            continue
        first, *others = there
        size = inputs[first[0]].shape[first[1]]
        for other in others:
            if inputs[other[0]].shape[other[1]] != size:
                raise InvalidRequest(_unequal(symbol, first, other, inputs))


def _unequal(symbol: str, first: Place, other: Place, inputs: Mapping[str, Array]) -> str:
    sizes = ", ".join(
        f"dimension {axis} of {name!r} has size {inputs[name].shape[axis]}"
        for name, axis in (first, other)
    )
    return f"the size {symbol!r} must be the same in a request, but {sizes}"
