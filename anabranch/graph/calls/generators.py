"""Asynchronous generators that pass results on: compiled modules use these, and can have none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager, aclosing
from typing import Any, TypeVar

S = TypeVar("S")
T = TypeVar("T")
_END: Any = object()
"""In place of a result, once there are no more."""


async def once(work: Callable[[], Awaitable[T]]) -> AsyncGenerator[T, None]:
    """Yield the one result of ``work``."""
    yield await work()


async def each(
    begin: Callable[[], AsyncGenerator[S, None]], shape: Callable[[S], T]
) -> AsyncGenerator[T, None]:
    """Yield what ``shape`` makes of each result of a stream, begun when the first is asked for.

    Closing the iterator closes the stream.
    """
    async with aclosing(begin()) as results:
        async for result in results:
            yield shape(result)


async def within(
    held: AbstractContextManager[Any], results: AsyncGenerator[T, None]
) -> AsyncGenerator[T, None]:
    """Yield the results of a stream in a context, entered when the first is asked for.

    The context sees how the stream ends: by an exception, by GeneratorExit where the iterator is
    closed before, which closes the stream, or by none of them.
    """
    with held:
        async with aclosing(results):
            async for result in results:
                yield result


async def in_time(
    results: AsyncGenerator[T, None], deadline: float, late: Callable[[], Exception]
) -> AsyncGenerator[T, None]:
    """Yield the results of a stream until the deadline, on the clock of ``time.monotonic``.

    Raises what ``late`` makes where the stream has not ended by then.
    """
    async with aclosing(results):
        while (found := await _next(results, deadline, late)) is not _END:
            yield found


async def _next(
    results: AsyncGenerator[T, None], deadline: float, late: Callable[[], Exception]
) -> T:
    left = deadline - time.monotonic()
    if left <= 0:
        raise late()
    try:
        async with asyncio.timeout(left) as limit:
            return await anext(results, _END)
    except TimeoutError:
        if not limit.expired():
            raise
        raise late() from None
