"""Connections by which the edge sees at once that a router has died: they end with its process.

The controller takes a router for gone once it has been silent for a while. Until then HAProxy
would try its address again and again.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping

from anabranch.router.between_nodes import CALLING_MS, CONNECT_S, of_client, probe
from anabranch.serve.sockets import UNIX, split_address

AGAIN_S = 1.0
"""Time between two tries to connect to a router that cannot be reached, in seconds."""


_GONE = (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH)
"""Errors of a connection whose other machine has not answered (tcp(7))."""


class RouterWatch:
    """Holds an idle connection to each router.

    ``changed`` is called where one dies or is back, and then ``gone`` with the address of one whose
    machine has gone, so that no connection to it will end by itself.
    """

    def __init__(
        self, changed: Callable[[], Awaitable[None]], gone: Callable[[str], Awaitable[None]]
    ) -> None:
        self._changed, self._gone = changed, gone
        self._watching: Mapping[str, asyncio.Task[None]] = {}
        self._lost: set[str] = set()

    def know(self, addresses: Iterable[str]) -> None:
        """Watch the routers at these addresses, and no others."""
        before = self._watching
        self._watching = {
            address: before.get(address) or asyncio.create_task(self._watch(address))
            for address in addresses
        }
        for address in before.keys() - self._watching.keys():
            before[address].cancel()
            self._lost.discard(address)

    def living(self, addresses: Iterable[str]) -> tuple[str, ...]:
        """Return the addresses at which routers are, so far as is known."""
        return tuple(address for address in addresses if address not in self._lost)

    async def close(self) -> None:
        """Watch no router any more."""
        watching = self._watching.values()
        self.know(())
        await asyncio.gather(*watching, return_exceptions=True)

    async def _watch(self, address: str) -> None:
        while True:
            try:
                reader, writer = await _connect(address)
            except OSError:
                await self._found(address, alive=False)
                await asyncio.sleep(AGAIN_S)
                continue
            try:
                await self._found(address, alive=True)
                is_gone = await _ended(reader)
            finally:
                writer.close()
            if is_gone:
                await self._found(address, alive=False)
                await self._gone(address)

    async def _found(self, address: str, alive: bool) -> None:
        if alive != (address in self._lost):
            return
        if alive:
            self._lost.discard(address)
        else:
            self._lost.add(address)
        await self._changed()


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.startswith(UNIX):
        return await asyncio.open_unix_connection(address.removeprefix(UNIX))
    host, port = split_address(address)
    connection = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        connection.setblocking(False)
        probe(connection, CALLING_MS)
        async with asyncio.timeout(CONNECT_S):
            await asyncio.get_running_loop().sock_connect(connection, (host, port))
        # A router that is busy may take longer to greet.
        return await asyncio.open_connection(sock=connection, **of_client())
    except BaseException:
        connection.close()
        raise


async def _ended(reader: asyncio.StreamReader) -> bool:
    """Return once the connection has ended whether that is so because its machine does not answer.

    A router says nothing unasked.
    """
    try:
        while await reader.read(1024):
            pass
    except OSError as error:
        return error.errno in _GONE
    return False
