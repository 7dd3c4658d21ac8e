"""The pulse of a process: beats of its event loop, where another process can see them.

A beat does not come while anything holds the event loop or Python's lock, not even code in C. Work
in threads beats too when it is done: where several threads take Python's lock for long by turns,
the event loop may wait for seconds although all goes on. In an engine the pulse lies in a file that
is mapped into memory, so that a beat and a call cost no call of the system, and a process that can
do nothing any more has told already what it did last.
"""

from __future__ import annotations

import struct
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

T = TypeVar("T")

_HEAD = struct.Struct("<QIfQ")
"""Beats so far, 0 while none are due; the number of the last call; the patience; the memory."""
_NAMES, _SLOTS = 208, 400
SIZE = _NAMES * _SLOTS
"""Bytes of a pulse: the names of each number, and in the place of the first, the head."""
_OWN = 1
"""The number of the process's own names; 0 stands for no component."""


class Pulse:
    """Beats, and the component that was called last, by its number."""

    __slots__ = ("_beats", "_bytes", "_count", "_free", "_loads", "_lock", "_memory", "called")

    def __init__(self) -> None:
        self.called: memoryview
        """Its one item is the number of the component that was called last."""
        self._count = self._loads = 0
        self._free = list(range(_SLOTS - 1, _OWN, -1))
        self._lock = threading.Lock()
        self._lie_in(memoryview(bytearray(SIZE)))

    def share(self, memory: memoryview, graph: str, revision: str, patience: float) -> None:
        """Lie in this memory of ``SIZE`` zeros from now on; see ``Reading`` for the others."""
        memory[:] = self._memory
        self._lie_in(memory)
        _HEAD.pack_into(memory, 0, 0, self.called[0], patience, self._bytes[0])
        self._write(_OWN, graph, revision)

    def limit(self, size: int) -> None:
        """Tell how many bytes of memory this process may take; 0 leaves that to the engine."""
        self._bytes[0] = size

    def beat(self) -> None:
        """Tell that the process goes on; to be called by the event loop again and again."""
        with self._lock:
            self._count += 1
            if not self._loads:
                self._beats[0] = self._count

    def rest(self) -> None:
        """Expect no beat any more."""
        with self._lock:
            self._loads += 1
            self._beats[0] = 0

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Expect no beat meanwhile: what is loaded may hold Python's lock for long."""
        self.rest()
        try:
            yield
        finally:
            with self._lock:
                self._loads -= 1
            self.beat()

    def beaten(self, work: Callable[[], T]) -> T:
        """Do some work in a thread, and beat."""
        try:
            return work()
        finally:
            self.beat()

    def number(self, caller: object, graph: str, revision: str, node: str) -> int:
        """Return the number of a component for as long as its caller lives.

        It is 0, which names none, where hundreds of others have one. ``graph`` and ``revision`` are
        empty where the process has but one.
        """
        with self._lock:
            number = self._free.pop() if self._free else 0
            if number:
                self._write(number, graph, revision, node)
                weakref.finalize(caller, self._free.append, number)
            return number

    def _lie_in(self, memory: memoryview) -> None:
        self._memory = memory
        self._beats = memory[:8].cast("Q")
        self.called = memory[8:12].cast("I")
        self._bytes = memory[16:24].cast("Q")

    def _write(self, number: int, *names: str) -> None:
        text = "\n".join(names).encode()[:_NAMES]
        self._memory[number * _NAMES : (number + 1) * _NAMES] = text.ljust(_NAMES, b"\0")


class Reading(NamedTuple):
    """A pulse as another process reads it.

    ``node`` is the component that was called last, of ``graph`` and ``revision``; each may be
    empty. ``patience``: seconds without a beat after which the process is taken for dead.
    ``memory``: most bytes of memory, 0 for those that the engine allows.
    """

    beats: int
    patience: float
    graph: str
    revision: str
    node: str
    memory: int = 0

    @classmethod
    def of(cls, memory: bytes) -> Reading:
        """Read a pulse; ValueError if this is none."""
        if len(memory) < SIZE:
            raise ValueError(f"a pulse of {len(memory)} bytes")
        beats, called, patience, size = _HEAD.unpack_from(memory)
        graph, revision = _names(memory, _OWN)[:2]
        if not called:
            return cls(beats, patience, graph, revision, "", size)
        own = _names(memory, called)
        return cls(beats, patience, own[0] or graph, own[1] or revision, own[2], size)


def beats_in(head: bytes) -> int:
    """Return the beats in the first eight bytes of a pulse."""
    return int.from_bytes(head, "little")


def _names(memory: bytes, number: int) -> list[str]:
    text = memory[number * _NAMES : (number + 1) * _NAMES].rstrip(b"\0").decode(errors="replace")
    return [*text.split("\n"), "", "", ""]


PULSE = Pulse()
"""The pulse of this process."""
