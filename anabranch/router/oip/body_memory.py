"""Memory for the body of a request, which comes in pieces."""

from __future__ import annotations

import numpy as np

HUGE = 2 * 2**20
"""Bytes of a huge page, as most processors have them."""


class BodyMemory:
    """A body that grows, to ``most`` bytes; of these, only what has come is taken from the system.

    A large one lies in huge pages, of which NumPy makes its large arrays where the system has them.
    To free 60 MiB of small ones takes 5 ms of Python's lock, of huge ones 0.3 ms. Where the system
    does not promise memory that it may not have (``vm.overcommit_memory`` is 2), it grows.
    """

    __slots__ = ("_whole", "most", "size")

    def __init__(self, most: int) -> None:
        self.most = most
        self._whole: bytearray | memoryview = bytearray()
        self.size = 0
        """Bytes that have come."""

    def add(self, piece: bytes) -> None:
        """Add a piece, for which there is room."""
        start, self.size = self.size, self.size + len(piece)
        if isinstance(self._whole, bytearray) and self.size <= HUGE:
            self._whole += piece
            return
        if self.size > len(self._whole):
            larger = self._larger()
            larger[:start] = memoryview(self._whole)[:start]
            self._whole = larger
        self._whole[start : self.size] = piece

    def _larger(self) -> memoryview:
        try:
            return np.empty(self.most, np.uint8).data
        except MemoryError:  # the system promises no more than it has
            return np.empty(min(self.most, 2 * self.size), np.uint8).data

    @property
    def whole(self) -> bytearray | memoryview:
        """What has come, in memory that can be written to."""
        whole = self._whole
        return whole if isinstance(whole, bytearray) else whole[: self.size]
