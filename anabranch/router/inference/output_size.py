"""The bytes of a graph's outputs, and their limit: an answer over it is an error of the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from anabranch.router.errors import UnencodableOutput

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def check_outputs(outputs: Mapping[str, Array], names: Sequence[str], most: int) -> int:
    """Return how many bytes these outputs have together; UnencodableOutput if over ``most``.

    The error names the largest of them. The bytes are those in memory; a text counts as in UTF-8,
    and with eight bytes more.
    """
    total = 0
    for name in names:
        total += bytes_of(outputs[name])
    if total > most:
        raise UnencodableOutput(_over({name: outputs[name] for name in names}, total, most))
    return total


def _over(outputs: Mapping[str, Array], total: int, most: int) -> str:
    sizes = {name: bytes_of(array) for name, array in outputs.items()}
    largest = max(sizes, key=sizes.__getitem__)
    together = "" if len(sizes) == 1 else f", all outputs together {total}"
    return (
        f"output {largest!r} has {sizes[largest]} bytes{together}, over the limit of {most} bytes "
        "of an answer"
    )


def bytes_of(array: Array) -> int:
    """Return the bytes that an output counts."""
    if not array.dtype.hasobject:
        return array.nbytes
    return array.nbytes + sum(map(_text_bytes, array.ravel().tolist()))


def _text_bytes(element: object) -> int:
    """Return the bytes of a text; the encoder reports an element that is neither text nor bytes."""
    if isinstance(element, str):
        return len(element) if element.isascii() else len(element.encode("utf-8", "replace"))
    return len(element) if isinstance(element, bytes) else 0
