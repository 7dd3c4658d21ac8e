"""Memory for the body of a request, which comes in pieces."""

from __future__ import annotations

import numpy as np

from anabranch.router.inference.contract import Array

HUGE = 2 * 2**20
"""Bytes of a huge page, as most processors have them."""
_PAGE = 4096
"""Bytes of the smallest page: to write to one of them takes the whole page from the system."""


class BodyMemory:
    """A body that grows, to ``most`` bytes; of these, only what has come is taken from the system.

    A large one lies in huge pages, of which NumPy makes its large arrays where the system has them.
    To free 60 MiB of small ones takes 5 ms of Python's lock, of huge ones 0.3 ms. But each takes
    0.2 ms when it is first written to, and 5 ms in a virtual machine that has to get it from its
    host. So that is done by ``grow``, without Python's lock. Where the system does not promise
    memory that it may not have (``vm.overcommit_memory`` is 2), what is reserved grows, too.
    """

    __slots__ = ("_array", "_room", "_small", "most", "size")

    def __init__(self, most: int) -> None:
        self.most = most
        self._small = bytearray()
        self._array: Array | None = None
        """The body once it is large."""
        self._room = HUGE
        self.size = 0
        """Bytes that have come."""

    def has_room(self, size: int) -> bool:
        """Return whether ``add`` takes so many bytes more at once."""
        return self.size + size <= self._room

    def grow(self) -> None:
        """Take memory for some more, which may take milliseconds."""
        array, end = self._array, self._room + HUGE
        if array is None or min(end, self.most) > len(array):
            array = _reserved(self.most, 2 * end)
            array[: self.size] = self._small if self._array is None else self._array[: self.size]
            self._array, self._small = array, bytearray()
        array[self._room : end : _PAGE] = 0
        self._room = end

    def add(self, piece: bytes) -> None:
        """Add a piece; ValueError if it is over ``most`` bytes."""
        while not self.has_room(len(piece)):
            self.grow()
        start, self.size = self.size, self.size + len(piece)
        if self._array is None:
            self._small += piece
        else:
            self._array.data[start : self.size] = piece

    @property
    def whole(self) -> bytearray | memoryview:
        """What has come, in memory that can be written to."""
        return self._small if self._array is None else self._array.data[: self.size]


def _reserved(most: int, less: int) -> Array:
    try:
        return np.empty(most, np.uint8)
    except MemoryError:  # the system promises no more than it has
        return np.empty(min(most, less), np.uint8)
