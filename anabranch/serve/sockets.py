"""Sockets on which the engine's processes answer: Unix sockets within a machine, and TCP."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from anabranch.errors import EngineError

T = TypeVar("T")

FOLDER = "ANABRANCH_SOCKETS"
"""Variable that names the folder of the machine's Unix sockets, where the engine has made one."""
SOCKETS = "s"
"""Name of that folder in the folder of an engine's processes."""
EDGE = "ANABRANCH_EDGE"
"""Variable that names the HAProxy of the edge to the engine's processes; empty for none."""
GATEWAY_SOCKET, FRONT_SOCKET = "gateway.sock", "front.sock"
"""Names in that folder of the sockets that are no router's."""
UNIX = "unix@"
"""Beginning of the addresses of Unix sockets."""
BACKLOG = 1024
"""Connections that wait to be taken, of one listener."""
BIND_S = 20.0
"""How long a new process waits for a port: the one before it may still be ending."""
_PAUSE_S = 0.1


def unix_folder() -> Path | None:
    """The folder of Unix sockets; None on machines where the engine has made none."""
    named = os.environ.get(FOLDER)
    folder = Path(named) if named else None
    return folder if folder is not None and folder.is_dir() else None


def unix_address(path: Path) -> str:
    """The address of a Unix socket, as ``Reach`` has it."""
    return f"{UNIX}{path}"


def unix_listener(path: Path) -> socket.socket:
    """Listen on a Unix socket that only this user may reach, in place of one left over there."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with suppress(FileNotFoundError):
            path.unlink()
        listener.bind(str(path))
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)  # nobody can connect before it listens
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def tcp_listener(host: str, port: int = 0, shared: bool = False) -> socket.socket:
    """Listen on a port, or one that the system chooses; EngineError where it is taken.

    A ``shared`` port is had with other such sockets of this user, each with a queue of its own
    (``SO_REUSEPORT``, socket(7)).
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=shared)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL):
            raise
        raise EngineError(f"cannot listen on port {port} of {host}: {error.strerror}") from None


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of an address ``host:port``, an IPv6 one in brackets or not.

    ValueError where the port is no number.
    """
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def tcp_connection(address: str, timeout: float) -> socket.socket:
    """Connect to ``host:port``; OSError where nobody answers there within ``timeout`` seconds."""
    return socket.create_connection(split_address(address), timeout)


def accepts(address: str, timeout: float) -> bool:
    """Return whether anybody takes a connection at ``host:port`` within ``timeout`` seconds."""
    with suppress(OSError):
        tcp_connection(address, timeout).close()
        return True
    return False


async def patiently(bind: Callable[[], Awaitable[T]]) -> T:
    """Have a port bound as soon as it is free; EngineError where that takes too long."""
    ends = asyncio.get_running_loop().time() + BIND_S
    while True:
        try:
            return await bind()
        except EngineError:
            if asyncio.get_running_loop().time() > ends:
                raise
        await asyncio.sleep(_PAUSE_S)
