"""Extensions of ASGI that the lean server has, for exchanges that need no task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

BODY, REPLY, TRAILED = "anabranch.body", "anabranch.reply", "anabranch.trailed"
"""Names in ``scope["extensions"]`` of a ``TakeBody``, a ``Reply`` and a ``TrailedReply``."""

Reply: TypeAlias = Callable[[int, Sequence[tuple[bytes, bytes]], bytes], bool]
"""Sends a whole reply at once: status, headers with the body's length, and the body.

False, with nothing sent, where that cannot be done now and ASGI's messages must be used.
"""
TakeBody: TypeAlias = Callable[[], bytes | None]
"""Takes the whole body; None where it is not there yet and must be received."""


class TrailedReply(Protocol):
    """Sends a reply of status 200 that ends with trailers (RFC 9110, 6.5).

    It has no headers but those that are given: gRPC takes all others for metadata.
    """

    def begin_reply(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Send the head: from now on the client knows that the request is being worked on."""

    async def end_reply(
        self,
        headers: Sequence[tuple[bytes, bytes]],
        body: Sequence[bytes],
        trailers: Sequence[tuple[bytes, bytes]],
    ) -> None:
        """Send the rest, or all of it without ``begin_reply``; ``body`` is pieces of one."""
