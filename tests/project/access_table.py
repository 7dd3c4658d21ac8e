"""Asks every endpoint of an engine as everybody, and writes down who is let in.

``python -m tests.project.access_table`` writes the table into docs/access.md. The endpoints come
from the routes of the applications themselves, and who is let in is found by asking: a real router
application, a real gateway with the console before a real control API, and the servicers of both
gRPC servers. Nothing is up behind them, so what is let in gets a 404 or the like.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress, product
from pathlib import Path
from typing import Any, TypeAlias

import grpc

from anabranch.access.guard import Credentials, Guard
from anabranch.access.identity import Asker, Identity
from anabranch.access.keys import digest_of
from anabranch.access.roles import EVERY, ROLES, Grant, Role
from anabranch.access.table import AccessTable, KnownKey
from anabranch.errors import NotFound
from anabranch.names import GRAPH_IN_PATH
from anabranch.reference.markdown import code, table
from anabranch.reference.pages import written
from anabranch.router.console.page import _READ
from anabranch.router.gateway.app import _ACTIONS, Gateway
from anabranch.router.gateway.forwarding import Forwarder
from anabranch.router.grpc import messages
from anabranch.router.grpc.front import Front
from anabranch.router.grpc.messages import POOL, SERVICE, request_type, response_type
from anabranch.router.grpc.seldon import messages as seldon
from anabranch.router.grpc.seldon.servicer import SeldonServicer
from anabranch.router.grpc.servicer import GraphServicer
from anabranch.router.http.doors.async_requests import REQUESTS
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.limits import RequestLimits
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.feedback import Feedback
from anabranch.specs.models import ProtocolName
from tests.control.control_api import TestControl
from tests.router.conftest import StepHead, double, make_table
from tests.router.control import FakeControl

PAGE = Path(__file__).parents[2] / "docs" / "access.md"
OWN, OTHER = "team-a/shop", "team-b/shop"
TEAM = "team-a/*"
NOBODY = "nobody"
PATTERNS = (TEAM, EVERY)
_TRACE = "0a" * 16
_DIGEST = "0a" * 32
_FILLED = {
    "graph": "",
    "revision": "1",
    "trace": _TRACE,
    "key": "ci",
    "node": "two",
    "digest": _DIGEST,
    "id": _TRACE,
    "file": "main.js",
}
_GROUP = re.compile(r"\(\?P<(\w+)>([^()]*)\)")

Asked: TypeAlias = Callable[[str, str], Awaitable[bool]]
"""Asks for a graph with a key (empty for none), and returns whether that was let in."""


@dataclass(frozen=True)
class Endpoint:
    """One endpoint: the door where it is, its name in the table, and how to ask it."""

    door: str
    name: str
    ask: Asked

    @property
    def is_of_graph(self) -> bool:
        """Whether it is about a single graph."""
        return "<graph>" in self.name or self.door.startswith("gRPC: a router")


@dataclass(frozen=True)
class Row:
    """Who is let in: with a role for the team's graphs, and with one for all graphs."""

    endpoint: Endpoint
    nobody: bool
    own: tuple[Role, ...]
    other: tuple[Role, ...]
    every: tuple[Role, ...]


def key(role: Role, pattern: str) -> str:
    """The key of a role for the graphs of a pattern."""
    return f"{role}:{pattern}"


def access_table() -> AccessTable:
    """A key for each role and pattern; callers without one have no role."""
    keys = {
        digest_of(key(role, pattern)): KnownKey(
            Identity("key", f"{role}-{number}", (Grant(role, pattern),))
        )
        for role, (number, pattern) in product(ROLES, enumerate(PATTERNS))
    }
    return AccessTable(1, keys)


class RealControl(FakeControl):
    """The control plane of the gateway and the front: the real control API, and a real guard."""

    def __init__(self, api: Any) -> None:
        super().__init__()
        self._api = api
        self._door = Guard(access_table(), failures=_Patient())

    async def asker(self, shown: Credentials, address: str, request_id: str) -> Asker:
        return Asker(self._door.identify(shown, address), address, request_id)

    async def allowed(
        self, action: Any, graph: str, shown: Credentials, address: str, request_id: str
    ) -> Asker:
        return Asker(self._door.check_of(graph, action, shown, address), address, request_id)

    async def handle(
        self, method: str, path: str, query: str, body: bytes, asker: Asker
    ) -> tuple[int, Any, bytes]:
        found: tuple[int, Any, bytes] = await self._api.handle(method, path, query, body, asker)
        return found


class _Patient:
    """Tells nobody to wait."""

    def add(self, address: str) -> None:
        """Forget a failure."""


class _NoSink:
    """Takes no reward."""

    async def recall(self, ids: Any) -> Any:
        raise AssertionError("no reward that could be counted is sent")

    reward = recall


class _NoStore:
    """Keeps no request."""

    async def look(self, id: str, owner: str | None) -> Any:
        return NotFound("there is no request")

    withdraw = look


def endpoints(folder: Path) -> Iterator[Endpoint]:
    """Every endpoint of an engine, in the order of the table."""
    api = TestControl(folder).api
    control = RealControl(api)
    arms = {name: _arms(name) for name in (OWN, OTHER)}
    forwarder = Forwarder(control, RequestLimits())
    asyncio.run(forwarder._follower.step())
    gateway = Gateway(control, RequestLimits(), forwarder)
    yield from _of_routers(arms)
    yield from _of_gateway(gateway)
    yield from _of_console(gateway, api)
    yield from _of_control(gateway, api)
    yield from _of_grpc(arms, Front(control, RequestLimits(), forwarder._follower))


def _arms(name: str, everywhere: Collection[ProtocolName] = ()) -> Arms:
    arms = Arms(
        name,
        lambda revision: StepHead(double),
        RequestLimits(),
        guard=Guard(access_table(), name, failures=_Patient()),  # type: ignore[arg-type]
        everywhere=everywhere,
    )
    arms.apply(make_table())
    return arms


def _of_routers(arms: Mapping[str, Arms]) -> Iterator[Endpoint]:
    apps = {
        name: GraphApp(one, Feedback(one, _NoSink()), later=_NoStore())  # type: ignore[arg-type]
        for name, one in arms.items()
    }
    app = apps[OWN]

    def asks(method: str, path: str) -> Asked:
        async def ask(graph: str, key: str) -> bool:
            return await _let_in(apps[graph], method, f"/v2/models/{graph}{path}", key)

        return ask

    versions = {f"/versions/3{path}": methods for path, methods in app._endpoints.items()}
    for path, methods in {**app._routes, **versions}.items():
        for method in methods:
            shown = f"{method} /v2/models/<graph>{path.replace('/versions/3', '/versions/<N>')}"
            yield Endpoint("HTTP: a router", shown, asks(method, path))
    for method in app._of_requests:
        shown = f"{method} /v2/models/<graph>{REQUESTS}<id>"
        yield Endpoint("HTTP: a router", shown, asks(method, _filled(f"{REQUESTS}<id>", "")))
    for path, methods in app._door_endpoints.items():
        for method in methods:
            yield _of_door(apps, method, path.replace(OWN, "<graph>"))


def _of_door(apps: Mapping[str, GraphApp], method: str, template: str) -> Endpoint:
    async def ask(graph: str, key: str) -> bool:
        path = template.replace("<graph>", graph).replace("{version}", "3")
        return await _let_in(apps[graph], method, path, key)

    shown = f"{method} {template.replace('{version}', '<N>')}"
    return Endpoint("HTTP: a router, further protocols", shown, ask)


def _of_gateway(gateway: Gateway) -> Iterator[Endpoint]:
    for path, methods in gateway._routes.items():
        for method in methods:
            yield _http("HTTP: the gateway", gateway, method, path)
    yield _http("HTTP: the gateway", gateway, "GET", "/")
    for action in _ACTIONS:
        yield _http("HTTP: the gateway", gateway, "POST", f"/v2/repository/models/<graph>/{action}")
    yield _http("HTTP: the gateway", gateway, "GET", "/v2/models/<graph>")


def _of_console(gateway: Gateway, api: Any) -> Iterator[Endpoint]:
    door = "HTTP: the console"
    for path in gateway._console._posts:
        yield _http(door, gateway, "POST", f"/console{path}")
    for path in ("/console", "/console/", "/console/<file>"):
        yield _http(door, gateway, "GET", path)
    yield _http(door, gateway, "GET", "/console/events")
    yield _http(door, gateway, "GET", "/console/events?graph=<graph>")
    for path in _paths(api):
        if "GET" in path.methods and _READ.fullmatch(_filled(path.shown, OWN)):
            yield _http(door, gateway, "GET", f"/console/api{path.shown}")


def _of_control(gateway: Gateway, api: Any) -> Iterator[Endpoint]:
    for path in _paths(api):
        for method in path.methods:
            yield _http("HTTP: the control API", gateway, method, f"/control/v1{path.shown}")


@dataclass(frozen=True)
class _Path:
    shown: str
    methods: Sequence[str]


def _paths(api: Any) -> Iterator[_Path]:
    """The paths of the control API, with a name in place of each group; choices are unfolded."""
    for pattern, methods in api._routes:
        text = pattern.pattern.removesuffix("/?").replace(GRAPH_IN_PATH, "[^/]+")
        choices = [found[2].split("|") for found in _GROUP.finditer(text) if "|" in found[2]]
        for chosen in product(*choices):
            words = iter(chosen)
            shown = _GROUP.sub(lambda m: next(words) if "|" in m[2] else f"<{m[1]}>", text)  # noqa: B023
            yield _Path(shown, tuple(methods))


def _http(door: str, app: Any, method: str, shown: str) -> Endpoint:
    async def ask(graph: str, key: str) -> bool:
        return await _let_in(app, method, _filled(shown, graph), key)

    return Endpoint(door, f"{method} {shown}", ask)


def _filled(shown: str, graph: str) -> str:
    values = {**_FILLED, "graph": graph}
    return re.sub(r"<(\w+)>", lambda found: values[found[1]], shown)


async def _let_in(app: Any, method: str, target: str, key: str) -> bool:
    """Return whether a request over HTTP is let in; whatever else becomes of it."""
    path, _, query = target.partition("?")
    headers = [(b"host", b"engine.test")]
    if key:
        headers.append((b"authorization", f"Bearer {key}".encode()))
    scope = {
        "type": "http", "method": method, "path": path, "query_string": query.encode(),
        "headers": headers, "http_version": "1.1",
    }  # fmt: skip
    status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    bodies = [{"type": "http.request", "body": b""}]

    async def receive() -> Any:
        return bodies.pop() if bodies else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            status.set_result(message["status"])

    asking = asyncio.ensure_future(app(scope, receive, send))
    await asyncio.wait([asking, status], return_when=asyncio.FIRST_COMPLETED)
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking
    return status.result() not in (401, 403)


def _of_grpc(arms: Mapping[str, Arms], front: Front) -> Iterator[Endpoint]:
    servicers = {name: GraphServicer(one).handlers() for name, one in arms.items()}
    methods = [method.name for method in POOL.FindServiceByName(SERVICE).methods]
    for method in methods:
        if servicers[OWN].service(_Details(messages.path(method))) is not None:
            yield Endpoint("gRPC: a router", method, _call(method, lambda graph: servicers[graph]))
    handlers, others = front.handlers()
    for method in methods:
        name = f"{method} <graph>" if "Model" in method else method
        yield Endpoint("gRPC: the front", name, _call(method, lambda graph: handlers))
    seldons = {
        name: SeldonServicer(one, Feedback(one, _NoSink())).handlers()  # type: ignore[arg-type]
        for name, one in ((name, _arms(name, ["seldon"])) for name in arms)
    }
    for method in seldon.methods():
        name = f"seldon.protos.Seldon/{method} <graph>"
        yield Endpoint("gRPC: a router", name, _seldon_call(method, lambda graph: seldons[graph]))
    for method in seldon.methods():
        name = f"seldon.protos.Seldon/{method} <graph>"
        yield Endpoint("gRPC: the front", name, _seldon_call(method, lambda graph: others))


@dataclass(frozen=True)
class _Details:
    method: str


class _Aborted(Exception):
    pass


class _Context:
    """A call as gRPC's server hands it to a method."""

    def __init__(self, key: str, *metadata: tuple[str, str]) -> None:
        shown = (("authorization", f"Bearer {key}"),) if key else ()
        self._metadata = (*shown, *metadata)
        self.code: grpc.StatusCode | None = None
        self.written: list[bytes] = []

    def invocation_metadata(self) -> Any:
        return self._metadata

    def time_remaining(self) -> None:
        return None

    def peer(self) -> str:
        return "unix:front"

    def set_trailing_metadata(self, metadata: Any) -> None:
        pass

    async def abort(self, code: grpc.StatusCode, details: str, metadata: Any) -> None:
        self.code = code
        raise _Aborted

    async def write(self, message: bytes) -> None:
        self.written.append(message)


_REFUSED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
_SAID = re.compile("takes a key|that takes the role")


async def _handled(handler: Any, message: bytes, context: _Context) -> None:
    async def sent() -> AsyncIterator[bytes]:
        yield message

    with suppress(_Aborted):
        if handler.stream_stream or handler.stream_unary:
            await (handler.stream_stream or handler.stream_unary)(sent(), context)
        else:
            await (handler.unary_stream or handler.unary_unary)(message, context)


def _call(method: str, handlers: Callable[[str], Any]) -> Asked:
    async def ask(graph: str, key: str) -> bool:
        kind = request_type(method)
        fields = {one.name for one in kind.DESCRIPTOR.fields}
        named = {name: graph for name in ("model_name", "name") if name in fields}
        message = kind(**named).SerializeToString()
        context = _Context(key)

        handler = handlers(graph).service(_Details(messages.path(method)))
        await _handled(handler, message, context)
        if "error_message" in response_type(method).DESCRIPTOR.fields_by_name:
            answers = map(response_type(method).FromString, context.written)
            return not any(_SAID.search(one.error_message) for one in answers)
        return context.code not in _REFUSED

    return ask


def _seldon_call(method: str, handlers: Callable[[str], Any]) -> Asked:
    async def ask(graph: str, key: str) -> bool:
        namespace, _, name = graph.partition("/")
        context = _Context(key, (seldon.NAME, name), (seldon.NAMESPACE, namespace))
        handler = handlers(graph).service(_Details(seldon.path(method)))
        await _handled(handler, b"", context)
        return context.code not in _REFUSED

    return ask


async def _row(endpoint: Endpoint) -> Row:
    async def roles(graph: str, pattern: str) -> tuple[Role, ...]:
        let_in = await asyncio.gather(*(endpoint.ask(graph, key(one, pattern)) for one in ROLES))
        return tuple(compress(ROLES, let_in))

    return Row(
        endpoint,
        await endpoint.ask(OWN, ""),
        await roles(OWN, TEAM),
        await roles(OTHER, TEAM),
        await roles(OTHER, EVERY),
    )


def rows() -> list[Row]:
    """The table: every endpoint with who is let in."""
    with tempfile.TemporaryDirectory() as folder:

        async def found() -> list[Row]:
            return await asyncio.gather(*map(_row, made))  # some wait for a graph to come

        made = list(endpoints(Path(folder)))
        return asyncio.run(found())


def text(found: Sequence[Row]) -> str:
    """The table in Markdown, a section for each door."""
    doors = dict.fromkeys(row.endpoint.door for row in found)
    parts = []
    for door in doors:
        lines = [
            [code(row.endpoint.name), *_who(row)] for row in found if row.endpoint.door == door
        ]
        head = ("endpoint", "roles for this graph", "roles for other graphs", "roles for `*`")
        parts += [f"### {door}", table(head, lines)]
    return "\n\n".join(parts)


def _who(row: Row) -> list[str]:
    if row.nobody:
        return ["everybody"] * 3
    return [_named(one) for one in (row.own, row.other, row.every)]


def _named(roles: Sequence[Role]) -> str:
    return "any" if tuple(roles) == ROLES else ", ".join(roles) or "none"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(), text(rows())))
