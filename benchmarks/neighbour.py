"""A server that has no part in an engine, with a small answer: ``python -m benchmarks.neighbour``.

It shares nothing with an engine but the processors: what it loses beside a hostile client of the
engine, the engine cannot win. It prints its port, and answers until it is killed.
"""

from __future__ import annotations

import asyncio
from typing import cast

BODY = b'{"outputs":[{"name":"y","datatype":"FP32","shape":[1,4],"data":[1.0,1.0,1.0,1.0]}]}'
REPLY = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)


class Neighbour(asyncio.Protocol):
    """Answers each request, which comes in one piece, with the same bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer."""
        self._transport.write(REPLY)


async def serve() -> None:
    """Serve for ever."""
    server = await asyncio.get_running_loop().create_server(Neighbour, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
