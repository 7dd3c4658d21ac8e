"""Components for the tests of the executor. Each notes its name in the request's ``log``."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress

import numpy as np

from anabranch.components.contract import Context


class Sum:
    """Adds its inputs and ``plus``."""

    def __init__(self, name: str, plus: int = 0) -> None:
        self.name, self.plus = name, plus

    def combine(self, context: Context, **inputs: np.ndarray) -> np.ndarray:
        context.parameters["log"].append(self.name)
        return sum(inputs.values()) + self.plus


class AsyncSum(Sum):
    """The same, as a coroutine that gives up the loop."""

    async def combine(self, context: Context, **inputs: np.ndarray) -> np.ndarray:
        context.parameters["log"].append(self.name)
        await asyncio.sleep(0)
        return sum(inputs.values()) + self.plus


class SlowSum(Sum):
    """The same, too slow for the event loop."""

    def combine(self, context: Context, **inputs: np.ndarray) -> np.ndarray:
        time.sleep(0.001)
        return super().combine(context, **inputs)


class Pair(Sum):
    """Two outputs: the sum, and its negative."""

    def combine(self, context: Context, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        total = super().combine(context, **inputs)
        return {"plus": total, "minus": -total}


class Fail(Sum):
    """Always raises."""

    def combine(self, context: Context, **inputs: np.ndarray) -> np.ndarray:
        super().combine(context, **inputs)
        raise RuntimeError("no luck")


class Flaky(Sum):
    """Fails ``failures`` times in a request, then answers."""

    def __init__(self, name: str, failures: int) -> None:
        super().__init__(name)
        self.failures = failures

    def combine(self, context: Context, **inputs: np.ndarray) -> np.ndarray:
        total = super().combine(context, **inputs)
        if context.parameters["log"].count(self.name) <= self.failures:
            raise RuntimeError("not yet")
        return total


class Pick:
    """Routes by the sum of its inputs, modulo the number of routes."""

    def __init__(self, name: str, targets: list[str]) -> None:
        self.name, self.targets = name, targets

    def route(self, context: Context, **inputs: np.ndarray) -> str:
        context.parameters["log"].append(self.name)
        return self.targets[int(sum(inputs.values()).sum()) % len(self.targets)]


class AsyncPick(Pick):
    """The same, as a coroutine."""

    async def route(self, context: Context, **inputs: np.ndarray) -> str:
        await asyncio.sleep(0)
        return super().route(context, **inputs)


class FailPick(Pick):
    """Cannot decide."""

    def route(self, context: Context, **inputs: np.ndarray) -> str:
        super().route(context, **inputs)
        raise RuntimeError("no idea")


class Exit:
    """Tries to take the process down."""

    def transform(self, x: np.ndarray) -> np.ndarray:
        raise SystemExit(3)


class SelfCancel:
    """Raises a cancellation that nobody asked for."""

    async def transform(self, x: np.ndarray) -> np.ndarray:
        raise asyncio.CancelledError


class InPlace:
    """Changes its input where it stands."""

    def transform(self, x: np.ndarray) -> np.ndarray:
        x += 1
        return x


class Hang:
    """Never answers."""

    async def transform(self, x: np.ndarray) -> np.ndarray:
        await asyncio.Event().wait()
        return x


class Sleep:
    """Holds its thread for a while, once as many threads are in it as may be."""

    max_concurrency = 1

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.together = 0
        self.most = 0
        self._counting = threading.Lock()
        self._full = threading.Barrier(self.max_concurrency)

    def transform(self, x: np.ndarray) -> np.ndarray:
        with self._counting:
            self.together += 1
            self.most = max(self.most, self.together)
        self._full.wait(60)
        time.sleep(self.seconds)
        with self._counting:
            self.together -= 1
        return x


class SleepTogether(Sleep):
    """The same, for several threads at a time."""

    max_concurrency = 4


class Return:
    """Returns what a test tells it to."""

    def transform(self, x: np.ndarray, context: Context) -> object:
        return context.parameters["value"]


class Traced:
    """Gives the id of the span that it runs in."""

    def transform(self, x: np.ndarray, context: Context) -> np.ndarray:
        assert context.trace is not None
        return np.frombuffer(bytes.fromhex(context.trace.span_id), np.int64)


class Blame:
    """Blames the caller."""

    def transform(self, x: np.ndarray) -> np.ndarray:
        from anabranch.errors import InvalidRequest

        raise InvalidRequest("x must be kind")


class Moody(Sum):
    """Fails where a header says so."""

    def combine(self, context: Context, **inputs: np.ndarray) -> np.ndarray:
        if context.headers:
            raise RuntimeError("not today")
        return super().combine(context, **inputs)


class Deaf:
    """Swallows its cancellation until it is released."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

    async def transform(self, x: np.ndarray) -> np.ndarray:
        while not self.release.is_set():
            with suppress(asyncio.CancelledError):
                await self.release.wait()
        return x


class Maybe(Sum):
    """Gives its sum, but for multiples of 3: then nothing."""

    def combine(self, context: Context, **inputs: np.ndarray) -> np.ndarray | None:
        total = super().combine(context, **inputs)
        return None if int(total[0]) % 3 == 0 else total


class Some(Sum):
    """Gives its sum as ``even`` or ``odd``; as both, or as neither, by the sum modulo 4."""

    def combine(self, context: Context, **inputs: np.ndarray) -> dict[str, np.ndarray | None]:
        total = super().combine(context, **inputs)
        given = (None, {"odd": total, "even": None}, {"even": total}, {"even": total, "odd": total})
        return given[int(total[0]) % 4] or {}


class SlowSome(Some):
    """The same, too slow for the event loop."""

    def combine(self, context: Context, **inputs: np.ndarray) -> dict[str, np.ndarray | None]:
        time.sleep(0.001)
        return super().combine(context, **inputs)


class Noted:
    """Adds a request parameter, and tells of it in a tag, in names of columns and in a measure."""

    def predict(self, x: np.ndarray, context: Context) -> np.ndarray:
        total = x + context.parameters.get("plus", 0)
        context.tags["total"] = float(total.sum())
        context.names["noted"] = [f"c{n}" for n in range(len(total))]
        context.measure("noted", 1)
        return total


class Brittle:
    """Fails where a header says so, else negates."""

    def predict(self, x: np.ndarray, context: Context) -> np.ndarray:
        if context.headers:
            raise RuntimeError("not today")
        return -x


class PickByParameter:
    """Routes by a request parameter."""

    def route(self, context: Context) -> str:
        return "noted" if context.parameters.get("plus") else "even"
