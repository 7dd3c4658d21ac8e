"""Streams between processes: what a replica yields, pulled through a Serve handle.

Serve takes all that a replica yields as fast as it comes and queues it without bound. So the
replica itself waits until what it gave before has left: that is when Serve lets go of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

from anabranch.serve.calls.attempts import Handle
from anabranch.serve.calls.failures import translated

AHEAD = 4
"""Results that may wait in a replica to be sent; more than one, for Serve keeps the last."""


class Piece:
    """One result on its way, which tells when Serve has let go of it."""

    __slots__ = ("_gone", "value")

    def __init__(self, value: Any, gone: Callable[[], None] | None = None) -> None:
        self.value = value
        self._gone = gone

    def __reduce__(self) -> tuple[type[Piece], tuple[Any]]:
        return (Piece, (self.value,))

    def __del__(self) -> None:
        if self._gone is not None:
            self._gone()


async def pieces(values: AsyncGenerator[Any, None]) -> AsyncGenerator[Piece, None]:
    """For a replica's method: ``values``, at most AHEAD of them further than what was sent."""
    room = asyncio.Semaphore(AHEAD)
    gone = partial(_give_back, asyncio.get_running_loop(), room)
    async with aclosing(values):
        async for value in values:
            await room.acquire()
            piece = Piece(value, gone)
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
