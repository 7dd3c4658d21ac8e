"""The replica's count of the pieces that a caller has asked for."""

from __future__ import annotations

import asyncio

from anabranch.serve.streams.limits import AHEAD


class PieceCredit:
    """How many pieces of one stream may be made now. One task waits for it."""

    def __init__(self) -> None:
        self.left = AHEAD
        self._news = asyncio.Event()

    def add(self, pieces: int) -> None:
        """Allow more pieces."""
        self.left += pieces
        self._news.set()

    async def spend(self) -> None:
        """Use up one piece, once it is allowed."""
        while not self.left:
            self._news.clear()
            await self._news.wait()
        self.left -= 1
