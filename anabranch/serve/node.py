"""The node on which a process runs, and the sockets on which the process answers.

Within the node these are Unix sockets; for other nodes, where the engine may have some, TCP with
the engine's certificates (``router/between_nodes.py``).
"""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path
from typing import NamedTuple

import ray

from anabranch.router.addresses import Reach
from anabranch.router.between_nodes import (
    CALLED_MS,
    far_address,
    node_folder,
    probe,
    server_tls,
)
from anabranch.serve.heartbeat import process_name
from anabranch.serve.sockets import UNIX, tcp_listener, unix_address, unix_folder, unix_listener


class OwnListener(NamedTuple):
    """A socket that listens, and the TLS that is spoken on it, if any."""

    socket: socket.socket
    tls: ssl.SSLContext | None


def node_id() -> str:
    """Return the id of this node, in hex; empty where this process has no Ray."""
    return ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""


def node_host() -> str:
    """Return the address of this node for other nodes: loopback for an engine that is there."""
    host: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return host


class OwnPlaces(NamedTuple):
    """Where a process of the engine answers: the folder of its Unix sockets, and a host."""

    folder: Path | None
    host: str | None

    def path(self) -> Path | None:
        """Return a path for a Unix socket that no other socket has, if there is a folder.

        It begins with the name of the process, by which the supervisor finds it once that is dead.
        """
        if self.folder is None:
            return None
        return self.folder / f"{process_name()}-{os.urandom(4).hex()}.sock"


def own_places() -> OwnPlaces:
    """Return where to answer: for this node and, where the engine may have others, for those.

    Raises EngineError where the engine's certificates are missing.
    """
    folder = unix_folder()
    is_near_only = folder is not None and node_folder() is None
    return OwnPlaces(folder, None if is_near_only else node_host())


def own_listeners(places: OwnPlaces) -> tuple[list[OwnListener], Reach]:
    """Listen at all places, with TLS on TCP where there are certificates; with the addresses."""
    found: list[OwnListener] = []
    near = far = ""
    try:
        path = places.path()
        if path is not None:
            found.append(OwnListener(unix_listener(path), None))
            near = unix_address(path)
        if places.host is not None:
            listener = tcp_listener(places.host)
            found.append(OwnListener(listener, server_tls()))
            probe(listener, CALLED_MS)
            far = far_address(places.host, listener.getsockname()[1])
    except BaseException:
        for one in found:
            one.socket.close()
        raise
    return found, Reach(node_id(), near, far)


def forget(reach: Reach) -> None:
    """Remove the file of a Unix socket that is closed for good."""
    if reach.near:
        Path(reach.near.removeprefix(UNIX)).unlink(missing_ok=True)
