"""A process that answers at a graph's own port, as a router does: with its number.

It says "listens" once it does. As a router that ends, it takes no more connections from the first
line on that it reads, says "leaves", and ends with the second: a router waits a moment instead.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import uvloop

from anabranch.router.http.app import HttpApp, json_reply
from anabranch.router.http.listening import LeanServer
from anabranch.router.http.request import HttpRequest
from anabranch.serve.own_port import OwnPort


async def main(graph: str, port: int) -> None:
    async def answer(request: HttpRequest) -> Any:
        return json_reply(os.getpid())

    http = LeanServer(HttpApp(answer))
    own = await OwnPort.open(graph, "127.0.0.1", port, http)
    print("listens", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await own.close()
    print("leaves", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await http.close(10)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
