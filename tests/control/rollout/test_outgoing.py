from __future__ import annotations

import asyncio
import gzip
import os
import socket
from ipaddress import ip_address
from typing import Any

import pytest

from anabranch.components import peers
from anabranch.control.rollout.outgoing import Caller, OutgoingReply
from tests.control.web import Answer, running


def call(
    url: str, method: str = "POST", timeout: float = 5.0, most: int = 100, **how: Any
) -> OutgoingReply:
    async def once() -> OutgoingReply:
        caller = Caller(timeout)
        try:
            return await caller.call("POST", url, most, **how)
        finally:
            await caller.close()

    return asyncio.run(once())


def test_a_call_and_its_reply() -> None:
    with running(lambda _: Answer(201, b"made")) as web:
        reply = call(f"{web.url}/hook?a=1", json={"x": [1, "é"]})
    assert (reply.status, reply.body, reply.cut, reply.ok) == (201, b"made", False, True)
    (asked,) = web.asked
    assert (asked.method, asked.path, asked.query) == ("POST", "/hook", {"a": "1"})
    assert asked.json == {"x": [1, "é"]}
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["user-agent"] == "anabranch"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    with running() as other, running() as web:
        web.answer = lambda _: Answer(status, headers={"location": f"{other.url}/in"})
        reply = call(f"{web.url}/hook")
    assert (reply.status, reply.ok) == (status, False)
    assert not other.asked


@pytest.mark.parametrize("status", [199 + 1, 299, 300, 400, 404, 500, 503])
def test_only_2xx_is_ok(status: int) -> None:
    with running(lambda _: Answer(status, b"why")) as web:
        reply = call(web.url)
    assert (reply.status, reply.ok) == (status, 200 <= status < 300)
    assert str(reply) == f"status {status}: why"


def test_a_reply_without_body_is_told_by_its_status() -> None:
    assert str(OutgoingReply(503)) == "status 503"
    assert str(OutgoingReply(503, b"x" * 300)) == f"status 503: {'x' * 200}"
    assert str(OutgoingReply(500, b"\xff\0")) == "status 500: \N{REPLACEMENT CHARACTER}\0"


def test_a_body_is_read_up_to_a_bound() -> None:
    with running(lambda _: Answer(200, b"x" * 1_000_000)) as web:
        reply = call(web.url, most=100)
    assert (reply.body, reply.cut) == (b"x" * 100, True)


def test_a_packed_body_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(10**6))
    answer = Answer(200, bomb, {"content-encoding": "gzip"})
    with running(lambda _: answer) as web:
        reply = call(web.url, most=10_000)
    assert reply.body == bomb
    assert web.asked[0].headers["accept-encoding"] == "identity"


def test_a_name_that_leads_to_metadata_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a name led to when it was allowed: the address that answers counts."""
    monkeypatch.setattr(peers, "_METADATA", frozenset({ip_address("127.0.0.1")}))
    with running(lambda _: Answer(200, b"secret")) as web:
        reply = call(web.url)
    assert reply == OutgoingReply(
        None,
        error="127.0.0.1 leads to 127.0.0.1, an address of link-local and metadata services",
    )


def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        reply = call(f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert (reply.status, reply.ok) == (None, False)
    assert str(reply).startswith("unreachable: ")


def test_nobody_answers() -> None:
    with running() as web:
        web.answer = web.hang
        reply = call(web.url, timeout=0.1)
    assert (reply.status, reply.error) == (None, "no answer within 0.1 s")


def test_a_body_that_drips_takes_no_longer_than_the_time_limit() -> None:
    with running(lambda _: Answer(200, b"x" * 50, drip=0.05)) as web:
        reply = call(web.url, timeout=0.2)
    assert reply.error == "no answer within 0.2 s"


@pytest.mark.parametrize("url", ["", "http://", "ftp://x/", "http://[::1", "http://a:b/"])
def test_what_is_no_url_is_unreachable(url: str) -> None:
    assert call(url).status is None


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as proxy, running() as web:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setitem(os.environ, name, proxy.url)
        assert call(web.url).ok
        assert not proxy.asked


def test_a_caller_goes_on_after_it_was_closed() -> None:
    async def twice(url: str) -> list[OutgoingReply]:
        caller = Caller()
        await caller.close()
        found = []
        for _ in range(2):
            found.append(await caller.call("GET", url, 10))
            await caller.close()
        return found

    with running() as web:
        assert [reply.status for reply in asyncio.run(twice(web.url))] == [200, 200]
