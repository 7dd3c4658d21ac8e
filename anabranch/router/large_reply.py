"""Large replies go no faster than their clients take them, so that few of their bytes wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from functools import partial
from typing import Any, TypeAlias

from anabranch.graph.calls.stepping import in_task
from anabranch.router.errors import ClientGone, Headers, ReplyBody
from anabranch.router.limits import LARGE, HeldBytes

Message: TypeAlias = MutableMapping[str, Any]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

STALLED_S = 30.0
"""Longest time that a client may take nothing of a stream or of a large reply, in seconds."""
RATE = 64 * 2**10
"""Slowest that a client may take a large reply after that time, in bytes a second."""
_PIECE = 256 * 2**10
"""Bytes that are handed to the connection at a time."""


def seconds_for(size: int) -> float:
    """Return the time that a client may take for a large reply, in seconds."""
    return STALLED_S + size / RATE


def pieces_of(body: ReplyBody) -> Iterator[ReplyBody]:
    """Yield a large body in pieces, which share its memory."""
    whole = body if len(body) <= _PIECE else memoryview(body)
    for at in range(0, len(whole), _PIECE):
        yield whole[at : at + _PIECE]


async def send_piece(send: Send, body: ReplyBody) -> None:
    """Send a part of a body; a client that takes nothing for so long is gone.

    A large one goes in pieces, so that this returns once nearly all of it was taken.
    """
    try:
        for piece in pieces_of(body):
            async with asyncio.timeout(STALLED_S):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
    except TimeoutError:
        raise ClientGone from None


async def send_large(send: Send, status: int, headers: Headers, body: ReplyBody) -> None:
    """Send a whole reply in pieces. ClientGone where the client is too slow."""
    await in_task()
    try:
        async with asyncio.timeout(seconds_for(len(body))):
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send_piece(send, body)
            await send({"type": "http.response.body", "body": b""})
    except TimeoutError:
        raise ClientGone from None


async def write_held(
    write: Callable[[bytes], Awaitable[None]], message: bytes, held: HeldBytes
) -> None:
    """Write a message of gRPC, and release what it holds. ClientGone where the client is too slow.

    gRPC keeps a message that was not taken for as long as its client is there, so that counts, too.
    """
    try:
        async with asyncio.timeout(seconds_for(len(message))):
            if len(message) > LARGE:
                await _writing(write, message, held)
            else:
                with held:
                    await write(message)
    except TimeoutError:
        raise ClientGone from None


def _writing(
    write: Callable[[bytes], Awaitable[None]], message: bytes, held: HeldBytes
) -> asyncio.Future[None]:
    writing = asyncio.ensure_future(write(message))
    writing.add_done_callback(partial(_written, held))
    return asyncio.shield(writing)


def _written(held: HeldBytes, writing: asyncio.Future[None]) -> None:
    held.release()
    if not writing.cancelled():
        writing.exception()  # whoever still waits for it is told
