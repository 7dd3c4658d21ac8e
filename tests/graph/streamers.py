"""Components that stream. Each notes what becomes of it in the request's ``log``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import numpy as np

from anabranch.components.contract import Context

Array = np.ndarray[Any, Any]


class Count:
    """Yields its input plus 0, 1, 2, …"""

    def __init__(self, upto: int = 3) -> None:
        self.upto = upto

    async def predict(self, x: Array, context: Context) -> AsyncGenerator[Array, None]:
        log = context.parameters["log"]
        try:
            for index in range(self.upto):
                log.append(index)
                yield x + index
        finally:
            log.append("closed")


class Joined(Count):
    """Yields the same, and can add the results up; those of an input below 0 it cannot."""

    def join(self, results: list[Array]) -> Array:
        if results[0][0] < 0:
            raise ValueError("cannot join")
        return np.sum(results, axis=0)


class Two(Count):
    """Yields two outputs a time."""

    async def predict(self, x: Array, context: Context) -> AsyncGenerator[Any, None]:
        async for value in Count.predict(self, x, context):
            yield {"plus": value, "minus": -value}


class Wait:
    """Yields once, and then says that it hangs, and does."""

    async def predict(self, x: Array, context: Context) -> AsyncGenerator[Array, None]:
        try:
            yield x
            context.parameters["hangs"].set()
            await asyncio.Event().wait()
        finally:
            context.parameters["log"].append("closed")


class JoinedWait(Wait):
    """Hangs, too, before anything could be joined."""

    def join(self, results: list[Array]) -> Array:
        return results[0]


class Break:
    """Yields once and then raises."""

    async def predict(self, x: Array) -> AsyncGenerator[Array, None]:
        yield x
        raise RuntimeError("no more")


class Leave:
    """Yields once and then cancels itself."""

    async def predict(self, x: Array) -> AsyncGenerator[Array, None]:
        yield x
        raise asyncio.CancelledError


class Wrong:
    """Yields something that is no array."""

    async def predict(self, x: Array) -> AsyncGenerator[Any, None]:
        yield x
        yield None


class Once:
    """Does not stream."""

    def predict(self, x: Array, context: Context) -> Array:
        context.parameters["log"].append("once")
        return x * 10


class Pick:
    """Picks the route that the request's parameter names."""

    def route(self, context: Context) -> str:
        context.parameters["log"].append("pick")
        return str(context.parameters["to"])
