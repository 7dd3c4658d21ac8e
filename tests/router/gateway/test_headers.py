"""What of a request reaches a router, and of an answer its client; and what must not."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.errors import InvalidRequest
from anabranch.router.gateway.forwarding import Forwarder
from anabranch.router.gateway.headers import answer_headers
from anabranch.router.http.app import StreamedReply
from anabranch.router.http.request import HttpRequest
from anabranch.router.limits import RequestLimits
from tests.examples import examples
from tests.router.control import FakeControl
from tests.router.gateway.scripted import (
    INFER,
    Asked,
    Peer,
    ScriptedRouter,
    head,
    ok,
    routed,
    run,
)


def test_nothing_is_added_that_a_client_did_not_send() -> None:
    async def main() -> None:
        async with routed(ok) as (_, client, routers):
            await client.raw(head("GET", "Connection: close"))
            await client.raw(f"GET {INFER} HTTP/1.0\r\n\r\n".encode())
            for asked, host in zip(routers[0].asked, ("h", ""), strict=True):
                assert sorted(name for name, _ in asked.headers) == ["host", "x-request-id"]
                assert asked.values("host") == [host]

    run(main())


def test_headers_of_one_connection_stay_there() -> None:
    async def script(asked: Asked, peer: Peer) -> None:
        await peer.reply(
            b"x", "200 OK", "connection: x-hop, keep-alive", "x-hop: 1", "keep-alive: timeout=5",
            "trailer: x", "date: then", "server: s", "x-request-id: theirs", "x-end: 1",
        )  # fmt: skip

    async def main() -> None:
        async with routed(script) as (_, client, routers):
            reply = await client.post(
                headers={
                    "connection": "x-Mine, Host , content-length, x-request-id",
                    "x-mine": "1",
                    "te": "trailers",
                    "keep-alive": "3",
                    "proxy-connection": "x",
                    "trailer": "x",
                    "expect": "100-continue",
                    "x-end": "1",
                }
            )
            names = {name for name, _ in routers[0].asked[0].headers}
            assert names & {"host", "content-length", "x-request-id", "x-end"} == {
                "host", "content-length", "x-request-id", "x-end",
            }  # fmt: skip
            hops = {"x-mine", "te", "keep-alive", "proxy-connection", "trailer", "connection"}
            assert not names & {*hops, "expect"}
            assert routers[0].asked[0].body == b"{}"
            assert not {"x-hop", "keep-alive", "trailer"} & set(reply.headers)
            assert reply.headers.get_list("date")[0] != "then"
            assert len(reply.headers.get_list("date")) == 1
            assert reply.headers["x-end"] == "1"
            assert reply.headers["x-request-id"] != "theirs"

    run(main())


NAMES = st.sampled_from(
    [b"connection", b"te", b"upgrade", b"x-a", b"x-b", b"content-type", b"vary"]
)


VALUES = st.sampled_from([b"x-a", b"x-b, X-A", b"close", b"content-type,,", b"", b"\xe4"])


@given(st.lists(st.tuples(NAMES, VALUES)))
def test_of_headers_those_that_connection_names_are_left_out(
    headers: list[tuple[bytes, bytes]],
) -> None:
    found = answer_headers([(name.title(), value) for name, value in headers])
    named = b",".join(value for name, value in headers if name == b"connection").lower()
    options = {option.strip() for option in named.split(b",")}
    expected = [
        (name, value)
        for name, value in headers
        if name not in (b"connection", b"te", b"upgrade") and name not in options
    ]
    assert list(found) == expected


async def forwarded(
    address: str, method: str, raw_path: bytes, query: bytes, headers: list[tuple[bytes, bytes]]
) -> int:
    """Status of a request whose bytes no server has looked at."""
    control = FakeControl()
    forwarder = Forwarder(control, RequestLimits())
    forwarder.start()
    scope = {
        "type": "http", "method": method, "path": "/v2/models/demo", "raw_path": raw_path,
        "query_string": query, "headers": headers,
    }  # fmt: skip
    first = iter([{"type": "http.request", "body": b"body"}])

    async def receive() -> Any:
        return next(first, None) or await asyncio.Event().wait()

    try:
        await control.know(demo=(address,))
        answer = await forwarder.forward("demo", HttpRequest(scope, receive))
        assert isinstance(answer, StreamedReply)
        await answer.rest.aclose()
        return answer.status
    finally:
        await forwarder.close()


TEXT = st.binary(max_size=12) | st.sampled_from(
    [b"\r\nx: y", b"\n\n", b" HTTP/1.1\r\nhost: a\r\n\r\nGET /", b"0\r\n\r\n", b"\x00"]
)


@settings(max_examples=examples(60), deadline=None)
@given(
    st.sampled_from(["GET", "POST", "PO\r\nST", "G ET", ""]),
    TEXT,
    TEXT,
    st.lists(st.tuples(st.just(b"x-") | st.just(b"transfer-encoding") | TEXT, TEXT), max_size=2),
)
def test_no_bytes_make_two_requests_of_one(
    method: str, path: bytes, query: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    async def main() -> None:
        async with ScriptedRouter(ok) as router:
            try:
                status = await forwarded(
                    router.address, method, b"/v2/models/demo" + path, query, headers
                )
            except InvalidRequest:
                assert router.asked == []
                return
            assert status == 200
            (asked,) = router.asked
            assert (asked.method, asked.body) == (method, b"body")
            assert {name for name, _ in asked.headers} <= {
                "host", "content-length", "x-request-id",
                *(name.decode("latin-1").lower() for name, _ in headers),
            }  # fmt: skip

    run(main())
