"""Several evaluations of one call, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from functools import partial
from typing import Generic, TypeAlias, TypeVar

from anabranch.router.http.doors.openai.choices import cut
from anabranch.router.http.doors.openai.inputs import Generation
from anabranch.router.http.doors.openai.pieces import Piece, pieces_of
from anabranch.router.inference.contract import InferenceRequest, InferenceResponse
from anabranch.router.traffic.chosen_arm import ChosenArm

AT_ONCE = 16
"""Evaluations of one call that run at the same time; the others wait."""
T = TypeVar("T")
Place: TypeAlias = Callable[[], AbstractContextManager[None]]
"""Gives the place of one more evaluation, or raises where there is none."""


async def texts(
    chosen: ChosenArm, asked: Generation, whole: bool, place: Place
) -> AsyncGenerator[tuple[int, Piece], None]:
    """Yield the pieces of all choices as they come, each with the index of its choice.

    ``whole`` asks a graph that does not stream as ``infer`` does, with all that belongs to that.
    """
    whole = whole and not await chosen.only_streams()
    read = _whole if whole else _streamed

    def source(request: InferenceRequest) -> AsyncGenerator[list[Piece], None]:
        rows = read(chosen, request, asked.each)
        return cut(rows, asked.each, asked.stops, partial(_answered, request))

    sources = [partial(source, request) for request in asked.requests]
    async with aclosing(side_by_side(sources, place)) as found:
        async for number, row in found:
            for at, piece in enumerate(row):
                yield number * asked.each + at, piece


def _answered(request: InferenceRequest) -> None:
    request.is_answered = True


async def _whole(
    chosen: ChosenArm, request: InferenceRequest, count: int
) -> AsyncGenerator[list[Piece], None]:
    yield (await chosen.infer(request, lambda found: pieces_of(found, count)))[1]


async def _streamed(
    chosen: ChosenArm, request: InferenceRequest, count: int
) -> AsyncGenerator[list[Piece], None]:
    async with aclosing(chosen.stream(request)) as responses:
        async for response in responses:
            yield pieces_of(response, count)


async def responses(
    chosen: ChosenArm,
    requests: Sequence[InferenceRequest],
    check: Callable[[InferenceResponse], object],
    place: Place,
) -> list[InferenceResponse]:
    """Evaluate requests, each once; return the responses in order of the requests.

    What ``check`` raises is a fault of the arm.
    """

    async def one(request: InferenceRequest) -> AsyncGenerator[InferenceResponse, None]:
        yield (await chosen.infer(request, check))[0]

    sources = [partial(one, request) for request in requests]
    async with aclosing(side_by_side(sources, place)) as results:
        found = {at: response async for at, response in results}
    return [found[at] for at in range(len(requests))]


async def side_by_side(
    sources: Sequence[Callable[[], AsyncGenerator[T, None]]], place: Place
) -> AsyncGenerator[tuple[int, T], None]:
    """Yield what sources give as it comes, each with the number of its source.

    AT_ONCE of them are open at a time, and all but the first need a ``place`` of their own. The
    first error ends all.
    """
    if len(sources) == 1:
        async with aclosing(sources[0]()) as only:
            async for value in only:
                yield 0, value
        return
    merged = _Merged[T](place)
    tasks = [asyncio.create_task(merged.pump(at, each)) for at, each in enumerate(sources)]
    try:
        async for pair in merged.pairs(len(tasks)):
            yield pair
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Merged(Generic[T]):
    """A queue of one value that several sources fill."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._free = asyncio.Semaphore(AT_ONCE)
        self._queue: asyncio.Queue[tuple[int, T] | Exception | None] = asyncio.Queue(1)

    async def pump(self, at: int, source: Callable[[], AsyncGenerator[T, None]]) -> None:
        """Put what a source gives into the queue, and its error or None at its end."""
        try:
            async with self._free:
                with self._place() if at else nullcontext():
                    async with aclosing(source()) as values:
                        async for value in values:
                            await self._queue.put((at, value))
        except Exception as error:
            await self._queue.put(error)
        else:
            await self._queue.put(None)

    async def pairs(self, sources: int) -> AsyncGenerator[tuple[int, T], None]:
        """Yield until so many sources have ended; raise the first error."""
        while sources:
            found = await self._queue.get()
            if isinstance(found, Exception):
                raise found
            if found is None:
                sources -= 1
            else:
                yield found
