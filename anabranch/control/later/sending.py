"""Sends asynchronous requests to routers, as the gateway sends the requests that it gets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from anabranch.control.store.async_requests import DueRequest, KeptReply
from anabranch.errors import TooLarge
from anabranch.router.errors import HttpReply
from anabranch.router.gateway.forwarding import Forwarder
from anabranch.router.http.app import StreamedReply
from anabranch.router.http.request import HttpRequest, Message, Receive
from anabranch.router.later import MAX_BODY

_LEFT_OUT = frozenset((b"content-length", b"transfer-encoding", b"connection"))


class RouterSender:
    """Has routers answer; ``token`` is the engine's."""

    def __init__(self, forwarder: Forwarder, token: Callable[[], str]) -> None:
        self._forwarder = forwarder
        self._follows = False
        self._token = token

    async def __call__(self, one: DueRequest) -> KeptReply:
        """Return the reply of a router; raises as ``Forwarder.forward`` does."""
        if not self._follows:  # most engines never do
            self._forwarder.start()
            self._follows = True
        token = await asyncio.to_thread(self._token)
        request = HttpRequest(_scope(one, token), _receiver(one.request.body))
        answer = await self._forwarder.forward(one.graph, request)
        if isinstance(answer, StreamedReply):
            return await _collected(one, answer)
        assert isinstance(answer, HttpReply)
        return KeptReply(answer.status, (), bytes(answer.body))


def _scope(one: DueRequest, token: str) -> Message:
    asked = one.request
    headers = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in asked.headers]
    own = {
        b"host": b"anabranch",
        b"authorization": b"Bearer " + token.encode(),
        b"content-length": b"%d" % len(asked.body),
    }
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": asked.path,
        "query_string": b"",
        "headers": [*headers, *own.items()],
    }


def _receiver(body: bytes) -> Receive:
    left = [body]

    async def receive() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        await asyncio.Event().wait()  # nobody hangs up
        raise AssertionError

    return receive


async def _collected(one: DueRequest, answer: StreamedReply) -> KeptReply:
    async with aclosing(answer.rest):
        body = bytearray(answer.first)
        async for piece in answer.rest:
            body += piece
            if len(body) > MAX_BODY:
                raise TooLarge(
                    f"the reply to request {one.id!r} is over the limit of {MAX_BODY} bytes for "
                    "replies that are kept; ask for fewer rows at a time"
                )
    headers = tuple(
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in answer.headers
        if name not in _LEFT_OUT
    )
    return KeptReply(answer.status, headers, bytes(body))
