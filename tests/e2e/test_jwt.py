"""JWTs on a real engine: an issuer's keys change under load, and no request is refused for that."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from grpc import StatusCode

from anabranch.router.grpc.messages import path
from tests.access.oidc import AUDIENCE, Oidc, Signer, claims, oidc, signer
from tests.e2e.conftest import Given, node, spec
from tests.engines import HTTP as CLIENT
from tests.engines import Engine, actor_processes
from tests.router.grpc.conftest import infer_request
from tests.waiting import until

pytestmark = pytest.mark.e2e

NAME = "guarded"
CODE = """
class Same:
    def transform(self, x):
        return x
"""
POLICY = """
anonymous: []
issuers: [{{issuer: "{url}", audience: {audience}}}]
rules: [{{group: makers, role: invoker, graphs: [guarded]}}, {{subject: ops, role: viewer}}]
"""
HTTP, GRPC = 5, 3
EACH = 20
"""Requests that reach both routers of the graph."""
REFUSED = {"401", "429", *map(str, (StatusCode.UNAUTHENTICATED, StatusCode.RESOURCE_EXHAUSTED))}
"""The address of all clients here is told to wait when many tokens were wrong."""
OLD, NEW, NEVER = signer("old"), signer("new", 1), signer("never", 2)


@pytest.fixture
def server(given: Given, engine: Engine) -> Iterator[Oidc]:
    """An issuer that the engine trusts; nobody may do anything here without a token."""
    graph = spec(NAME, same=node("Same"))
    graph["spec"]["scaling"] = {"replicas": 2}
    given.deployed(graph, CODE)
    until(lambda: len(actor_processes(engine, f"ServeReplica:{NAME}:router")) == 2)
    with oidc(OLD) as one:
        put = engine.api("PUT", "/access", content=POLICY.format(url=one.url, audience=AUDIENCE))
        assert put.status_code == 200, put.text
        try:
            (issuer,) = put.json()["issuers"]
            assert issuer["keys"] == ["old"], issuer
            yield one
        finally:
            assert engine.api("PUT", "/access", content="").status_code == 200


def token(server: Oidc, by: Signer, **others: object) -> str:
    now = int(time.time())
    return by.token(claims(server.url, **{"nbf": now - 60, "exp": now + 600, **others}))


class Asking:
    """Ways to ask the graph, each with a token that it shows; what comes of it is a status."""

    def __init__(self, engine: Engine, channel: grpc.Channel) -> None:
        self._engine = engine
        self._infer = channel.unary_unary(path("ModelInfer"))
        self._message = infer_request(NAME).SerializeToString()

    def http(self, token: str) -> str:
        headers = {"authorization": f"Bearer {token}"}
        return str(self._engine.infer(NAME, headers=headers).status_code)

    def grpc(self, token: str) -> str:
        try:
            self._infer(self._message, metadata=[("authorization", f"Bearer {token}")], timeout=30)
        except grpc.RpcError as error:
            return str(error.code())
        return "200"


@pytest.fixture
def ask(engine: Engine) -> Iterator[Asking]:
    with grpc.insecure_channel(f"127.0.0.1:{engine.ports.grpc}") as channel:
        yield Asking(engine, channel)


@contextmanager
def asking(asks: list[Callable[[], str]]) -> Iterator[Counter[str]]:
    """Ask without a pause by several clients; what came of it."""
    found: Counter[str] = Counter()
    over = threading.Event()

    def run(ask: Callable[[], str]) -> None:
        while not over.is_set():
            found[ask()] += 1

    with ThreadPoolExecutor(len(asks)) as pool:
        running = [pool.submit(run, ask) for ask in asks]
        try:
            yield found
        finally:
            over.set()
        for one in running:
            one.result()


def test_keys_change_under_load_without_a_refusal(server: Oidc, ask: Asking) -> None:
    shown = [token(server, OLD)]
    ways = [ask.http] * HTTP + [ask.grpc] * GRPC
    with asking([lambda way=way: way(shown[0]) for way in ways]) as found:
        until(lambda: found.total() > 200)
        server.publish(OLD, NEW)
        shown[0] = token(server, NEW)  # nobody has told the engine
        seen = found.total()
        until(lambda: found.total() > seen + 400)
        assert set(found) == {"200"}
        server.publish(NEW)
        # Whoever shows a key that nobody knows has the issuer asked.
        assert ask.http(token(server, NEVER)) == "401"
        gone = token(server, OLD)
        with ThreadPoolExecutor(EACH) as pool:  # each waits for the issuer's keys

            def each(way: Callable[[str], str]) -> set[str]:
                return set(pool.map(way, [gone] * EACH))

            for way in (ask.http, ask.grpc):
                until(lambda way=way: each(way) <= REFUSED)
    assert set(found) == {"200"}


def test_what_a_token_allows(server: Oidc, engine: Engine, ask: Asking) -> None:
    assert ask.http("a.b.c") == "401"
    assert ask.http(token(server, OLD)) == ask.grpc(token(server, OLD)) == "200"
    assert ask.http(token(server, OLD, aud="other")) == "401"
    assert ask.http(token(server, OLD, groups=[])) == "403"
    for subject, status in (("ops", 200), ("ada", 403)):
        headers = {"authorization": f"Bearer {token(server, OLD, sub=subject)}"}
        reply = CLIENT.get(f"{engine.url}/control/v1/graphs/{NAME}", headers=headers)
        assert reply.status_code == status, reply.text
