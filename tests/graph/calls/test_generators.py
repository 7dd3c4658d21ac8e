"""Generators pass on results, errors and their own end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator
from types import SimpleNamespace, TracebackType
from typing import Any, TypeVar

import pytest

from anabranch.graph.calls import generators
from anabranch.graph.calls.generators import each, in_time, once, within

T = TypeVar("T")


class Source:
    """Streams 0, 1, 2…; fails before a number."""

    def __init__(self, fails_before: int | None = None, length: int = 3) -> None:
        self.fails_before, self.length = fails_before, length
        self.told: list[str] = []

    async def stream(self) -> AsyncGenerator[int, None]:
        self.told.append("begun")
        try:
            for number in range(self.length):
                if number == self.fails_before:
                    raise ValueError(number)
                yield number
        finally:
            self.told.append("closed")


class Held:
    """A context that tells how it ended."""

    def __init__(self, told: list[str]) -> None:
        self.told = told
        self.error: BaseException | None = None

    def __enter__(self) -> None:
        self.told.append("entered")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.told.append("left")
        self.error = error


async def listed(stream: AsyncGenerator[T, None]) -> list[T]:
    return [one async for one in stream]


def test_each_shapes_results_of_what_begins_when_it_is_asked() -> None:
    source = Source()
    doubled = each(source.stream, lambda number: 2 * number)
    assert source.told == []
    assert asyncio.run(listed(doubled)) == [0, 2, 4]
    assert source.told == ["begun", "closed"]


def test_once_is_the_one_result() -> None:
    async def work() -> str:
        return "done"

    assert asyncio.run(listed(once(work))) == ["done"]


def test_within_holds_the_context_for_as_long_as_the_stream() -> None:
    source = Source()
    held = Held(source.told)
    stream = within(held, source.stream())
    assert source.told == []
    assert asyncio.run(listed(stream)) == [0, 1, 2]
    assert source.told == ["entered", "begun", "closed", "left"]
    assert held.error is None


def test_within_shows_its_context_the_error_that_ends_a_stream() -> None:
    source = Source(fails_before=1)
    held = Held(source.told)
    with pytest.raises(ValueError, match="1"):
        asyncio.run(listed(within(held, source.stream())))
    assert source.told == ["entered", "begun", "closed", "left"]
    assert isinstance(held.error, ValueError)


@pytest.mark.parametrize("shaped", [False, True])
def test_closing_closes_the_stream_below_first(shaped: bool) -> None:
    source = Source()
    held = Held(source.told)
    stream: Any = within(held, source.stream())
    outer = each(lambda: stream, str) if shaped else stream

    async def begin_and_close() -> int:
        first = int(await anext(outer))
        await outer.aclose()
        return first

    assert asyncio.run(begin_and_close()) == 0
    assert source.told == ["entered", "begun", "closed", "left"]
    assert isinstance(held.error, GeneratorExit)


def test_in_time_raises_late_and_closes_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    # However long a busy machine takes until the stream begins, it begins in time.
    monkeypatch.setattr(generators, "time", SimpleNamespace(monotonic=lambda: 0.0))
    closed = threading.Event()

    async def waits() -> AsyncGenerator[int, None]:
        try:
            yield 0
            await asyncio.Event().wait()
        finally:
            closed.set()

    with pytest.raises(KeyError, match="late"):
        asyncio.run(listed(in_time(waits(), 0.01, lambda: KeyError("late"))))
    assert closed.is_set()


def test_in_time_passes_on_a_timeout_that_is_not_its_own() -> None:
    async def fails() -> AsyncGenerator[int, None]:
        yield 0
        raise TimeoutError("of the source")

    with pytest.raises(TimeoutError, match="of the source"):
        asyncio.run(listed(in_time(fails(), time.monotonic() + 600, lambda: KeyError("late"))))
