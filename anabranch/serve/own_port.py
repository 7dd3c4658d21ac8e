"""A graph's own port, at which its routers answer without the edge.

All routers of a machine accept connections from one listening socket: a socket has one queue of
connections that wait to be accepted, and the system resets them when the last process that has the
socket closes it. So a router hands the socket to each one that starts after it, over a Unix socket
(``SCM_RIGHTS``, unix(7)), and only where no router of the graph has it, it is opened anew.

Each router has a Unix socket of its own for that, ``port-<port>-<graph's digest>-<random>.sock``,
rather than one that the latest takes over: any router that lives hands the port on, whichever of
the others were killed, and none of another graph does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2s
from pathlib import Path
from typing import TYPE_CHECKING, Self

from anabranch.errors import EngineError
from anabranch.serve.sockets import BACKLOG, BIND_S, tcp_listener, unix_folder, unix_listener

if TYPE_CHECKING:  # the supervisor needs no server, and no language with it
    from anabranch.router.http.listening import LeanServer

HOST = "ANABRANCH_HTTP_HOST"
"""Variable that names the interface on which the engine answers HTTP, on its own machine."""
TLS = "ANABRANCH_TLS_CERT"
"""Variable that names the edge's certificate where the engine speaks TLS."""
_PAUSE_S = 0.1
_ANSWER_S = 2.0
"""How long another router may take to hand over the port, in seconds."""


logger = logging.getLogger("anabranch.serve")


def opened_port(graph: str, port: int | None) -> int | None:
    """Return ``port`` where a graph's routers open it: they do not speak TLS, so not if the edge
    does. A deploy is refused there, but the graph may be from before.
    """
    if port is None or not os.environ.get(TLS):
        return port
    logger.error(
        "port %s of graph %s stays closed: the engine speaks TLS, and graphs' own ports do not",
        port,
        graph,
    )
    return None


def own_host(node: str) -> str:
    """The interface of graphs' own ports: the engine's on its machine, else a node's address."""
    return node if unix_folder() is None else os.environ.get(HOST, "127.0.0.1")


def obtain(graph: str, host: str, port: int, patience: float = BIND_S) -> socket.socket:
    """Return a listening socket for a graph's own port, not blocking: another router's, or new.

    Blocks for up to ``patience`` seconds where something else has the port, such as a router that
    ends; raises EngineError where it still has it then.
    """
    ends = time.monotonic() + patience
    while True:
        for path in _holders(graph, port):
            found = _ask(path)
            if found is not None:
                return found
        try:
            return _opened(host, port)
        except EngineError as error:
            if time.monotonic() > ends:
                raise EngineError(f"spec.serving.port: {error}") from None
        time.sleep(_PAUSE_S)


def _opened(host: str, port: int) -> socket.socket:
    """Open the port, for this process alone on the engine's machine.

    On others no router can ask another, so that each has a queue: there sockets share the port.
    """
    listener = tcp_listener(host, port, shared=unix_folder() is None)
    # What is set of a socket is shared by all that have it: a router must never make it block.
    listener.setblocking(False)
    return listener


def _prefix(graph: str, port: int) -> str:
    """Start of the names of the sockets that hand over: short, for a path has 107 bytes at most."""
    return f"port-{port}-{blake2s(graph.encode(), digest_size=6).hexdigest()}-"


def _holders(graph: str, port: int) -> list[Path]:
    folder = unix_folder()
    return [] if folder is None else sorted(folder.glob(f"{_prefix(graph, port)}*.sock"))


def _ask(path: Path) -> socket.socket | None:
    """Ask a router for its listening socket; None if it has ended, ends, or does not answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(_ANSWER_S)
        try:
            asking.connect(str(path))
            _, found, _, _ = socket.recv_fds(asking, 1, 1)
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)  # of a router that was killed
            return None
        except OSError:
            return None
    if not found:
        return None
    os.set_inheritable(found[0], False)
    listener = socket.socket(fileno=found[0])
    listener.setblocking(False)
    return listener


class _Giving:
    """Hands a listening socket to each process that asks for it."""

    def __init__(self, listener: socket.socket, path: Path) -> None:
        self._listener, self._path = listener, path
        self._loop = asyncio.get_running_loop()
        # Under its name only once it listens: one that refuses is taken for that of a dead router.
        draft = path.with_suffix(".new")
        self._asked = unix_listener(draft)
        self._asked.setblocking(False)
        draft.rename(path)
        self._loop.add_reader(self._asked, self._give)

    def _give(self) -> None:
        for asking in _accepted(self._asked):
            with asking, suppress(OSError):
                socket.send_fds(asking, [b"\0"], [self._listener.fileno()])

    def close(self) -> None:
        """Hand over to those that have asked, and to no more."""
        self._path.unlink(missing_ok=True)
        self._give()
        self._loop.remove_reader(self._asked)
        self._asked.close()


class OwnPort:
    """A router's part in its graph's own port; made and used on one event loop."""

    def __init__(
        self, listener: socket.socket, http: LeanServer, accepting: asyncio.Server,
        giving: _Giving | None,
    ) -> None:  # fmt: skip
        self._listener, self._http = listener, http
        self._accepting, self._giving = accepting, giving

    @classmethod
    async def open(cls, graph: str, host: str, port: int, http: LeanServer) -> Self:
        """Have ``http`` answer at a graph's port; EngineError where something else has it."""
        listener = await asyncio.to_thread(obtain, graph, host, port)
        accepting = await asyncio.get_running_loop().create_server(
            http.guest, sock=listener.dup(), backlog=BACKLOG
        )
        folder = unix_folder()
        name = f"{_prefix(graph, port)}{os.urandom(4).hex()}.sock"
        giving = None if folder is None else _Giving(listener, folder / name)
        return cls(listener, http, accepting, giving)

    async def close(self) -> None:
        """Accept what waits, and leave what comes later to the other routers.

        Connections that were accepted stay the server's. Where this router is the last, the port
        is closed.
        """
        if self._giving is not None:
            self._giving.close()
        self._accepting.close()
        waiting = list(_accepted(self._listener))
        self._listener.close()
        loop = asyncio.get_running_loop()
        for connection in waiting:
            with suppress(OSError):  # its client has gone
                await loop.connect_accepted_socket(self._http.guest, connection)


def _accepted(listener: socket.socket) -> Iterator[socket.socket]:
    """Accept what waits at a socket that does not block: at most a whole queue."""
    for _ in range(BACKLOG):
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        yield connection
