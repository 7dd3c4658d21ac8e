"""HAProxy's rules by which it refuses what a router has no time even to refuse.

A router whose event loop is overloaded says in its replies how many requests it may have under way.
HAProxy keeps that for a moment, and refuses requests beyond it, which costs the router nothing. It
tells the router what the router cannot see: how many requests wait in sockets, and whether many are
refused. Routers of a graph have the same limit, told by the one that has answered last.
"""

from __future__ import annotations

from grpc import StatusCode

from anabranch.errors import Unavailable
from anabranch.router.admission.turns import FEW
from anabranch.router.grpc.messages import SERVICE
from anabranch.router.grpc.seldon import messages as seldon
from anabranch.router.http.lean_head import IN_FLIGHT, REFUSING
from anabranch.router.http.lean_state import LIMIT
from anabranch.serve.edge.replies import page, status

LIMITS, REFUSALS = "limits", "refusals"
"""Backends without servers that hold tables by backend: of limits, and of what was refused."""
HOLDS_S = 1
"""How long a limit holds after it was told last, in seconds."""
COUNTED_S = 1
"""How long a refusal counts among those of which the router is told, in seconds."""
ROUND = 16
"""Requests in flight are told in multiples of so many, so that few heads differ."""
_MESSAGE = "the router of the graph gets more requests than its processor can take; try again later"
_IS_LIMITED = "{ var(txn.most) -m int gt 0 }"
_IS_OVER = f"{_IS_LIMITED} {{ be_conn,sub(txn.most) gt 0 }}"
_SERVICES = f"/{SERVICE}/ /{seldon.SELDON}/"
_GRPC = f"{{ path_beg {_SERVICES} }}"
_HTTP = f"METH_POST !{_GRPC} !{{ path_end /feedback }}"
_TOLD = f"if {{ res.hdr({LIMIT.decode()}) -m found }}"


def tables(slots: int) -> dict[str, list[str]]:
    """Return the lines of the backends that hold the tables."""
    return {
        LIMITS: [f"stick-table type integer size {slots} expire {HOLDS_S}s store gpt0"],
        # All are in gpc0, those over gRPC in gpc1, too.
        REFUSALS: [
            f"stick-table type integer size {slots} store gpc0,gpc0_rate({COUNTED_S}s),gpc1"
        ],
    }


def refusal_rules() -> list[str]:
    """Return the rules of a graph's backend."""
    counted = f"track-sc2 be_id table {REFUSALS} if"
    return [
        "http-request set-var(txn.up) nbsrv",
        "http-request set-var(txn.each) be_conn,div(txn.up)",
        f"http-request set-header {IN_FLIGHT.decode()} %[var(txn.each),div({ROUND}),mul({ROUND})]"
        f" if {{ var(txn.each) -m int ge {ROUND} }}",
        f"http-request set-var(txn.most) be_id,table_gpt0({LIMITS}),mul(txn.up)",
        f"http-request set-var(txn.rate) be_sess_rate if {_IS_LIMITED}",
        f"http-request set-header {REFUSING.decode()} 1 if {_IS_LIMITED}"
        f" {{ be_id,table_gpc0_rate({REFUSALS}),mul({FEW}),sub(txn.rate) gt 0 }}",
        f"http-request {counted} {_IS_OVER}",
        f"http-request sc-inc-gpc0(2) if {_IS_OVER}",
        f"http-request sc-inc-gpc1(2) if {_IS_OVER} {_GRPC}",
        f"http-request return {page(Unavailable(_MESSAGE))} if {_IS_OVER} {_HTTP}",
        f"http-request return status 503 {status(StatusCode.UNAVAILABLE, _MESSAGE)}"
        f" if {_IS_OVER} {_GRPC}",
        f"http-response track-sc2 be_id table {LIMITS} {_TOLD}",
        f"http-response sc-set-gpt0(2) res.hdr({LIMIT.decode()}) {_TOLD}",
        f"http-response del-header {LIMIT.decode()}",
    ]
