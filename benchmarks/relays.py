"""A bound for graphs with remote nodes: processes by hand that have no work, behind the edge.

A front answers each request as soon as its nodes, each a process of its own, have sent back a few
bytes. Nothing is decoded but HTTP; no router in Python whose nodes are processes can take less.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast

import httptools
import psutil
import uvloop

from anabranch.serve.edge.binary import haproxy_binary
from anabranch.serve.edge.configuration import EdgeOptions
from anabranch.serve.edge.listener import EdgeAddress
from anabranch.serve.edge.proxy import EdgeProxy
from anabranch.serve.edge.routes import EdgeRoute
from benchmarks.servers.script import HOST, free_port, stoppable

MOST_NODES = 20
START_S = 60.0
CALL = bytes(256)
"""About as long as a call with four numbers, and its answer."""
BODY = b" " * 128
Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
"""What a process does."""
REPLY = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)


class Node(asyncio.Protocol):
    """Sends back all bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Send them back."""
        self._transport.write(data)


class NodeLink(asyncio.Protocol):
    """Calls a node for fronts, which are told of answers in the order of their calls."""

    def __init__(self) -> None:
        self._callers: deque[Front] = deque()
        self._come = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast(asyncio.Transport, transport)

    def call(self, caller: Front) -> None:
        """Send a call."""
        self._callers.append(caller)
        self._transport.write(CALL)

    def data_received(self, data: bytes) -> None:
        """Tell callers of their answers, which may come in pieces."""
        answers, self._come = divmod(self._come + len(data), len(CALL))
        for _ in range(answers):
            self._callers.popleft().answered()


class Front(asyncio.Protocol):
    """A connection of a client, whose requests come one after the other."""

    def __init__(self, links: list[NodeLink]) -> None:
        self._links = links
        self._parser = httptools.HttpRequestParser(self)
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Call all nodes."""
        self._left = len(self._links)
        for link in self._links:
            link.call(self)

    def answered(self) -> None:
        """Reply after the last answer."""
        self._left -= 1
        if not self._left:
            self._transport.write(REPLY)


@contextmanager
def relays(folder: Path) -> Iterator[Callable[[int], tuple[str, psutil.Process]]]:
    """Run nodes and an edge; give what starts a front of so many nodes: its URL and its process.

    ``folder`` is for sockets, and its path is short.
    """
    with ExitStack() as stack:
        start = partial(_started, stack)
        nodes = [folder / f"n{number}.sock" for number in range(MOST_NODES)]
        for path in nodes:
            start(partial(_serve_node, path), path)
        fronts = {number: folder / f"f{number}.sock" for number in (1, MOST_NODES)}
        port = free_port()
        start(partial(_serve_edge, folder, port, fronts), None)
        _until(lambda: _accepts(socket.AF_INET, (HOST, port)))

        def front(number: int) -> tuple[str, psutil.Process]:
            work = partial(_serve_front, fronts[number], nodes[:number])
            process = start(work, fronts[number])
            return f"http://{HOST}:{port}/v2/models/nodes{number}/infer", process

        yield front


def _started(stack: ExitStack, work: Work, path: Path | None) -> psutil.Process:
    """Run work in a process of its own until the stack ends, from when its socket is there."""
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(work,), daemon=True)
    process.start()
    stack.callback(process.join)
    stack.callback(process.terminate)
    if path is not None:
        _until(lambda: _accepts(socket.AF_UNIX, str(path)))
    return psutil.Process(process.pid)


def _run(work: Work) -> None:
    with stoppable():
        uvloop.run(work())


def _until(is_there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_S
    while not is_there():
        assert time.monotonic() < deadline, "a process did not start"
        time.sleep(0.01)


def _accepts(family: socket.AddressFamily, address: Any) -> bool:
    with socket.socket(family) as caller:
        return caller.connect_ex(address) == 0


async def _serve_node(path: Path) -> None:
    async with await asyncio.get_running_loop().create_unix_server(Node, str(path)):
        await asyncio.Event().wait()


async def _serve_front(path: Path, nodes: list[Path]) -> None:
    loop = asyncio.get_running_loop()
    links = [(await loop.create_unix_connection(NodeLink, str(node)))[1] for node in nodes]
    async with await loop.create_unix_server(lambda: Front(links), str(path)):
        await asyncio.Event().wait()


async def _serve_edge(folder: Path, port: int, fronts: dict[int, Path]) -> None:
    binary, address = Path(haproxy_binary() or "haproxy"), EdgeAddress(HOST, port, free_port())
    routes = {
        f"nodes{number}": EdgeRoute((f"unix@{path}",), idempotent=False)
        for number, path in fronts.items()
    }
    edge = await EdgeProxy.start(binary, folder, EdgeOptions(), address, routes)
    try:
        await asyncio.Event().wait()
    finally:
        await edge.close()
