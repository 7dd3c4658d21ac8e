"""Streams between processes: what a replica yields, pulled through a Serve handle.

Serve takes all that a replica yields as fast as it comes and queues it without bound. So the
replica itself waits until what it gave before has left: that is when Serve lets go of it.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from anabranch.graph.lowering.failures import translated
from anabranch.graph.lowering.hosting import Handle

AHEAD = 4
"""Results that may wait in a replica to be sent; more than one, for Serve keeps the last."""


class Piece:
    """One result on its way, an object of its own so that its end can be seen."""

    __slots__ = ("__weakref__", "value")

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce__(self) -> tuple[type[Piece], tuple[Any]]:
        return (Piece, (self.value,))


async def pieces(values: AsyncGenerator[Any, None]) -> AsyncGenerator[Piece, None]:
    """For a replica's method: ``values``, at most AHEAD of them further than what was sent."""
    loop, room = asyncio.get_running_loop(), asyncio.Semaphore(AHEAD)
    async with aclosing(values):
        async for value in values:
            await room.acquire()
            piece = Piece(value)
            weakref.finalize(piece, _give_back, loop, room).atexit = False
            yield piece
            del piece


def _give_back(loop: asyncio.AbstractEventLoop, room: asyncio.Semaphore) -> None:
    """Called in whichever thread let go of a piece, at whatever time."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(room.release)


async def ask_stream(name: str, method: Handle, *args: Any) -> AsyncGenerator[Any, None]:
    """Call a method of a replica that gives ``pieces``; closing this cancels it there.

    ``method`` is that of a handle with ``stream=True``. Errors of Ray become ours, in which the
    callee goes by ``name``.
    """
    with translated(name):
        response = method.remote(*args)
        try:
            async for piece in response:
                yield piece.value
        except (asyncio.CancelledError, GeneratorExit):
            response.cancel()
            raise
