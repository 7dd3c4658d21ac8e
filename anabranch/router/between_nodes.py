"""TCP between the nodes of an engine: certificates that both ends show, and ends of machines.

An engine that other machines reach has a certificate authority of its own, and one certificate of
it for all its nodes (``control/access/authority.py`` makes both). Whoever listens for other nodes
asks for it, whoever connects shows it and asks for it likewise: TLS 1.3 (RFC 8446), with
certificates of both ends. So what such a connection says of a client is said by the engine.
"""

from __future__ import annotations

import os
import socket
import ssl
from functools import cache
from pathlib import Path
from typing import Any

from anabranch.errors import EngineError

NODE_TLS = "ANABRANCH_NODE_TLS"
"""Variable that names the folder of the certificates; unset where nothing listens for other nodes.
"""
AUTHORITY, NODE = "authority.pem", "node.pem"
"""Names in that folder of the authority's certificate, and of the nodes' key and certificate."""
NAME = "node.anabranch"
"""The name (RFC 6125) in the nodes' certificate, wherever a node is."""
_HANDSHAKE_S, _CLOSE_S = 10.0, 2.0
"""How long a handshake may take, and the end of a connection, in seconds."""
CONNECT_S = 2.0
"""How long a connection to another node may take to come about, in seconds."""
CALLED_MS, CALLING_MS = 30_000, 4_000
"""After so many milliseconds without an answer of its system the other machine counts as gone: for
those who are called, and for those who call and wait (``TCP_USER_TIMEOUT``, RFC 5482). It counts
so too if it takes no data for so long, which those who are called do not always read at once."""
_PROBES = {"TCP_KEEPIDLE": 2, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 2}
"""When a silent connection is probed, in seconds (RFC 9293, 3.8.4)."""


def node_folder() -> Path | None:
    """Return the folder of the certificates; None where nothing listens for other nodes.

    Raises EngineError where the folder that the engine names lacks one of them.
    """
    named = os.environ.get(NODE_TLS)
    if not named:
        return None
    return _complete(Path(named))


def server_tls() -> ssl.SSLContext | None:
    """Return what listeners for other nodes speak; None where nothing listens for them."""
    folder = node_folder()
    return None if folder is None else _server(folder)


def client_tls() -> ssl.SSLContext | None:
    """Return what connections to other nodes speak, to the name ``NAME``; None likewise."""
    folder = node_folder()
    return None if folder is None else _client(folder)


def of_server(tls: ssl.SSLContext | None) -> dict[str, Any]:
    """Return arguments of asyncio's ``create_server`` for what a listener speaks."""
    if tls is None:
        return {}
    return {"ssl": tls, "ssl_handshake_timeout": _HANDSHAKE_S, "ssl_shutdown_timeout": _CLOSE_S}


def of_client() -> dict[str, Any]:
    """Return arguments of asyncio's ``create_connection`` for a connection to another node."""
    tls = client_tls()
    return of_server(tls) | ({} if tls is None else {"server_hostname": NAME})


def far_address(host: str, port: int) -> str:
    """Return the address of a port as ``Reach`` has it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def probed(patience: int) -> list[tuple[int, int, int]]:
    """Return options of a TCP socket by which a machine that is gone is noticed.

    That takes ``patience`` milliseconds, and not much longer. Accepted sockets have the options of
    their listener (tcp(7)).
    """
    options = _PROBES | {"TCP_USER_TIMEOUT": patience}
    return [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        *(
            (socket.IPPROTO_TCP, getattr(socket, name), value)
            for name, value in options.items()
            if hasattr(socket, name)  # not on every system
        ),
    ]


def probe(connection: socket.socket, patience: int) -> None:
    """Set these options of a socket; nothing for one that is not of TCP."""
    if connection.family != socket.AF_UNIX:
        for option in probed(patience):
            connection.setsockopt(*option)


@cache
def _complete(folder: Path) -> Path:
    for name in (AUTHORITY, NODE):
        if not os.access(folder / name, os.R_OK):
            raise EngineError(f"variable {NODE_TLS}: file {folder / name} cannot be read")
    return folder


@cache
def _server(folder: Path) -> ssl.SSLContext:
    context = _context(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), folder)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0  # connections last; nothing is resumed
    return context


@cache
def _client(folder: Path) -> ssl.SSLContext:
    return _context(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), folder)


def _context(context: ssl.SSLContext, folder: Path) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(folder / AUTHORITY)
    context.load_cert_chain(folder / NODE)
    return context
