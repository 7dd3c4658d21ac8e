"""A bound: a process that has no work but HTTP, and answers each request as it did the first one.

As ``edge`` it stands behind the engine's edge, with all of that one's rules.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import httptools
import uvloop
from components import evaluate
from handmade import decode, encode
from script import ARRANGED, HOST, Arguments, arguments, free_port, stoppable

from anabranch.serve.edge.binary import haproxy_binary
from anabranch.serve.edge.configuration import EdgeOptions
from anabranch.serve.edge.listener import EdgeAddress
from anabranch.serve.edge.proxy import EdgeProxy
from anabranch.serve.edge.routes import EdgeRoute

EDGE = "edge"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


class Constant(asyncio.Protocol):
    """One connection; ``answers`` holds the answer of all of them, once there is one."""

    def __init__(self, answers: list[bytes]) -> None:
        self._answers = answers
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body, for the first answer."""
        if not self._answers:
            self._body += body

    def on_message_complete(self) -> None:
        """Answer."""
        if not self._answers:
            body = encode(evaluate(decode(self._body)))
            self._answers.append(HEAD % len(body) + body)
        self._transport.write(self._answers[0])


async def serve(told: Arguments) -> None:
    """Answer on the port, or have the edge answer there."""
    loop, answers = asyncio.get_running_loop(), list[bytes]()
    if told.traffic == EDGE:
        socket = str(told.folder / "constant.sock")
        async with await loop.create_unix_server(lambda: Constant(answers), socket):
            await serve_behind_edge(told, socket)
    else:
        async with await loop.create_server(lambda: Constant(answers), HOST, told.port):
            await asyncio.Event().wait()


async def serve_behind_edge(told: Arguments, socket: str) -> None:
    """Have the edge hand on the requests of a graph to a socket."""
    binary, options = Path(haproxy_binary() or "haproxy"), EdgeOptions()
    address = EdgeAddress(HOST, told.port, free_port())
    routes = {"five": EdgeRoute((f"unix@{socket}",), idempotent=False)}
    edge = await EdgeProxy.start(binary, told.folder, options, address, routes)
    try:
        (told.folder / ARRANGED).touch()
        await asyncio.Event().wait()
    finally:
        await edge.close()


if __name__ == "__main__":
    with stoppable():
        uvloop.run(serve(arguments()))
