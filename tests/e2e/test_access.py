"""Keys on an engine where nobody may anything without one: at both doors, and under load."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import httpx
import pytest

from tests.e2e.conftest import Given, spec
from tests.engines import BODY, HTTP, Engine, actor_processes
from tests.router.grpc.conftest import connected, failure, infer_request
from tests.waiting import until

pytestmark = pytest.mark.e2e

OWN, OTHER = "team-a-shop", "team-b-shop"
SCALE = {"type": "transformer", "method": "scale", "args": {"divide_by": 2.0}, "inputs": {"x": "x"}}


@pytest.fixture(scope="module")
def closed(engine: Engine, given_once: Given) -> Iterator[Engine]:
    """The engine, closed to those without a key, with two graphs; the first has two routers."""
    for name, replicas in ((OWN, 2), (OTHER, 1)):
        graph = spec(name, half=SCALE)
        graph["spec"]["scaling"] = {"replicas": replicas}
        given_once.deployed(graph)
    assert engine.api("PUT", "/access", content="anonymous: []").status_code == 200
    yield engine
    with engine.control() as control:
        for name in {key["name"] for key in control.api_keys()}:
            control.revoke_key(name)
    assert engine.api("PUT", "/access", content="").status_code == 200


def made(engine: Engine, name: str, *roles: str) -> str:
    with engine.control() as control:
        return str(control.create_key(name, roles, ["team-a-*"])["key"])


def status(engine: Engine, graph: str, key: str | None) -> int:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return engine.infer(graph, headers=headers).status_code


def code(engine: Engine, graph: str, key: str | None) -> grpc.StatusCode:
    async def asked() -> grpc.StatusCode:
        metadata = () if key is None else (("authorization", f"Bearer {key}"),)
        async with connected(f"127.0.0.1:{engine.ports.grpc}") as stub:
            try:
                await stub("ModelInfer", infer_request(graph), metadata=metadata)
            except grpc.aio.AioRpcError as error:
                return error.code()
            return grpc.StatusCode.OK

    return asyncio.run(asked())


def test_a_key_opens_its_graphs_at_both_doors_and_nothing_else(closed: Engine) -> None:
    key = made(closed, "caller", "invoker")
    assert [status(closed, OWN, one) for one in (key, None, "wrong")] == [200, 401, 401]
    assert [status(closed, OTHER, one) for one in (key, None)] == [403, 401]
    unauthenticated = grpc.StatusCode.UNAUTHENTICATED
    assert code(closed, OWN, key) is grpc.StatusCode.OK
    assert [code(closed, OWN, one) for one in (None, "wrong")] == [unauthenticated] * 2
    assert code(closed, OTHER, key) is grpc.StatusCode.PERMISSION_DENIED
    headers = {"authorization": f"Bearer {key}"}
    for method, path in (("GET", "/graphs"), ("DELETE", f"/graphs/{OWN}"), ("GET", "/keys")):
        reply = HTTP.request(method, f"{closed.url}/control/v1{path}", headers=headers)
        assert reply.status_code == 403, reply.text


def test_a_session_of_the_console_opens_what_its_key_does(closed: Engine) -> None:
    key = made(closed, "reader", "operator")
    with httpx.Client(base_url=closed.url, timeout=60) as browser:
        csrf = browser.post("/console/login", json={"key": key}).raise_for_status().json()["csrf"]
        infer = f"/v2/models/{OWN}/infer"
        assert browser.post(infer, json=BODY).status_code == 401
        browser.headers["x-anabranch-csrf"] = csrf
        assert browser.post(infer, json=BODY).status_code == 200
        graphs = browser.get("/control/v1/graphs").json()["graphs"]
        assert [graph["graph"] for graph in graphs] == [OWN]
        assert browser.get("/console/api/access/me").json()["name"] == "reader"
        with closed.control() as control:
            control.revoke_key("reader")
        assert browser.post(infer, json=BODY).status_code == 401


class Clients:
    """Clients that ask without a pause; ``seen`` has when requests began, and their statuses."""

    def __init__(self, engine: Engine, key: str, count: int) -> None:
        self._engine, self._key = engine, key
        self._over = threading.Event()
        self.seen: list[tuple[float, int]] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        with httpx.Client(timeout=60) as client:
            headers = {"authorization": f"Bearer {self._key}"}
            while not self._over.is_set():
                began = time.monotonic()
                reply = client.post(
                    f"{self._engine.graph_url(OWN)}/infer", json=BODY, headers=headers
                )
                self.seen.append((began, reply.status_code))

    def until_more(self, count: int) -> None:
        there = len(self.seen)
        until(lambda: len(self.seen) >= there + count)

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def test_a_revocation_is_in_force_once_it_returns_and_disturbs_nobody_else(
    closed: Engine,
) -> None:
    gone, stays = made(closed, "gone", "invoker"), made(closed, "stays", "invoker")
    revoked, others = Clients(closed, gone, 4), Clients(closed, stays, 4)
    try:
        revoked.until_more(50)
        with closed.control() as control:
            control.revoke_key("gone")
            moment = time.monotonic()
            rotated = control.rotate_key("stays", 3600)["key"]
        assert status(closed, OWN, rotated) == 200
        revoked.until_more(50)
        others.until_more(50)
    finally:
        revoked.stop()
        others.stop()
    # Whoever goes on with it from one address is told to wait, and others there are not.
    assert {code for began, code in revoked.seen if began > moment} <= {401, 429}
    assert {code for _, code in revoked.seen} >= {200, 401}
    assert {code for _, code in others.seen} == {200}


@pytest.mark.nightly
def test_routers_decide_by_themselves_while_the_controller_is_away(closed: Engine) -> None:
    key = made(closed, "alone", "invoker")
    (controller,) = actor_processes(closed, "Controller")
    controller.kill()
    assert [status(closed, OWN, one) for one in (key, None)] == [200, 401]
    assert status(closed, OTHER, key) == 403
    until(lambda: closed.command("status").returncode == 0, 120)


def refused(engine: Engine, reason: str = "unauthenticated") -> Counter[str]:
    """Attempts that were refused for a reason, by door; without one, for unknown keys."""
    token = {"authorization": f"Bearer {engine.token}"}
    page = httpx.get(f"{engine.url}/metrics", headers=token, timeout=30).text
    pattern = rf'anabranch_access_refused_total\{{door="(\w+)",reason="{reason}"\}} ([\d.]+)'
    return Counter({door: int(float(count)) for door, count in re.findall(pattern, page)})


def test_unknown_keys_are_in_the_metrics_whichever_door_refuses_them(closed: Engine) -> None:
    """The gateway, the control API behind it, and the front."""
    before = refused(closed)
    wrong = "Bearer wrong"
    for path in ("/v2/models/absent", "/control/v1/graphs"):
        assert HTTP.get(closed.url + path, headers={"authorization": wrong}).status_code == 401

    async def call() -> None:
        async with connected(f"127.0.0.1:{closed.ports.grpc}") as stub:
            error = await failure(stub("RepositoryIndex", metadata=(("authorization", wrong),)))
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED

    asyncio.run(call())
    # Routers may still tell of attempts in other tests, too.
    until(lambda: (refused(closed) - before).keys() >= {"http", "control", "grpc"})


def test_what_the_edge_refuses_by_itself_is_in_the_metrics(closed: Engine) -> None:
    before = refused(closed, "unreadable")
    with socket.create_connection(("127.0.0.1", closed.ports.http), timeout=30) as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\n\r\n")
        assert connection.recv(2**16).startswith(b"HTTP/1.1 400 ")
    until(lambda: (refused(closed, "unreadable") - before)["http"] > 0)


def test_the_link_of_dashboard_logs_in_to_ray_s(closed: Engine) -> None:
    """As a browser does: the cookie of the page goes to the dashboard, which asks for it."""
    words = closed.command_line("dashboard", "--print")
    with subprocess.Popen(
        words,
        env=closed.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        link = urlsplit(process.stdout.readline().strip())
        arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        with httpx.Client(trust_env=False, timeout=60) as browser:
            here = (
                f"http://127.0.0.1:{link.port}{link.path}"  # names of localhost are the browsers'
            )
            led = browser.get(here)
            assert led.status_code == 303
            page = led.headers["location"]
            assert browser.get(f"{page}api/version").status_code == 200
            browser.cookies.clear()
            assert browser.get(f"{page}api/version").status_code == 401
        assert process.wait(60) == 0
    token = (closed.home / "ray-token").read_text().strip()
    assert token not in link.geturl() and token.encode() not in arguments
