"""HAProxy's rules against too many connections: of one source address, and in all.

A connection over HTTP/1.1 may lie idle for minutes between two requests while there are few. Beyond
half of a limit, the source's or that in all, each is closed with its reply. So idle connections
take no more than half of the places, and those that come later find one.

Connections over HTTP/2 carry many calls, and HAProxy 2.8 cannot close them so: gRPC has a quarter
of all places for itself, of which one source may take half. HAProxy's runtime API cannot close idle
connections either: it knows only those at work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from anabranch.serve.edge.counting import EdgeDoor, refused

HTTP_SOURCES, GRPC_SOURCES, GRPC_CALLERS = "http-sources", "grpc-sources", "grpc-callers"
"""Backends without servers that hold the tables of sources: of connections, one of each frontend,
and of calls in progress."""
SPARE = 64
"""Connections beyond its limit on which a source is told so; further ones are reset."""
_FILES_PER_CONNECTION = 2
_OTHER_FILES = 256


@dataclass(frozen=True)
class ConnectionLimits:
    """The most connections of clients in all, and those of one source address."""

    total: int = 4096
    per_source: int = 2048

    def within(self, files: int) -> Self:
        """Return limits that a process of so many files can hold, in the same proportion."""
        total = min(self.total, max(1, (files - _OTHER_FILES) // _FILES_PER_CONNECTION))
        return type(self)(total, max(1, self.per_source * total // self.total))

    @property
    def grpc(self) -> Self:
        """The part of gRPC."""
        total = max(1, self.total // 4)
        return type(self)(total, max(1, min(self.per_source, self.total // 2) // 4))


def sources() -> list[str]:
    """Return the lines of a backend for a table; an address of loopback is a source like others."""
    return ["stick-table type ipv6 size 256k expire 10s store conn_cur"]


def source_rules(door: EdgeDoor, table: str, limits: ConnectionLimits, refusal: str) -> list[str]:
    """Return the rules on sources; ``refusal`` is the reply to one over its limit."""
    return [
        f"tcp-request connection track-sc1 src table {table}",
        f"tcp-request connection reject if {_more(table, limits.per_source + SPARE)}",
        *refused(door, "limited", refusal, f"if {_more(table, limits.per_source)}"),
    ]


def caller_rules(condition: str, most: int, refusal: str) -> list[str]:
    """Return the rules on what one source may have in progress of the calls of a ``condition``."""
    is_over = f"{{ sc_conn_cur(3,{GRPC_CALLERS}) gt {most} }}"
    return [
        f"http-request track-sc3 src table {GRPC_CALLERS} if {condition}",
        *refused("grpc", "limited", refusal, f"if {condition} {is_over}"),
    ]


def idle_rule(limits: ConnectionLimits) -> str:
    """Return the rule that leaves no connection idle where there are many over HTTP/1.1."""
    return (
        "http-after-response set-header connection close"
        f" if {_more(HTTP_SOURCES, limits.per_source // 2)}"
        f" || {{ fe_conn gt {limits.total // 2} }}"
    )


def _more(table: str, connections: int) -> str:
    return f"{{ sc1_conn_cur({table}) gt {connections} }}"


def too_many(limits: ConnectionLimits) -> str:
    """Return what a source over its limit is told."""
    return (
        f"this address has more than {limits.per_source} connections, the limit of one source; "
        "use fewer, or try again later"
    )
