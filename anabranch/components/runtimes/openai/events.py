"""Reads server-sent events, each within a bound: HTML Living Standard, 9.2.6."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator

from anabranch.components.runtimes.open_inference.wire import BadAnswer

MAX_EVENT = 4 * 2**20
"""Longest event, in bytes."""


class EventStreamReader:
    """Takes pieces of a body, and gives the data of the events that have ended."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0
        self._after_return = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Give the data of each event that ends in a piece. Raises BadAnswer for one too long."""
        *lines, self._rest = self._lines(piece)
        if len(self._rest) + self._size > MAX_EVENT:
            raise BadAnswer(f"it sent an event of over {MAX_EVENT} bytes")
        for line in lines:
            if line:
                self._take(line)
            elif self._data:
                data, self._data, self._size = b"\n".join(self._data), [], 0
                yield data

    def _lines(self, piece: bytes) -> list[bytes]:
        """Return the lines up to here; the last one has not ended yet.

        A line ends with LF, CR, or CR LF, which may come in two pieces.
        """
        if self._after_return and piece.startswith(b"\n"):
            piece = piece[1:]
            self._after_return = False
        if piece:
            self._after_return = piece.endswith(b"\r")
        return (self._rest + piece).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")

    def _take(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        if field != b"data":
            return
        self._data.append(value.removeprefix(b" "))
        self._size += len(line)
        if self._size > MAX_EVENT:
            raise BadAnswer(f"it sent an event of over {MAX_EVENT} bytes")


async def events(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Give the data of each event of a body; one that has not ended with the body is left out."""
    reader = EventStreamReader()
    async for piece in pieces:
        for data in reader.feed(piece):
            yield data
