"""Batches of fixed sizes: filled up to the next one, and the answer cut back."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

from anabranch.components.runtimes.torch.devices import Call
from anabranch.components.runtimes.torch.outputs import each


def fitting(sizes: Sequence[int], rows: int) -> int | None:
    """Return the smallest of the ascending ``sizes`` that holds so many rows; None for none."""
    at = bisect_left(sizes, rows)
    return sizes[at] if rows > 0 and at < len(sizes) else None


def padded(tensor: Any, size: int) -> Any:
    """Return the tensor with rows of zeros behind its own, ``size`` rows in all."""
    rows = tensor.shape[0]
    if rows == size:
        return tensor
    filled = tensor.new_zeros((size, *tensor.shape[1:]))
    filled[:rows] = tensor
    return filled


def by_size(calls: Mapping[int, Call], otherwise: Call) -> Call:
    """Return a call that sends a batch to the one that is made for the next larger size.

    ``otherwise`` takes what fits none: too many rows, none at all, and inputs that differ in them.
    """
    sizes = sorted(calls)

    def call(tensors: list[Any]) -> Any:
        rows, *others = {tensor.shape[0] for tensor in tensors}
        size = None if others else fitting(sizes, rows)
        if size is None:
            return otherwise(tensors)
        outputs = calls[size]([padded(tensor, size) for tensor in tensors])
        return each(lambda value: value[:rows], outputs)

    return call
