"""One end of a connection: frames in and out, with back-pressure; the base of both ends."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

from anabranch.router.between_nodes import probe
from anabranch.serve.streams.at_once import rest, write_at_once
from anabranch.serve.streams.frames import SMALL, Buffer, FrameReader, MalformedFrame
from anabranch.serve.streams.greeting import MAX_GREETING

Taker: TypeAlias = Callable[[int, memoryview, memoryview], None]
"""Takes a frame of one kind: number of the call, header, and the bytes of arrays."""

HIGH_WATER = 2**20
"""Bytes that may wait to be sent before calls and pieces wait for them."""
TOGETHER = 8
"""Chunks that leave together; with more, the peer would wait for what it could work on."""
SEND_BUFFER = 4 * 2**20
"""Bytes that a Unix socket takes at once, as far as the system allows."""

logger = logging.getLogger("anabranch.streams")


class FrameChannel(asyncio.BufferedProtocol):
    """One end of a connection, for uvloop.

    Frames that are sent in one turn of the event loop leave a few at a time; that of a lone call,
    and those with large arrays, at once: what the system does not take then is copied. ``takers``
    are what is called with each frame; a kind that has none is malformed and ends the connection.
    ``patience``: see ``probed``.
    """

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader(self._take, MAX_GREETING)
        self._takers: Mapping[int, Taker] = {}
        self._calls: dict[int, Any] = {}
        """What is under way, by the number of its call."""
        self._transport: asyncio.Transport | None = None
        self._waiting: list[Buffer] = []
        self._waiting_size = 0
        self._is_reading = self._is_due = False
        self._is_plain = True
        self._writable = asyncio.Event()
        self._writable.set()

    @property
    def closed(self) -> bool:
        """Whether the connection is lost, or ends."""
        return self._transport is None or self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        self._is_plain = transport.get_extra_info("ssl_object") is None
        _tune(transport.get_extra_info("socket"), self._patience)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone for good."""
        self._transport = None
        self._waiting.clear()
        self._writable.set()

    def get_buffer(self, _sizehint: int) -> Any:
        """Return where the next bytes go."""
        return self._reader.room()

    def buffer_updated(self, nbytes: int) -> None:
        """Take the bytes that arrived."""
        self._is_reading = True
        try:
            self._reader.wrote(nbytes)
        except MalformedFrame as error:
            self._malformed(error)
        finally:
            self._is_reading = False
        self._flush()

    def pause_writing(self) -> None:
        """The peer is slower than this end."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self._writable.set()

    async def writable(self) -> None:
        """Wait until the peer has caught up, or is gone."""
        while not self._writable.is_set():
            await self._writable.wait()

    def send(self, chunks: list[Buffer]) -> None:
        """Send a frame soon; nothing where the connection is gone.

        The memory of its chunks may change afterwards.
        """
        self._waiting += chunks
        self._waiting_size += sum(map(len, chunks))
        if len(self._waiting) >= TOGETHER or self._waiting_size >= SMALL:
            self._flush()
        elif self._is_due or self._is_reading:
            return
        elif len(self._calls) <= 1:
            self._flush()
        else:
            self._is_due = True
            self._loop.call_soon(self._flush_at_end)

    def _flush_at_end(self) -> None:
        self._is_due = False
        self._flush()

    def _flush(self) -> None:
        waiting = self._waiting
        if not waiting:
            return
        size, self._waiting, self._waiting_size = self._waiting_size, [], 0
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if size >= SMALL:
            self._flush_large(transport, waiting)
        elif len(waiting) == 1:
            transport.write(waiting[0])
        else:
            transport.writelines(waiting)

    def _flush_large(self, transport: asyncio.Transport, chunks: list[Buffer]) -> None:
        """Write what the system takes, unless other bytes wait for it; copy the rest.

        What is to be encrypted is copied.
        """
        if transport.get_write_buffer_size() or not self._is_plain:
            left = rest(chunks, 0)
        else:
            left = write_at_once(transport.get_extra_info("socket").fileno(), chunks)
        if left:
            transport.write(left)

    def end(self) -> None:
        """Close the connection once all is sent."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection now."""
        self._waiting.clear()
        if self._transport is not None:
            self._transport.abort()

    def _take(self, kind: int, call: int, header: memoryview, rest: memoryview) -> None:
        taker = self._takers.get(kind)
        if taker is None:
            raise MalformedFrame(f"a frame of kind {kind} came where none may")
        taker(call, header, rest)

    def _malformed(self, error: MalformedFrame) -> None:
        logger.warning("a connection ends: %s", error)
        self.abort()


def _tune(connection: socket.socket, patience: int) -> None:
    """Have a machine that is gone noticed, and small frames sent at once (RFC 9293, 3.7.4)."""
    if connection.family == socket.AF_UNIX:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    else:
        probe(connection, patience)
