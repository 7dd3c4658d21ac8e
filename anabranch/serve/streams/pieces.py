"""The caller's end of a stream: the pieces that have come and were not taken yet."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from anabranch.serve.streams.frames import MalformedFrame
from anabranch.serve.streams.limits import AHEAD

_GRANT = AHEAD // 2
"""Pieces after which the replica is told that they were taken: fewer frames than one each."""


class IncomingPieces:
    """The pieces of one stream, in order. One task waits for them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pieces: deque[Any] = deque()
        self._news: asyncio.Future[None] | None = None
        self._taken = 0
        self._ended = False
        self._error: BaseException | None = None

    def put(self, piece: Any) -> None:
        """Add a piece. Raises MalformedFrame where the replica has not been asked for so many."""
        if len(self._pieces) + self._taken >= AHEAD:
            raise MalformedFrame(f"a stream is more than {AHEAD} pieces ahead")
        self._pieces.append(piece)
        self._wake()

    def end(self, error: BaseException | None = None) -> None:
        """Note that no more pieces come, and why if that is an error."""
        self._ended, self._error = True, error
        self._wake()

    async def taken(
        self,
        begin: Callable[[], Awaitable[int]],
        grant: Callable[[int, int], None],
        leave: Callable[[int], None],
    ) -> AsyncGenerator[Any, None]:
        """Begin a call, and give its pieces; raise the error of the stream after them.

        ``grant`` asks the replica for more of them, ``leave`` ends the call. Both get its number.
        """
        number = await begin()
        try:
            while await self._more():
                piece = self._take()
                granted = self._granted()
                if granted:
                    grant(number, granted)
                yield piece
        finally:
            leave(number)

    async def _more(self) -> bool:
        """Wait for a piece; False at the end."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._ended:
                return False
            self._news = self._loop.create_future()
            await self._news
        return True

    def _take(self) -> Any:
        """Return the next piece that has come."""
        self._taken += 1
        return self._pieces.popleft()

    def _granted(self) -> int:
        """How many more pieces to ask the replica for now; 0 for none."""
        if self._ended or self._taken < _GRANT:
            return 0
        granted, self._taken = self._taken, 0
        return granted

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
