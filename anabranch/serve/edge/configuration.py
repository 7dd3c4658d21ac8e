"""The configuration file of the edge's HAProxy, and the pages that HAProxy answers by itself.

HAProxy runs in the folder of its files, so the configuration holds no paths. The listening sockets
are the owner's, and their numbers come by the environment: the text is the same for every process
that has the same task, but for the servers, which hold at its start and change at run time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from anabranch.errors import (
    DeadlineExceeded,
    Forbidden,
    InvalidRequest,
    TooManyRequests,
    Unavailable,
)
from anabranch.router.between_nodes import CONNECT_S
from anabranch.router.errors import SlowBody
from anabranch.serve.edge.clients import UNNAMED, client_rules
from anabranch.serve.edge.counting import REFUSED, counted
from anabranch.serve.edge.counting import table as refusal_table
from anabranch.serve.edge.crowding import (
    GRPC_CALLERS,
    GRPC_SOURCES,
    HTTP_SOURCES,
    ConnectionLimits,
    idle_rule,
    source_rules,
    sources,
    too_many,
)
from anabranch.serve.edge.graph_paths import GRAPH, graph_rules
from anabranch.serve.edge.grpc_frontend import BUFFER, MAX_CALLS, UNPACKED, grpc_frontend
from anabranch.serve.edge.listener import HTTP, EdgeAddress
from anabranch.serve.edge.refusing import refusal_rules, tables
from anabranch.serve.edge.replies import EdgeError, form_rules, page
from anabranch.serve.edge.routes import (
    FOREVER_S,
    FRONT_BACKEND,
    GATEWAY_BACKEND,
    RETRY,
    UNASKED_BACKEND,
    backend_of_slot,
)
from anabranch.serve.edge.tls.binding import bound, terms
from anabranch.serve.edge.tls.in_force import InForce
from anabranch.serve.edge.tls.routers import read_at_start

CONFIGURATION = "haproxy.cfg"
ROUTES_MAP = "routes.map"
STATS_SOCKET = "admin.sock"
MAX_HEADERS = 1000
"""Most headers of a request or a reply; their size is limited by the buffer."""
REQUEST_S = 8
"""Time that a client may take to send a request, as far as it fits into the buffer, in seconds."""
IDLE_S = 600
"""Time that a client's connection may lie idle between two requests, in seconds."""
STOP_S = 3
"""Time that requests under way have when HAProxy is to end, in seconds."""

_PAGES = (
    InvalidRequest(
        "the request cannot be read: it is malformed, it stops in the middle, it has no Host, or "
        "its headers are too large"
    ),
    SlowBody(f"the request did not arrive within {REQUEST_S}s"),
    EdgeError("edge", "the edge failed", 500),
    EdgeError("edge", "the replica ended before it had answered", 502),
    Unavailable("no replica can take the request now; try again later"),
    DeadlineExceeded("the replica did not answer in time"),
)
"""Errors with which HAProxy answers by itself."""
_HOSTLESS = "if HTTP_1.1 !{ req.hdr_cnt(host) gt 0 }"
_ROUTERS = "routers"
"""Name of the defaults of the graphs' backends."""
_INDENT = "    "
_SERVER = f"{_INDENT}server "
_MOST_THREADS = 4


@dataclass(frozen=True)
class EdgeOptions:
    """``threads`` of HAProxy, which are one a processor and at most four unless told otherwise, and
    ``slots``: the most graphs that have routers at the edge.

    ``connections``: the most of clients. ``tls``: the certificates of both ports, which speak
    nothing but TLS then. ``nodes``: the folder of the certificates with which routers on other
    nodes are asked.
    """

    threads: int = field(default_factory=lambda: min(_MOST_THREADS, os.cpu_count() or 1))
    slots: int = 1024
    connections: ConnectionLimits = field(default_factory=ConnectionLimits)
    tls: InForce | None = None
    nodes: Path | None = None


def configuration(
    options: EdgeOptions, address: EdgeAddress, servers: Mapping[tuple[str, str], str]
) -> str:
    """Return the text of the file.

    ``servers`` are addresses, with keywords, by backend and name of the server.
    """
    lines: dict[str, list[str]] = {}
    for (backend, name), server in servers.items():
        lines.setdefault(backend, []).append(f"{_SERVER}{name} {server}")
    slots = [backend_of_slot(number) for number in range(options.slots)]
    sections = [
        f"# The edge's HAProxy on {address.host}, ports {address.http} and {address.grpc}",
        _section("global", _global(options)),
        _section("defaults all", _defaults()),
        _section(f"defaults {_ROUTERS} from all", [_deadline(), *refusal_rules()]),
        *(
            _section(f"backend {table} from all", sources())
            for table in (HTTP_SOURCES, GRPC_SOURCES, GRPC_CALLERS)
        ),
        *(
            _section(f"backend {table} from all", rows)
            for table, rows in {**tables(options.slots), REFUSED: refusal_table()}.items()
        ),
        _section(f"backend {UNASKED_BACKEND} from all", read_at_start(options.nodes)),
        _section("frontend http from all", _frontend(options)),
        _section(
            "frontend grpc from all",
            grpc_frontend(ROUTES_MAP, options.connections.grpc, options.tls),
        ),
        *(
            "\n".join([f"backend {one} from {defaults}", *lines.get(one, ())])
            for one, defaults in [
                (GATEWAY_BACKEND, "all"),
                (FRONT_BACKEND, "all"),
                *((slot, _ROUTERS) for slot in slots),
            ]
        ),
    ]
    return "\n".join([*sections, ""])


def without_servers(text: str) -> str:
    """Return a configuration without that part of it which changes at run time."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(_SERVER))


def _section(title: str, lines: list[str]) -> str:
    return "\n".join([title, *(_INDENT + line for line in lines)])


def _global(options: EdgeOptions) -> list[str]:
    return [
        f"maxconn {options.connections.total}",
        # Where the system grants fewer files, with as many connections as it grants.
        "no strict-limits",
        f"nbthread {options.threads}",
        "tune.stick-counters 4",
        f'lua-load-per-thread "{UNPACKED}"',
        f"tune.bufsize {BUFFER}",
        f"tune.http.maxhdr {MAX_HEADERS}",
        f"tune.h2.fe.max-concurrent-streams {MAX_CALLS}",
        f"tune.h2.be.max-concurrent-streams {MAX_CALLS}",
        f"hard-stop-after {STOP_S}s",
        f"stats socket unix@{STATS_SOCKET} mode 600 level admin",
        *terms(options.tls),
    ]


def _defaults() -> list[str]:
    """Return what holds for the frontends and for all backends.

    A request whose whole text is in the buffer is sent again to another server when its connection
    ends without an answer (RFC 9110, 9.2.2: where the request is idempotent; see the frontend).
    One that is not sent again is answered with 502 only where it is the first of its router's
    connection. Where that one had served others before, HAProxy closes the client's connection
    without a word, as a server may (RFC 9112, 9.3.1).
    Requests wait for an answer of the gateway or the front as long as it takes; keep-alive probes
    find routers whose machine has gone, within 5 s.
    """
    return [
        "mode http",
        f"timeout connect {CONNECT_S:.0f}s",
        f"timeout client {REQUEST_S}s",
        f"timeout server {FOREVER_S:.0f}s",
        "option abortonclose",
        "option srvtcpka",
        "srvtcpka-idle 2s",
        "srvtcpka-intvl 1s",
        "srvtcpka-cnt 2",
        "balance leastconn",
        "http-reuse always",
        "retries 3",
        "option redispatch 1",
        "retry-on conn-failure empty-response",
    ]


def _deadline() -> str:
    """Return the rule by which a router that does not answer by its graph's deadline is given up.

    The time counts from when the router has the request, and again from each part of an answer.
    Rewards have no deadline of the graph.
    """
    return "http-request set-timeout server var(txn.route),field(2,:) if !{ path_end /feedback }"


def _frontend(options: EdgeOptions) -> list[str]:
    """Return the rules by which requests over HTTP find their backend.

    HTTP/1.1 without Host is refused, as RFC 9112 (3.2) says.
    """
    connections, tls = options.connections, options.tls
    return [
        f'bind "fd@${{{HTTP}}}" proto h1{bound("http/1.1", tls)}',
        f"timeout http-request {REQUEST_S}s",
        f"timeout http-keep-alive {IDLE_S}s",
        "option http-buffer-request",
        "option http-ignore-probes",
        *form_rules(),
        *(f"http-error {page(error)}" for error in _PAGES),
        f"maxconn {connections.total - connections.grpc.total}",
        *source_rules(
            "http", HTTP_SOURCES, connections, page(TooManyRequests(too_many(connections)))
        ),
        idle_rule(connections),
        *client_rules("http", page(Forbidden(UNNAMED)), tls is not None and tls.verifies),
        counted("http", "unreadable", _HOSTLESS),
        f"http-request deny deny_status 400 {_HOSTLESS}",
        *graph_rules(),
        f"http-request set-var(txn.route) var({GRAPH}),map_str({ROUTES_MAP})"
        f" if {{ var({GRAPH}) -m found }}",
        "http-request disable-l7-retry"
        f" if !{{ method GET HEAD }} !{{ var(txn.route) -m end {RETRY} }}",
        "use_backend %[var(txn.route),field(1,:)] if { var(txn.route) -m found }",
        f"default_backend {GATEWAY_BACKEND}",
    ]
