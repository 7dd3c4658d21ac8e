"""Components that raise what they are told to, wherever they are told to."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import AsyncGenerator
from typing import Any

import numpy as np

from anabranch.components.contract import Context

Array = np.ndarray[Any, Any]


class Unspeakable(BaseException):
    """An error that cannot be put into words."""

    def __str__(self) -> str:
        raise KeyboardInterrupt


ERRORS: dict[str, type[BaseException]] = {
    kind.__name__: kind
    for kind in (
        KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit, StopIteration,
        StopAsyncIteration, BaseException, Unspeakable, ValueError,
    )
} | {"FutureCancelled": concurrent.futures.CancelledError}  # fmt: skip


def raise_it(kind: str) -> None:
    """Raise the error of that name, unless it is empty."""
    if kind:
        raise ERRORS[kind]()


class OnLoop:
    """Fast; negative numbers make it raise."""

    def __init__(self, kind: str, where: str = "call") -> None:
        self.kind, self.where = kind, where
        self.at("constructor")

    def at(self, where: str) -> None:
        raise_it(self.kind if where == self.where else "")

    def load(self) -> None:
        self.at("load")

    def warmup(self) -> None:
        self.at("warmup")

    def unload(self) -> None:
        self.at("unload")

    def check_health(self) -> None:
        self.at("check_health")

    def answered(self, x: Array) -> Array:
        if (x < 0).any():
            self.at("call")
        return x * 2

    def transform(self, x: Array) -> Array:
        return self.answered(x)

    predict = transform

    def combine(self, values: list[Array]) -> Array:
        return self.answered(values[0])

    def route(self, x: Array) -> str:
        self.answered(x)
        return "same"


class InThread(OnLoop):
    """Too slow for the event loop."""

    def answered(self, x: Array) -> Array:
        time.sleep(0.001)
        return super().answered(x)


class AsCoroutine(OnLoop):
    """The same as coroutines, which wait before they raise."""

    async def load(self) -> None:
        await asyncio.sleep(0)
        self.at("load")

    async def warmup(self) -> None:
        await asyncio.sleep(0)
        self.at("warmup")

    async def unload(self) -> None:
        await asyncio.sleep(0)
        self.at("unload")

    async def check_health(self) -> None:
        await asyncio.sleep(0)
        self.at("check_health")

    async def transform(self, x: Array) -> Array:
        await asyncio.sleep(0)
        return self.answered(x)

    predict = transform

    async def combine(self, values: list[Array]) -> Array:
        await asyncio.sleep(0)
        return self.answered(values[0])

    async def route(self, x: Array) -> str:
        await asyncio.sleep(0)
        self.answered(x)
        return "same"


class Streaming(OnLoop):
    """Yields twice; raises before, between, after, or when it is closed."""

    async def predict(self, x: Array) -> AsyncGenerator[Array, None]:
        try:
            self.at("first")
            yield x
            self.at("second")
            yield x * 2
            self.at("end")
        finally:
            self.at("close")


class OwnArray(OnLoop):
    """Returns what raises once it is to become an array."""

    class Value:
        def __init__(self, kind: str) -> None:
            self.kind = kind

        def __array__(self, *args: Any, **named: Any) -> Array:
            raise_it(self.kind)
            raise AssertionError("it was told to raise nothing")

    def transform(self, x: Array) -> Any:
        return self.Value(self.kind) if (x < 0).any() else x

    predict = transform


class OwnArrayInThread(OwnArray):
    """The same, too slow for the event loop."""

    def transform(self, x: Array) -> Any:
        time.sleep(0.001)
        return super().transform(x)


class CancelsItsTask:
    """Cancels the task of its request, and then waits, returns or raises."""

    def __init__(self, then: str) -> None:
        self.then = then

    async def transform(self, x: Array) -> Array:
        if (x < 0).any():
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            if self.then == "waits":
                await asyncio.sleep(0)
            raise_it("" if self.then in ("waits", "returns") else self.then)
        return x


class HoldsTime:
    """Has a time of its own for what it waits for, as a client of some server has."""

    async def transform(self, x: Array) -> Array:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.sleep(3600)
        except TimeoutError:
            raise asyncio.CancelledError from None
        return x


class Explains:
    """An explainer that raises."""

    def __init__(self, kind: str, where: str) -> None:
        self.kind, self.where = kind, where

    def attach(self, model: Any) -> None:
        raise_it(self.kind if self.where == "attach" else "")

    def explain(self, x: Array) -> Any:
        raise_it(self.kind if self.where == "call" else "")
        return {"rows": len(x)}


class AsyncExplains(Explains):
    """The same, as a coroutine."""

    async def explain(self, x: Array) -> Any:
        return super().explain(x)


class Scores:
    """A monitor that raises."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def score(self, **tensors: Array) -> float:
        raise_it(self.kind)
        return 0.0


class Waits:
    """Waits for ever, and notes how that ended."""

    async def transform(self, x: Array, context: Context) -> Array:
        context.parameters["begun"].set()
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            context.parameters.get("ended", []).append(type(error).__name__)
            raise
        return x
