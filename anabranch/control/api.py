"""The control API, below ``/control/v1``; every answer is JSON but that of ``logs``.

| method | path | answers |
|---|---|---|
| GET | ``/graphs`` | ``{"graphs": [...]}`` |
| GET | ``/graphs/<graph>`` | the graph, its revisions and segments |
| DELETE | ``/graphs/<graph>`` | 202; the graph is gone once a GET answers 404 |
| POST | ``/graphs/<graph>/revisions?author=&message=`` | 202, for a body that is a bundle |
| GET | ``/graphs/<graph>/revisions/<N>`` | one revision |
| GET | ``/graphs/<graph>/logs?tail=100`` | plain text |
| GET | ``/events?graph=&after=0&limit=100`` | ``{"events": [...]}`` |

It runs in the controller; who may call it is checked before, in ``gateway``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qs

import orjson
import ray

from anabranch.control import logs
from anabranch.control.reconciler import Reconciler
from anabranch.control.releases import Releases
from anabranch.control.settings import Settings
from anabranch.control.store import Event, Graph, Revision, Store
from anabranch.control.views import graph_view, ready_state, revision_view, segments_view
from anabranch.errors import AnabranchError, InvalidRequest, NotFound, SpecError
from anabranch.router.errors import Headers, MethodNotAllowed, error_reply
from anabranch.router.gateway import GraphState

Answer: TypeAlias = tuple[int, Headers, bytes]
Query: TypeAlias = Mapping[str, str]

_JSON: Headers = ((b"content-type", b"application/json"),)
_TEXT: Headers = ((b"content-type", b"text/plain; charset=utf-8"),)
_NAME = r"(?P<graph>[^/]{1,64})"
MAX_EVENTS = 1000
_MAX_FIELDS = 32
_MAX_NOTE = 1000
"""Longest author or message, in characters."""


@dataclass(frozen=True)
class Call:
    """A request to one endpoint. ``graph`` and ``revision`` come from the path."""

    graph: str
    revision: int
    query: Query
    body: bytes


class ControlApi:
    """Answers the control API from the store, Serve and the bundles."""

    def __init__(
        self, settings: Settings, store: Store, releases: Releases, reconciler: Reconciler
    ) -> None:
        self._url = settings.url
        self._store = store
        self._releases = releases
        self._reconciler = reconciler
        self._routes: list[tuple[re.Pattern[str], dict[str, Callable[[Call], Awaitable[Answer]]]]]
        self._routes = [
            (re.compile(r"/graphs/?"), {"GET": self._list}),
            (re.compile(rf"/graphs/{_NAME}/?"), {"GET": self._show, "DELETE": self._delete}),
            (re.compile(rf"/graphs/{_NAME}/revisions/?"), {"POST": self._deploy}),
            (
                re.compile(rf"/graphs/{_NAME}/revisions/(?P<revision>[0-9]{{1,9}})/?"),
                {"GET": self._revision},
            ),
            (re.compile(rf"/graphs/{_NAME}/logs/?"), {"GET": self._logs}),
            (re.compile(r"/events/?"), {"GET": self._events}),
        ]

    async def handle(self, method: str, path: str, query: str, body: bytes) -> Answer:
        """Answer one request; errors become replies."""
        try:
            endpoint, fields = self._endpoint(method, path)
            call = Call(
                fields.get("graph", ""), int(fields.get("revision", 0)), _query(query), body
            )
            return await endpoint(call)
        except SpecError as error:
            return _spec_reply(error)
        except Exception as error:
            reply = error_reply(error, "control")
            return reply.status, (*_JSON, *reply.headers), reply.body

    async def states(self) -> dict[str, GraphState]:
        """Every graph that should be live, for the gateway."""
        unsettled = await asyncio.to_thread(self._store.unsettled)
        apps = self._reconciler.applications
        return {
            graph: ready_state(graph, revisions, apps)
            for graph, revisions in unsettled.items()
            if revisions
        }

    def _endpoint(
        self, method: str, path: str
    ) -> tuple[Callable[[Call], Awaitable[Answer]], Mapping[str, str]]:
        for pattern, methods in self._routes:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            if method not in methods:
                raise MethodNotAllowed(method, methods)
            return methods[method], match.groupdict()
        raise NotFound(
            f"the control API has no path {path[:256]!r}; it has /graphs, /graphs/<graph>, "
            "/graphs/<graph>/revisions, /graphs/<graph>/revisions/<N>, /graphs/<graph>/logs "
            "and /events"
        )

    async def _list(self, call: Call) -> Answer:
        graphs = await asyncio.to_thread(self._store.graphs)
        return _json(200, {"graphs": [await self._summary(graph) for graph in graphs]})

    async def _summary(self, graph: Graph) -> dict[str, Any]:
        revisions = await asyncio.to_thread(self._store.revisions, graph.name)
        return graph_view(graph, revisions, self._reconciler.applications, self._url)

    async def _show(self, call: Call) -> Answer:
        graph = await asyncio.to_thread(self._present, call.graph)
        revisions = await asyncio.to_thread(self._store.revisions, graph.name)
        apps = self._reconciler.applications
        view = graph_view(graph, revisions, apps, self._url)
        view["revisions"] = [revision_view(revision) for revision in revisions]
        view["segments"] = await asyncio.to_thread(self._segments, revisions, apps)
        return _json(200, view)

    def _present(self, name: str) -> Graph:
        graph = self._store.graph(name)
        if graph.state == "deleted":
            raise NotFound(f"graph {name!r} was deleted")
        return graph

    def _segments(self, revisions: list[Revision], apps: Mapping[str, Any]) -> list[dict[str, Any]]:
        shown = [r for r in revisions if r.state == "live"] or revisions[:1]
        try:
            plan = self._releases.plan(shown[0])
        except (AnabranchError, IndexError):
            return []
        return segments_view(plan, shown[0].number, apps)

    async def _delete(self, call: Call) -> Answer:
        graph = await asyncio.to_thread(self._present, call.graph)
        await asyncio.to_thread(self._store.delete, graph.name)
        self._reconciler.wake()
        return _json(202, {"graph": graph.name, "state": "deleting"})

    async def _deploy(self, call: Call) -> Answer:
        received = await asyncio.to_thread(self._releases.receive, call.graph, call.body)
        author, message = call.query.get("author", ""), call.query.get("message", "")
        revision = await asyncio.to_thread(
            self._store.add_revision,
            call.graph, received.spec, received.digest, author[:_MAX_NOTE], message[:_MAX_NOTE],
        )  # fmt: skip
        self._reconciler.wake()
        return _json(
            202, {"graph": call.graph, "revision": revision.number, "state": revision.state}
        )

    async def _revision(self, call: Call) -> Answer:
        await asyncio.to_thread(self._present, call.graph)
        revision = await asyncio.to_thread(self._store.revision, call.graph, call.revision)
        return _json(200, revision_view(revision) | {"spec": revision.spec})

    async def _logs(self, call: Call) -> Answer:
        await asyncio.to_thread(self._present, call.graph)
        count = _number(call.query, "tail", 100, logs.MAX_LINES)
        lines = await asyncio.to_thread(
            logs.tail, self._reconciler.applications, _log_folder(), call.graph, count
        )
        return 200, _TEXT, "".join(f"{line}\n" for line in lines).encode()

    async def _events(self, call: Call) -> Answer:
        events: list[Event] = await asyncio.to_thread(
            self._store.events,
            call.query.get("graph"),
            _number(call.query, "after", 0, 2**53),
            _number(call.query, "limit", 100, MAX_EVENTS),
        )
        return _json(200, {"events": [asdict(event) for event in events]})


def _log_folder() -> Path:
    node: Any = ray._private.worker._global_node
    return Path(node.get_logs_dir_path())


def _query(text: str) -> Query:
    try:
        fields = parse_qs(text, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise InvalidRequest(f"the query has more than {_MAX_FIELDS} fields") from None
    return {name: values[-1] for name, values in fields.items()}


def _number(query: Query, name: str, default: int, largest: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and int(text) <= largest):
        raise InvalidRequest(f"{name}={text[:32]!r} is not a whole number from 0 to {largest}")
    return int(text)


def _json(status: int, content: Any) -> Answer:
    return status, _JSON, orjson.dumps(content)


def _spec_reply(error: SpecError) -> Answer:
    return _json(400, {"error": str(error)})
