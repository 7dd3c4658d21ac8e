"""Frames of a connection: how they are written, and how they are read out of a stream of bytes.

A frame is a prefix of 24 bytes, little-endian, and a body::

    u64  length of the body        u8   kind of the frame, then 3 bytes of 0
    u32  length of the header      u64  number of the call, chosen by the caller; 0 for none

The body opens with the header, which is msgpack. Where the call has arrays, their bytes follow,
each at a multiple of 64 from the body's start, with zeros between. A reader knows the length of all
that it will have to hold before it makes room for it.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import TypeAlias

import numpy as np

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Contiguous bytes."""
TakeFrame: TypeAlias = Callable[[int, int, memoryview, memoryview], None]
"""Takes a frame: kind, number of the call, header, and the bytes of arrays, which it may keep.

The header is only there while the frame is taken.
"""

ALIGNMENT = 64
"""Arrays begin at multiples of so many bytes: the length of a line of a processor's cache."""
SCRATCH = 64 * 2**10
"""Bytes that are read at a time; a frame that is larger gets memory of its own."""
SMALL = 16 * 2**10
"""Fewer bytes are copied to be sent with their neighbours; more are sent from where they are, or
copied where they cannot be sent at once."""
PREFIX = Struct("<QIB3xQ")

CHALLENGE, PROOF, WELCOME, CALL, STREAM, ANSWER, PIECE, END, ERROR, REFUSED = range(1, 11)
CANCEL, CREDIT, GOING_AWAY = range(11, 14)
"""The kinds of frames. ``greeting`` describes the first three, ``messages`` the others."""


class MalformedFrame(Exception):
    """The peer sent what is no frame, or none that may come now: its connection is of no use."""


def aligned(size: int) -> int:
    """Return the next multiple of ALIGNMENT."""
    return (size + ALIGNMENT - 1) & -ALIGNMENT


def room(size: int) -> memoryview:
    """Return memory that begins at a multiple of ALIGNMENT and was not written to."""
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].data


class Parts:
    """The bytes of the arrays of one frame, each with its place behind the header."""

    __slots__ = ("chunks", "size")

    def __init__(self) -> None:
        self.chunks: list[Buffer] = []
        """The bytes, and the zeros between."""
        self.size = 0

    def add(self, part: Buffer) -> int:
        """Add bytes, and return their place. They must not change until the frame has left."""
        if not part:
            return 0
        place = aligned(self.size)
        if place > self.size:
            self.chunks.append(bytes(place - self.size))
        self.chunks.append(part)
        self.size = place + len(part)
        return place


def frame_size(header: bytes, parts: Parts) -> int:
    """Return the length of a frame's body, in bytes."""
    return aligned(len(header)) + parts.size if parts.size else len(header)


def frame(kind: int, call: int, header: bytes = b"", parts: Parts | None = None) -> list[Buffer]:
    """Return a frame as few chunks of bytes; only those of SMALL or more share their memory."""
    if parts is None or not parts.size:
        return [PREFIX.pack(len(header), len(header), kind, call) + header]
    prefix = PREFIX.pack(frame_size(header, parts), len(header), kind, call)
    padding = aligned(len(header)) - len(header)
    if parts.size < SMALL:
        return [b"".join([prefix, header, bytes(padding), *parts.chunks])]
    chunks: list[Buffer] = []
    small: list[Buffer] = [prefix, header, bytes(padding)]
    for chunk in parts.chunks:
        if len(chunk) < SMALL:
            small.append(chunk)
            continue
        chunks += [b"".join(small), chunk]
        small = []
    if small:
        chunks.append(b"".join(small))
    return chunks


class FrameReader:
    """Finds the frames in a stream of bytes, however it is cut; for a ``BufferedProtocol``.

    ``most`` is the length of the longest body that is taken, in bytes. A frame of more than SCRATCH
    bytes is read into memory of its own; what arrived together with its prefix is copied there.
    """

    def __init__(self, take: TakeFrame, most: int) -> None:
        self.most = most
        self._take = take
        self._scratch = memoryview(bytearray(SCRATCH))
        self._start = self._end = 0
        """Between them are the bytes that were read and not taken."""
        self._large: memoryview | None = None
        """The body that is being read, where it has memory of its own; ``_filled`` is there."""
        self._filled = 0
        self._about: tuple[int, int, int, int] = (0, 0, 0, 0)

    def room(self) -> memoryview:
        """Where the next bytes are to be written; never empty."""
        if self._large is not None:
            return self._large[self._filled :]
        return self._scratch[self._end :]

    def wrote(self, size: int) -> None:
        """Take the frames that are complete now that so many bytes more are there.

        Raises MalformedFrame; nothing may be read after that.
        """
        if self._large is not None:
            self._filled += size
            if self._filled == len(self._large):
                body, self._large = self._large, None
                self._deliver(body, self._about, is_own=True)
            return
        self._end += size
        while self._end - self._start >= PREFIX.size and self._next():
            pass
        self._make_room()

    def _next(self) -> bool:
        """Take the frame at the start; False where it is not complete."""
        about = PREFIX.unpack_from(self._scratch, self._start)
        size = about[0]
        self._check(*about)
        body = self._start + PREFIX.size
        if size <= self._end - body:
            self._start = body + size
            self._deliver(self._scratch[body : body + size], about, is_own=False)
            return True
        if PREFIX.size + size > SCRATCH:
            self._move(about, self._scratch[body : self._end])
        return False

    def _check(self, size: int, header: int, kind: int, call: int) -> None:
        if size > self.most:
            raise MalformedFrame(f"a frame of {size} bytes is over the limit of {self.most}")
        if header > size or (header < size < aligned(header)):
            raise MalformedFrame(f"a frame of kind {kind} has {header} bytes of header in {size}")

    def _move(self, about: tuple[int, int, int, int], there: memoryview) -> None:
        self._large = room(about[0])
        self._filled, self._about = len(there), about
        self._large[: self._filled] = there
        self._start = self._end = 0

    def _make_room(self) -> None:
        start, end = self._start, self._end
        if start == end:
            self._start = self._end = 0
        elif start:
            self._scratch[: end - start] = bytes(self._scratch[start:end])
            self._start, self._end = 0, end - start

    def _deliver(self, body: memoryview, about: tuple[int, int, int, int], is_own: bool) -> None:
        _, header, kind, call = about
        rest = body[aligned(header) :]
        if rest and not is_own:
            rest = memoryview(bytearray(rest))
        self._take(kind, call, body[:header], rest)
