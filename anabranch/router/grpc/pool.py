"""The front's channels to routers: which of a graph's gets the next call.

Calls go round those whose connection stands. A call is sent once: where a router dies with it, the
client is told, for nobody knows how far it came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import grpc
from grpc import ChannelConnectivity

from anabranch.errors import Unavailable
from anabranch.router.between_nodes import AUTHORITY, NAME, NODE, node_folder
from anabranch.router.grpc.messages import path

CONNECT_S = 1.0
"""How long a call waits for a connection to any of its graph's routers."""
_LOOK_S = 0.005
_OPTIONS: dict[str, Any] = {
    "grpc.max_send_message_length": -1,
    "grpc.max_receive_message_length": -1,
    "grpc.initial_reconnect_backoff_ms": 100,
    # Also the time that a connection may take to come about.
    "grpc.min_reconnect_backoff_ms": 500,
    "grpc.max_reconnect_backoff_ms": 1000,
    "grpc.enable_http_proxy": 0,
}
_FAR = {
    "grpc.ssl_target_name_override": NAME,
    "grpc.min_reconnect_backoff_ms": 2000,
    # A machine that is gone is noticed within these two times together.
    "grpc.keepalive_time_ms": 2000,
    "grpc.keepalive_timeout_ms": 2000,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.max_pings_without_data": 0,
}
"""Options for routers on other nodes."""
_UNDER_WAY = (ChannelConnectivity.IDLE, ChannelConnectivity.CONNECTING)


class PooledRouter:
    """A channel to one router; ``with router: ...`` around each call keeps it open for that."""

    def __init__(self, address: str) -> None:
        self._channel = _channel(address)
        self._unary: dict[str, Any] = {}
        self.stream: Any = self._channel.stream_stream(path("ModelStreamInfer"))
        """Calls ModelStreamInfer with messages and answers as bytes."""
        self._inside = 0
        self._retired = False

    def unary(self, path: str) -> Any:
        """Calls the method of a path with one message and one answer, both as bytes."""
        found = self._unary.get(path)
        if found is None:
            found = self._unary[path] = self._channel.unary_unary(path)
        return found

    def state(self) -> ChannelConnectivity:
        """How its connection stands; begins to connect where there is none."""
        return self._channel.get_state(try_to_connect=True)

    def retire(self) -> None:
        """Close the channel once its last call has ended."""
        self._retired = True
        self._close()

    def __enter__(self) -> None:
        self._inside += 1

    def __exit__(self, *_: object) -> None:
        self._inside -= 1
        self._close()

    def _close(self) -> None:
        if self._retired and not self._inside:
            self._running = asyncio.ensure_future(self._channel.close())


def _channel(address: str) -> Any:
    """Return a channel to an address, with the engine's certificates to one of another node."""
    folder = None if address.startswith("unix:") else node_folder()
    if folder is None:
        return grpc.aio.insecure_channel(address, options=[*_OPTIONS.items()])
    node, authority = ((folder / name).read_bytes() for name in (NODE, AUTHORITY))
    credentials = grpc.ssl_channel_credentials(authority, node, node)
    return grpc.aio.secure_channel(address, credentials, options=[*(_OPTIONS | _FAR).items()])


class Ring:
    """The routers of one graph, in turn."""

    def __init__(self) -> None:
        self._routers: dict[str, PooledRouter] = {}
        self._turn = 0
        self._listed = False

    def know(self, addresses: tuple[str, ...]) -> None:
        """Take the addresses of its routers; if none is known, those from before stay.

        A controller that starts anew hears of routers one by one.
        """
        self._listed = bool(addresses)
        if addresses:
            self.keep(addresses)

    @property
    def is_asleep(self) -> bool:
        """Whether all its routers have ended as they should: scaled to zero, or not yet there."""
        return not self._listed and self._next()[0] is None

    def keep(self, addresses: Iterable[str]) -> None:
        """Have routers at these addresses."""
        wanted = tuple(addresses)
        for address in self._routers.keys() - set(wanted):
            self._routers.pop(address).retire()
        for address in wanted:
            if address not in self._routers:
                self._routers[address] = PooledRouter(address)
                self._routers[address].state()

    async def pick(self, graph: str) -> PooledRouter:
        """The next router whose connection stands; Unavailable where none does in time."""
        ends = asyncio.get_running_loop().time() + CONNECT_S
        while True:
            router, may_come = self._next()
            if router is not None:
                return router
            may_come = may_come or not self._listed
            if not may_come or asyncio.get_running_loop().time() > ends:
                raise Unavailable(f"no router of graph {graph!r} can be reached; try again later")
            await asyncio.sleep(_LOOK_S)

    def _next(self) -> tuple[PooledRouter | None, bool]:
        """The next router that is connected; if there is none, whether one may be soon."""
        routers = tuple(self._routers.values())
        may_come = False
        for _ in routers:
            self._turn = (self._turn + 1) % len(routers)
            state = routers[self._turn].state()
            if state is ChannelConnectivity.READY:
                return routers[self._turn], True
            may_come = may_come or state in _UNDER_WAY
        return None, may_come


class Pool:
    """The routers of all graphs."""

    def __init__(self) -> None:
        self._rings: dict[str, Ring] = {}

    def apply(self, routers: Mapping[str, tuple[str, ...]]) -> None:
        """Take the addresses that there are now, by graph."""
        for graph in self._rings.keys() - routers.keys():
            self._rings.pop(graph).keep(())
        for graph, addresses in routers.items():
            self._rings.setdefault(graph, Ring()).know(addresses)

    def ring(self, graph: str) -> Ring | None:
        """The routers of a graph; None if there is no such graph."""
        return self._rings.get(graph)

    def close(self) -> None:
        """Let all channels go."""
        self.apply({})
