"""HAProxy's frontend for gRPC: which calls go to routers, and what it says of errors by itself.

ModelInfer goes to the routers of the graph that the message names, if the message is in HAProxy's
buffer as a whole and not compressed. All other calls go to the front: other methods, streams, large
or compressed messages, and graphs without routers. HAProxy turns a call to a router into HTTP/1.1
and its trailers back, and has no pings of HTTP/2 of its own, so TCP finds clients that have gone.

A status that HAProxy makes is a reply of headers only (gRPC's PROTOCOL-HTTP2, Trailers-Only), of
HTTP status 200: clients go by ``grpc-status`` then, not by what they take HTTP statuses for.
"""

from __future__ import annotations

from grpc import StatusCode

from anabranch.router.grpc.messages import path
from anabranch.serve.edge.listener import GRPC
from anabranch.serve.edge.routes import FRONT_BACKEND, RETRY

MAX_CALLS = 1024
"""Calls in progress at a time, of one connection and of all together."""
MESSAGE_S = 8
"""Time that a client may take to send the first bytes of a message, up to HAProxy's buffer, in
seconds."""
START_S = 10
"""Time that a client may take from its connection to its first call, in seconds."""
IDLE_S = 300
"""Time that a connection may have no call, in seconds."""

_STATUSES = {
    400: (StatusCode.INTERNAL, "the call cannot be read"),
    408: (StatusCode.DEADLINE_EXCEEDED, "the message did not arrive within {MESSAGE_S}s"),
    500: (StatusCode.INTERNAL, "the edge failed"),
    502: (StatusCode.UNAVAILABLE, "the router ended before it answered; try again"),
    503: (StatusCode.UNAVAILABLE, "no replica can take the call now; try again later"),
    504: (StatusCode.UNAVAILABLE, "the router did not answer in time"),
}
"""Status that a client is told in place of an HTTP status."""
_FULL = f"{MAX_CALLS} calls are in progress, the most that may pass; try again later"
_TOLD = "if { res.hdr(grpc-status) -m found }"


def grpc_frontend(routes_map: str) -> list[str]:
    """Return the lines of the frontend; ``routes_map`` names the file of the map of graphs.

    The time for a call is its client's, so none but the first is limited here.
    """
    infer = (
        f"METH_POST {{ path {path('ModelInfer')} }}"
        " { req.hdr(content-type) application/grpc application/grpc+proto }"
    )
    return [
        f'bind "fd@${{{GRPC}}}" proto h2',
        "timeout client 24d",
        f"timeout http-request {START_S}s",
        f"timeout http-keep-alive {IDLE_S}s",
        "option clitcpka",
        "clitcpka-idle 60s",
        "clitcpka-intvl 5s",
        "clitcpka-cnt 2",
        "option http-no-delay",
        *(_error(status) for status in _STATUSES),
        "stick-table type integer size 1 store conn_cur",
        "http-request track-sc0 int(1)",
        f"http-request return status 503 {_told(StatusCode.UNAVAILABLE, _FULL)}"
        f" if {{ sc0_conn_cur gt {MAX_CALLS} }}",
        f"http-request wait-for-body time {MESSAGE_S}s if {infer}",
        f"http-request set-var(txn.route) req.body,ungrpc(1),map_str({routes_map}) if {infer}",
        f"http-request disable-l7-retry if !{{ var(txn.route) -m end {RETRY} }}",
        "use_backend %[var(txn.route),field(1,:)] if { var(txn.route) -m found }",
        f"default_backend {FRONT_BACKEND}",
        f"http-after-response set-status 200 {_TOLD}",
        f"http-after-response set-header content-type application/grpc {_TOLD}",
        f"http-after-response del-header content-length {_TOLD}",
    ]


def _error(status: int) -> str:
    code, message = _STATUSES[status]
    return f"http-error status {status} {_told(code, message.format(MESSAGE_S=MESSAGE_S))}"


def _told(code: StatusCode, message: str) -> str:
    """Return the headers that tell a client a status; its message needs no encoding."""
    later = " hdr retry-after 1" if "later" in message else ""
    return f'hdr grpc-status {code.value[0]} hdr grpc-message "{message}"{later}'
