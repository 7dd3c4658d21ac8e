"""HAProxy's frontend for gRPC: which calls go to routers, and the errors that HAProxy tells itself.

ModelInfer goes to the routers of the graph that the message names, and Seldon's Predict to those of
the graph that the call's metadata name, as HTTP/1.1, if one whole message is in HAProxy's buffer,
or the start of a larger one, and nothing about the call is unusual. Of a message that is packed,
the start is unpacked for its name, by a few lines of Lua. All other calls go to the front, which
speaks gRPC itself: other methods, streams, graphs without routers, and calls that are malformed.
So a client cannot tell the two ways apart, but for a text about a damaged packing, and several
members of gzip in one message, which routers take.

HAProxy has no pings of HTTP/2, so TCP finds clients that have gone. A status of HAProxy's own is a
reply of headers only (gRPC's PROTOCOL-HTTP2, Trailers-Only), of HTTP status 200: clients go by
``grpc-status`` then, not by the meaning of an HTTP status.
"""

from __future__ import annotations

from pathlib import Path

from grpc import StatusCode

from anabranch.names import DEFAULT_NAMESPACE
from anabranch.router.grpc.calls import SIZE
from anabranch.router.grpc.framing import PREFIX
from anabranch.router.grpc.messages import methods_of_one_message, path
from anabranch.router.grpc.seldon import messages as seldon
from anabranch.serve.edge.clients import UNNAMED, client_rules
from anabranch.serve.edge.counting import refused
from anabranch.serve.edge.crowding import (
    GRPC_SOURCES,
    ConnectionLimits,
    caller_rules,
    source_rules,
    too_many,
)
from anabranch.serve.edge.listener import GRPC
from anabranch.serve.edge.replies import status as status_headers
from anabranch.serve.edge.routes import FRONT_BACKEND, RETRY
from anabranch.serve.edge.tls.binding import HANDSHAKE_S, bound
from anabranch.serve.edge.tls.in_force import InForce

MAX_CALLS = 1024
"""Calls of both in progress at a time, of which one source may have half; also calls of any
kind on one connection."""
BUFFER = 72 * 2**10
"""Bytes of a request that HAProxy holds: its headers must fit, and a small body does."""
_LARGEST = 2**32 - 1
"""Bytes of the largest message that gRPC can have."""
MAX_HEADERS = 8192
"""Most bytes of headers of a call that goes to a router: gRPC's own server judges others."""
MESSAGE_S = 8
"""Time that a client may take to send a message, as far as it fits into the buffer, in seconds."""
START_S = 10
"""Time that a client may take from its connection to its first call, in seconds."""
IDLE_S = 300
"""Time that a connection may have no call, in seconds."""
_FOREVER = "24d"
"""A call takes as long as its client and its graph let it."""

_STATUSES = {
    400: (StatusCode.INTERNAL, "the call cannot be read"),
    408: (StatusCode.DEADLINE_EXCEEDED, "the message did not arrive within {MESSAGE_S}s"),
    500: (StatusCode.INTERNAL, "the edge failed"),
    502: (StatusCode.UNAVAILABLE, "the router ended before it answered; try again"),
    503: (StatusCode.UNAVAILABLE, "no replica can take the call now; try again later"),
    504: (StatusCode.DEADLINE_EXCEEDED, "the router did not answer in time"),
}
"""Status that a client is told in place of an HTTP status."""
_FULL = f"{MAX_CALLS} calls are in progress, the most that may pass; try again later"
_TOLD = "if { res.hdr(grpc-status) -m found }"
UNPACKED = Path(__file__).with_name("unpacked.lua")
"""File of what HAProxy has as ``lua.unpacked``: the start of a packed message."""
_PACKED = 2**32
"""The first five bytes as one number, of a packed message without a byte."""
_USUAL = (
    "METH_POST { req.hdr(content-type) application/grpc application/grpc+proto }"
    " one-message usual-coding"
    f" in-time !{{ req.fhdr_cnt(grpc-timeout) gt 1 }} {{ req.hdrs,length le {MAX_HEADERS} }}"
)
"""Conditions under which a call goes to a router.

The first five bytes are a flag and a size: as one number, that is the size of the rest of a body of
one message, and ``_PACKED`` more if the message is packed. The router sees whether that holds for a
message that is larger than the buffer.
"""
_ROUTED = "if { var(txn.route) -m found }"


def grpc_frontend(routes_map: str, connections: ConnectionLimits, tls: InForce | None) -> list[str]:
    """Return the lines of the frontend; ``routes_map`` names the file of the map of graphs.

    A reply waits here until it is complete, or as long as the buffer. Then a router that died once
    it had begun to answer has left no message, and the client is told of it.
    """
    return [
        # With "proto h2", a connection that sends nothing would be kept as long as a call.
        f'bind "fd@${{{GRPC}}}"{bound("h2", tls)}',
        f"timeout client {_FOREVER if tls is None else f'{HANDSHAKE_S}s'}",
        f"timeout http-request {START_S}s",
        f"timeout http-keep-alive {IDLE_S}s",
        "option clitcpka",
        "clitcpka-idle 60s",
        "clitcpka-intvl 5s",
        "clitcpka-cnt 2",
        "option http-no-delay",
        *(_error(status) for status in _STATUSES),
        "http-request reject if !HTTP_2.0",
        f"maxconn {connections.total}",
        *source_rules(
            "grpc",
            GRPC_SOURCES,
            connections,
            f"status 429 {status_headers(StatusCode.RESOURCE_EXHAUSTED, too_many(connections))}",
        ),
        *client_rules(
            "grpc",
            f"status 403 {status_headers(StatusCode.PERMISSION_DENIED, UNNAMED)}",
            tls is not None and tls.verifies,
        ),
        "stick-table type integer size 1 store conn_cur",
        f"acl infer pathq {path('ModelInfer')} {seldon.path('Predict')}",
        f"acl by-metadata pathq {seldon.path('Predict')}",
        f"acl in-namespace req.fhdr({seldon.NAMESPACE}) -m found",
        f"acl in-default req.fhdr({seldon.NAMESPACE}) -m str {DEFAULT_NAMESPACE}",
        f"acl once pathq {' '.join(_of_one_message())}",
        "acl in-time req.fhdr_cnt(grpc-timeout) eq 0",
        "acl in-time req.fhdr(grpc-timeout) -m reg ^[1-9][0-9]{0,7}[HMSmun]$",
        *caller_rules("infer", MAX_CALLS // 2, _many(MAX_CALLS // 2)),
        "http-request track-sc0 int(1) if infer",
        *refused(
            "grpc",
            "overload",
            f"status 503 {status_headers(StatusCode.UNAVAILABLE, _FULL)}",
            f"if infer {{ sc0_conn_cur gt {MAX_CALLS} }}",
        ),
        f"http-request wait-for-body time {MESSAGE_S}s if once",
        "http-request set-var(txn.size) req.body,bytes(0,5),hex,hex2i,add(5) if once",
        f"acl packed var(txn.size) -m int {_PACKED + PREFIX}:{_PACKED + _LARGEST}",
        "http-request set-var(txn.length) var(txn.size) if once",
        f"http-request set-var(txn.length) var(txn.size),sub({_PACKED}) if packed",
        "acl one-message req.body_size,sub(txn.length) eq 0",
        f"acl one-message var(txn.length) -m int {BUFFER}:{_LARGEST}",
        f"acl gzipped req.body,bytes({PREFIX},3) -m bin 1f8b08",
        "http-request set-var(txn.coding) bool(true)"
        " if !packed !{ req.fhdr(grpc-encoding) -m found }"
        " or !packed { req.fhdr(grpc-encoding) gzip deflate }"
        " or packed gzipped { req.fhdr(grpc-encoding) gzip }"
        " or packed !gzipped { req.fhdr(grpc-encoding) deflate }",
        "acl usual-coding var(txn.coding) -m found",
        f"http-request set-var(txn.route) req.body,bytes({PREFIX}),protobuf(1)"
        f",map_str({routes_map}) if infer !by-metadata !packed {_USUAL}",
        "http-request set-var(txn.route) lua.unpacked,protobuf(1)"
        f",map_str({routes_map}) if infer !by-metadata packed {_USUAL}",
        f"http-request set-var(txn.graph) req.fhdr({seldon.NAME}) if by-metadata",
        f"http-request set-var(txn.graph) req.fhdr({seldon.NAMESPACE}),concat(/,txn.graph)"
        " if by-metadata in-namespace !in-default",
        f"http-request set-var(txn.route) var(txn.graph),map_str({routes_map})"
        f" if by-metadata {_USUAL}",
        f"http-request set-header {SIZE} %[var(txn.size)] if once !{{ var(txn.route) -m found }}",
        f"http-request disable-l7-retry if !{{ var(txn.route) -m end {RETRY} }}",
        f"use_backend %[var(txn.route),field(1,:)] {_ROUTED}",
        f"default_backend {FRONT_BACKEND}",
        f"http-response wait-for-body time {_FOREVER} {_ROUTED}",
        f"http-response return status 502 {status_headers(*_STATUSES[502])}"
        f" {_ROUTED} {{ res.body_size eq 0 }}",
        f"http-after-response set-status 200 {_TOLD}",
        f"http-after-response set-header content-type application/grpc {_TOLD}",
        f"http-after-response del-header content-length {_TOLD}",
    ]


def _of_one_message() -> list[str]:
    """Return the paths of methods that take one message."""
    own = map(path, methods_of_one_message())
    return [*own, *map(seldon.path, seldon.methods())]


def _many(calls: int) -> str:
    text = f"this address has more than {calls} calls in progress, the limit of one source; "
    told = status_headers(StatusCode.RESOURCE_EXHAUSTED, text + "try again later")
    return f"status 429 {told}"


def _error(status: int) -> str:
    code, message = _STATUSES[status]
    return f"http-error status {status} {status_headers(code, message.format(MESSAGE_S=MESSAGE_S))}"
