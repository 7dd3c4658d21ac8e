"""The console behind a real gateway: its files, and who may read what."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any

import httpx
import pytest

from anabranch.access.identity import Asker
from anabranch.router.errors import Headers
from anabranch.telemetry.registry import Registry, Snapshot
from tests.router.askers import LetsIn
from tests.router.conftest import Serving
from tests.router.control import make_gateway

Serve = Callable[[Any], str]
TOKEN = {"authorization": "Bearer right"}


class Control(LetsIn):
    """A control plane that repeats what it is asked."""

    secret = "right"

    async def graphs(self) -> dict[str, Any]:
        return {}

    async def metrics(self) -> Snapshot:
        return Registry().snapshot()

    async def handle(
        self, method: str, path: str, query: str, body: bytes, asker: Asker
    ) -> tuple[int, Headers, bytes]:
        if path == "/graphs":
            return 200, (), b'{"graphs": []}'
        return (
            200,
            ((b"content-type", b"text/plain"),),
            f"{method} {path} {query}{body.decode()}".encode(),
        )


@pytest.fixture(scope="module")
def url(server: Serving) -> Iterator[str]:
    with server(make_gateway(Control(), loopback=True)) as found:
        yield found


@pytest.fixture(scope="module")
def public(server: Serving) -> Iterator[str]:
    with server(make_gateway(Control(), loopback=False)) as found:
        yield found


def test_the_page_and_all_that_it_loads_come_from_the_engine(url: str) -> None:
    reply = httpx.get(f"{url}/console", follow_redirects=True)
    assert reply.url.path == "/console/"
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert not re.search(r"<script>|style=|://|\son\w+=", reply.text)
    loaded = re.findall(r'(?:href|src)="([^#"]+)"', reply.text)
    seen: set[str] = set()
    while loaded:
        name = loaded.pop()
        found = httpx.get(reply.url.join(name))
        assert found.status_code == 200, name
        seen.add(name)
        imported = re.findall(r'^import .*?from "\./([^"]+)";', found.text, re.MULTILINE)
        loaded += [other for other in imported if other not in seen]
    folder = resources.files("anabranch.router") / "console" / "static"
    there = {entry.name.removesuffix(".gz") for entry in folder.iterdir()}
    assert seen | {"index.html", "dagre.js.LICENSE.txt"} == there


@pytest.mark.parametrize("name", ["console.css", "main.js", "dagre.js", "icon.svg"])
def test_files_come_compressed_or_not(url: str, name: str) -> None:
    packed = httpx.get(f"{url}/console/{name}", headers={"accept-encoding": "gzip"})
    plain = httpx.get(f"{url}/console/{name}", headers={"accept-encoding": "identity"})
    assert packed.headers.get("content-encoding") == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content
    assert packed.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "name",
    [
        "main.js.gz",
        "dagre.js.LICENSE.txt",
        "../page.py",
        "%2e%2e/page.py",
        "x.js",
        "x/main.js",
    ],
)
def test_there_are_no_other_files(url: str, name: str) -> None:
    assert httpx.get(f"{url}/console/{name}").status_code == 404


READS = [
    "/graphs/g",
    "/graphs/g/compare",
    "/graphs/g/traffic",
    "/graphs/g/rollout",
    "/graphs/g/monitors",
    "/graphs/g/history",
    "/graphs/g/replicas",
    "/history",
    "/links",
    "/graphs/g/revisions",
    "/graphs/g/revisions/2",
    "/graphs/g/revisions/2/plan",
    "/graphs/g/revisions/2/example",
    "/graphs/g/revisions/2/diff",
    "/graphs/team/g",
    "/graphs/team/g/revisions/2/plan",
    "/events",
    f"/traces/{'0a' * 16}",
]


@pytest.mark.parametrize("path", READS)
def test_reads_go_to_the_control_api(url: str, path: str) -> None:
    reply = httpx.get(f"{url}/console/api{path}?a=b")
    assert (reply.status_code, reply.text) == (200, f"GET {path} a=b")


@pytest.mark.parametrize(
    "path",
    [
        "/graphs/g/logs",
        "/graphs/g/promote",
        "/graphs/g/bandits",
        "/graphs/team/g/bandits",
        "/graphs/team/g/h",
        "/traces/x",
        "/codes",
        "",
        "/../x",
    ],
)
def test_there_is_nothing_else_to_read(url: str, path: str) -> None:
    assert httpx.get(f"{url}/console/api{path}").status_code == 404


@pytest.mark.parametrize("path", ["/api/graphs/g", "/events", "/", "/main.js"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_changes_through_the_console(url: str, path: str, method: str) -> None:
    reply = httpx.request(method, f"{url}/console{path}", headers=TOKEN)
    assert reply.status_code == 405
    assert reply.headers["allow"] == "GET, HEAD"


FOREIGN: list[dict[str, str]] = [
    {"sec-fetch-site": "cross-site"},
    {"origin": "http://evil.example"},
]


@pytest.mark.parametrize("path", ["/api/graphs/g", "/events"])
def test_reading_by_another_name_needs_the_token(url: str, path: str) -> None:
    headers = {"host": "evil.example"}
    assert httpx.get(f"{url}/console{path}", headers=headers).status_code == 401
    with httpx.stream("GET", f"{url}/console{path}", headers=headers | TOKEN) as reply:
        assert reply.status_code == 200


@pytest.mark.parametrize("path", ["/api/graphs/g", "/events"])
def test_an_engine_that_others_reach_always_asks_for_the_token(public: str, path: str) -> None:
    assert httpx.get(f"{public}/console{path}").status_code == 401
    with httpx.stream("GET", f"{public}/console{path}", headers=TOKEN) as reply:
        assert reply.status_code == 200
    assert httpx.get(f"{public}/console/").status_code == 200


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/console/api/graphs/g"),
        ("GET", "/console/events"),
        ("POST", "/control/v1/graphs/g/promote"),
        ("PUT", "/control/v1/graphs/g/traffic"),
        ("POST", "/v2/repository/models/g/unload"),
    ],
)
def test_other_origins_may_do_nothing_even_with_the_token(
    url: str, method: str, path: str, headers: dict[str, str]
) -> None:
    assert httpx.request(method, url + path, headers=TOKEN | headers).status_code == 403


def test_changes_need_the_token_on_loopback_too(url: str) -> None:
    same = {"sec-fetch-site": "same-origin", "origin": url}
    path = f"{url}/control/v1/graphs/g/promote"
    assert httpx.post(path, headers=same).status_code == 401
    assert httpx.post(path, headers=same | TOKEN).status_code == 200


def test_a_code_is_exchanged_without_a_token(url: str, public: str) -> None:
    for page in (url, public):
        reply = httpx.post(f"{page}/console/login?a=b", content=b'{"code": "x"}')
        assert (reply.status_code, reply.text) == (200, 'POST /sessions {"code": "x"}')
        assert reply.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_code_is_not_taken_from_another_page(url: str, headers: dict[str, str]) -> None:
    reply = httpx.post(f"{url}/console/login", content=b"{}", headers=headers)
    assert reply.status_code == 403


class Remembering(Control):
    """A control plane that begins and ends sessions."""

    async def handle(
        self, method: str, path: str, query: str, body: bytes, asker: Asker
    ) -> tuple[int, Headers, bytes]:
        if path == "/sessions":
            return self.session(method, body)
        return await super().handle(method, path, query, body, asker)


def logged_in(url: str) -> tuple[str, dict[str, str]]:
    """Return the cookie of a session, and the headers that show it."""
    reply = httpx.post(f"{url}/console/login", json={"key": "right"})
    cookie, _, rest = reply.headers["set-cookie"].partition(";")
    assert rest.split("; ")[1:] == ["Max-Age=60", "HttpOnly", "SameSite=Strict"]
    assert cookie.partition("=")[0] == f"anabranch-{reply.url.port}"
    return cookie, {"cookie": cookie, "x-anabranch-csrf": reply.json()["csrf"]}


def test_only_both_halves_of_a_session_open_anything(serve: Serve) -> None:
    url = serve(make_gateway(Remembering(), loopback=False))
    _, both = logged_in(url)
    change, read = f"{url}/control/v1/graphs/g/promote", f"{url}/console/api/graphs/g"
    for one in ("cookie", "x-anabranch-csrf"):
        half = {one: both[one]}
        assert httpx.post(change, headers=half).status_code == 401
        assert httpx.get(read, headers=half).status_code == 401
    for wrong in ("", "other", both["x-anabranch-csrf"] + "x"):
        assert httpx.post(change, headers=both | {"x-anabranch-csrf": wrong}).status_code == 401
    assert httpx.post(change, headers=both).status_code == 200
    assert httpx.get(read, headers=both).status_code == 200
    for foreign in FOREIGN:
        assert httpx.post(change, headers=both | foreign).status_code == 403


def test_cookies_of_neighbours_do_not_matter(serve: Serve) -> None:
    url = serve(make_gateway(Remembering(), loopback=False))
    cookie, both = logged_in(url)
    name = cookie.partition("=")[0]
    # A path that is longer is sent first; other ports have names of their own.
    crowd = f"{name}=theirs; anabranch=x; anabranch-1=y; a; =; {cookie}; other=z"
    read = f"{url}/console/api/graphs/g"
    assert httpx.get(read, headers=both | {"cookie": crowd}).status_code == 200
    assert httpx.get(read, headers=both | {"cookie": "anabranch-1=y"}).status_code == 401


def test_a_session_ends_with_the_logout(serve: Serve) -> None:
    url = serve(make_gateway(Remembering(), loopback=False))
    _, both = logged_in(url)
    reply = httpx.post(f"{url}/console/logout", headers=both)
    assert reply.status_code == 200 and "=; Path=/; Max-Age=0;" in reply.headers["set-cookie"]
    assert httpx.get(f"{url}/console/api/graphs/g", headers=both).status_code == 401


def test_with_tls_the_cookie_is_of_this_host_alone(serve: Serve) -> None:
    url = serve(make_gateway(Remembering(), loopback=False))
    headers = {"origin": url.replace("http:", "https:")}
    reply = httpx.post(f"{url}/console/login", json={"key": "right"}, headers=headers)
    cookie, _, rest = reply.headers["set-cookie"].partition(";")
    assert cookie.startswith("__Host-anabranch-") and rest.endswith("; Secure")
    both = {"cookie": cookie, "x-anabranch-csrf": reply.json()["csrf"]}
    assert httpx.get(f"{url}/console/api/graphs/g", headers=both).status_code == 200


def test_a_key_that_is_not_known_begins_no_session(serve: Serve) -> None:
    url = serve(make_gateway(Remembering(), loopback=True))
    reply = httpx.post(f"{url}/console/login", json={"key": "wrong"})
    assert reply.status_code == 401 and "set-cookie" not in reply.headers


def test_a_code_is_posted_and_short(url: str) -> None:
    reply = httpx.get(f"{url}/console/login")
    assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
    assert httpx.post(f"{url}/console/login", content=bytes(2**17)).status_code == 413


class Empty(Control):
    """A control plane without a graph."""

    async def handle(
        self, method: str, path: str, query: str, body: bytes, asker: Asker
    ) -> tuple[int, Headers, bytes]:
        return (200, (), b'{"graphs": []}') if path == "/graphs" else (404, (), b"{}")


def test_a_trace_that_has_not_come_yet_has_no_spans(serve: Serve) -> None:
    url = serve(make_gateway(Empty(), loopback=True))
    found = httpx.get(f"{url}/console/api/traces/{'0a' * 16}")
    assert (found.status_code, found.json()) == (200, {"trace_id": "0a" * 16, "spans": []})
    assert httpx.get(f"{url}/console/api/graphs/g").status_code == 404


def test_events_are_a_stream(serve: Serve) -> None:
    url = serve(make_gateway(Empty(), loopback=True))
    with httpx.stream("GET", f"{url}/console/events?graph=digits") as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert reply.headers["cache-control"] == "no-cache"
        lines = reply.iter_lines()
        assert next(line for line in lines if line.startswith("event: graph")) == "event: graph"
