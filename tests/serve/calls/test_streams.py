"""Streams between processes, by the interface of a Serve handle."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from anabranch.errors import NodeError, Unavailable
from anabranch.serve.calls.streams import AHEAD, Piece, ask_stream, pieces


class Source:
    """Yields numbers, and notes how many it made and whether it was closed."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.made = 0
        self.closed = False
        self.error = error

    async def numbers(self) -> AsyncGenerator[int, None]:
        try:
            while True:
                self.made += 1
                yield self.made
                if self.error is not None:
                    raise self.error
                await asyncio.sleep(0)
        finally:
            self.closed = True


class Queue:
    """Takes all that a generator yields, as fast as it comes, as Serve does."""

    def __init__(self, values: AsyncGenerator[Piece, None]) -> None:
        self.waiting: list[Piece] = []
        self.task = asyncio.create_task(self._fill(values))

    async def _fill(self, values: AsyncGenerator[Piece, None]) -> None:
        async with aclosing(values):
            async for piece in values:
                self.waiting.append(piece)


async def idle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def test_a_replica_makes_no_more_than_is_taken() -> None:
    async def main() -> None:
        source = Source()
        queue = Queue(pieces(source.numbers()))
        await idle()
        assert (source.made, len(queue.waiting)) == (AHEAD + 1, AHEAD)
        assert [queue.waiting.pop(0).value for _ in range(3)] == [1, 2, 3]
        await idle()
        assert (source.made, len(queue.waiting)) == (AHEAD + 4, AHEAD)
        queue.task.cancel()
        await asyncio.wait([queue.task])
        assert source.closed

    asyncio.run(main())


def test_a_stream_that_is_taken_never_stops() -> None:
    async def main() -> None:
        source = Source()
        found = []
        async with aclosing(pieces(source.numbers())) as given:
            async for piece in given:
                found.append(piece.value)
                del piece
                if len(found) == 1000:
                    break
        assert found == list(range(1, 1001))
        assert source.closed

    asyncio.run(main())


def test_a_piece_crosses_processes() -> None:
    told: list[int] = []
    piece = Piece({"y": [1]}, lambda: told.append(1))
    assert pickle.loads(pickle.dumps(piece)).value == {"y": [1]}
    assert told == []
    del piece
    assert told == [1]


class Response:
    """What a handle with ``stream=True`` returns."""

    def __init__(self, values: AsyncGenerator[Piece, None]) -> None:
        self.values = values
        self.cancelled = False

    def __aiter__(self) -> Any:
        return self.values

    def cancel(self) -> None:
        self.cancelled = True


class Method:
    """A method of a replica in this process, by its handle."""

    def __init__(self, source: Source) -> None:
        self.response = Response(pieces(source.numbers()))

    def remote(self, *args: Any) -> Response:
        return self.response


@pytest.mark.parametrize("how", ["closed", "cancelled"])
def test_giving_up_cancels_it_there(how: str) -> None:
    async def main() -> None:
        method = Method(Source())
        values = ask_stream("one", method)
        assert await anext(values) == 1
        if how == "closed":
            await values.aclose()
        else:
            with pytest.raises(asyncio.CancelledError):
                await values.athrow(asyncio.CancelledError)
        assert method.response.cancelled

    asyncio.run(main())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NodeError("n", "no luck"), NodeError),
        (DeploymentUnavailableError("head"), Unavailable),
        (BackPressureError(num_queued_requests=1, max_queued_requests=1), Unavailable),
        (ActorDiedError(), Unavailable),
        (ValueError("odd"), NodeError),
    ],
)
def test_errors_on_the_way_become_ours(error: Exception, expected: type[Exception]) -> None:
    async def main() -> None:
        values = ask_stream("one", Method(Source(error)))
        assert await anext(values) == 1
        with pytest.raises(expected):
            await anext(values)

    asyncio.run(main())
