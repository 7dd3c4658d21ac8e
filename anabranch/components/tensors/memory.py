"""Memory that a tensor takes."""

from __future__ import annotations

from anabranch.components.tensors.arrays import Array

TEXT = 56
"""Bytes of a Python string beside its characters, about."""
_SAMPLED = 1024


def size_of(array: Array) -> int:
    """Bytes that a tensor holds; for BYTES with many elements an estimate, from some of them."""
    if array.dtype != object or not array.size:
        return array.nbytes
    # Every so many-th, an odd number of them: patterns mostly have an even period.
    sample = array.flat[:: array.size // _SAMPLED | 1]
    texts = sum(len(item) if isinstance(item, str | bytes) else 0 for item in sample)
    return array.nbytes + array.size * (TEXT + texts // len(sample))
