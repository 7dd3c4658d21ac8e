"""A client cannot tell by the answer which way a call has taken behind the edge."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.router.grpc.messages import path
from tests.examples import examples
from tests.router.conftest import uvloop_running
from tests.router.grpc.test_lean_calls import MADE_UP, damaged, ids, make_echo, metadata, requests
from tests.serve.edge.http2 import Connection, Reply, connected, framed
from tests.serve.edge.routers import Router, served_graphs
from tests.serve.edge.servers import needs_haproxy

pytestmark = needs_haproxy
UNUSUAL = [
    (),
    (("grpc-timeout", "20S"),),
    (("grpc-timeout", "nonsense"),),
    (("grpc-timeout", ""),),
    (("grpc-timeout", "100000000S"),),
    (("grpc-timeout", "20S"), ("grpc-timeout", "30S")),
    (("grpc-encoding", "identity"),),
    (("grpc-encoding", "gzip"),),
    (("grpc-encoding", "deflate"),),
    (("grpc-encoding", "identity,gzip"),),
    (("grpc-encoding", "nonsense"),),
    (("content-type", "text/plain"),),
    (("content-type", "application/grpc+proto"),),
    (("x-a", "b" * 9000),),
    (("user-agent", "me"),),
    (("x-a-bin", "AAA"),),
    (("expect", "100-continue"),),
    (("grpc-previous-rpc-attempts", "1"),),
    ((":path", path("ModelInfer") + "?x"),),
]


@dataclass
class Ways:
    run: Callable[[Coroutine[Any, Any, Any]], Any]
    edge: Connection
    front: Connection
    router: Router

    def both(self, body: bytes, *headers: tuple[str, str]) -> tuple[Reply, Reply]:
        """What the edge answers, and what the front does that stands alone, as it did before."""
        return tuple(self.run(way.call(body, *headers)) for way in (self.edge, self.front))


@pytest.fixture(scope="module", params=[True, False], ids=["again", "once"])
def ways(request: pytest.FixtureRequest) -> Iterator[Ways]:
    with uvloop_running() as run:
        stack = AsyncExitStack()

        async def enter() -> Ways:
            graphs = {"demo": make_echo(request.param)}
            at, routers = await stack.enter_async_context(served_graphs(graphs))
            edge = await stack.enter_async_context(connected(at.site.grpc))
            front = await stack.enter_async_context(connected(at.front_port))
            return Ways(run, edge, front, routers["demo"])

        try:
            yield run(enter())
        finally:
            run(stack.aclose())


def told(reply: Reply) -> Any:
    """What a client's library makes of a reply; a made-up request id is any."""
    assert reply.headers.get(":status") == "200", reply
    found = {**reply.headers, **reply.trailers}
    found.pop("grpc-accept-encoding", None)
    found.pop("grpc-message", None)
    details = reply.details
    if len(made := found.get("x-request-id", "")) == MADE_UP:
        details = details.replace(made, "")
        found["x-request-id"] = "made up"
    return reply.code, details, found, None if reply.code else reply.body


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """One message, or nearly."""
    message = draw(st.one_of(requests(), requests(), damaged))
    if len(message) > 2**16:
        message = b""
    pack = draw(st.sampled_from([None, None, None, gzip.compress, zlib.compress]))
    is_packed = pack is not None or draw(st.sampled_from([False] * 4 + [True]))
    body = framed(message if pack is None else pack(message), flag=is_packed)
    cut = draw(st.sampled_from([None, None, None, None, None, 0, 3, 5, -1]))
    more = draw(st.sampled_from([b"", b"", b"", b"", b"x", body, framed(b"")]))
    return (body + more)[:cut]


@settings(max_examples=examples(100), deadline=None)
@given(body=bodies(), metadata=metadata, id=ids, unusual=st.sampled_from(UNUSUAL))
def test_a_client_cannot_tell_the_ways_apart(
    ways: Ways, body: bytes, metadata: list[tuple[str, str]], id: str, unusual: Any
) -> None:
    edge, front = ways.both(body, ("x-request-id", id), *metadata, *unusual)
    assert told(edge) == told(front)


def test_good_calls_have_taken_the_lean_way(ways: Ways) -> None:
    before = len(ways.router.seen)
    edge, front = ways.both(framed(b"\x0a\x04demo"), ("x-request-id", "r"))
    assert told(edge) == told(front)
    assert len(ways.router.seen) == before + 1


@pytest.mark.parametrize(("pack", "coding"), [(gzip.compress, "deflate"), (zlib.compress, "gzip")])
def test_a_message_that_is_packed_otherwise_than_its_call_says(
    ways: Ways, pack: Callable[[bytes], bytes], coding: str
) -> None:
    before = len(ways.router.seen)
    body = framed(pack(b"\x0a\x04demo"), flag=1)
    edge, front = ways.both(body, ("x-request-id", "r"), ("grpc-encoding", coding))
    assert (edge.code, edge.details) == (front.code, front.details)
    assert len(ways.router.seen) == before


@pytest.mark.parametrize(
    "harm",
    [
        lambda packed: packed[:-1],
        lambda packed: packed + b"x",
        lambda packed: packed * 2,
        lambda packed: packed[:-1] + bytes((packed[-1] ^ 1,)),
    ],
    ids=["cut", "more", "twice", "wrong"],
)
@pytest.mark.parametrize(("pack", "coding"), [(gzip.compress, "gzip"), (zlib.compress, "deflate")])
def test_a_packed_message_that_is_damaged_fails_alike(
    ways: Ways, pack: Callable[[bytes], bytes], coding: str, harm: Callable[[bytes], bytes]
) -> None:
    before = len(ways.router.seen)
    body = framed(harm(pack(b"\x0a\x04demo")), flag=1)
    edge, front = ways.both(body, ("x-request-id", "r"), ("grpc-encoding", coding))
    assert (edge.code, edge.details) == (front.code, front.details)
    assert edge.code
    assert len(ways.router.seen) == before + 1
