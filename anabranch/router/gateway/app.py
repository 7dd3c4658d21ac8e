"""The HTTP face of the engine: everything that belongs to no single graph.

| method | path | answers |
|---|---|---|
| GET | ``/`` | the way to the console, for browsers; 404 for all others |
| GET | ``/v2`` | server metadata |
| GET | ``/v2/health/live`` | 200 |
| GET | ``/v2/health/ready`` | 200 if every live graph can answer, else 503; see ``_ready`` |
| GET | ``/metrics`` | what all processes of the engine have counted, for Prometheus |
| POST | ``/v2/repository/index`` | all graphs, or only those ready |
| POST | ``/v2/repository/models/<graph>/load`` | 200 once the graph answers again |
| POST | ``/v2/repository/models/<graph>/unload`` | 200; it keeps all but its replicas |
| any | ``/v2/models/<graph>/…`` | what a router of the graph answers; see ``Forwarder`` |
| any | paths of other protocols | likewise, for the graph in the path; see ``graph_at`` |
| POST | ``/v1/chat/completions``, … | likewise, for the graph that the body names |
| GET | ``/v1/models`` | the graphs that answer over OpenAI's API or V1 |
| any | ``/control/v1/…`` | the control API |
| GET | ``/console…`` | a page that shows what runs; see ``console`` |

Health and the server's metadata are for everybody; all else is for those whose roles allow it
(``anabranch.access``). A web page of another origin may change nothing, even with a key.

It never sends CORS headers: no web page of another origin may read what it answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from importlib.metadata import version
from typing import Protocol

import msgspec

from anabranch.errors import NotFound, Unavailable
from anabranch.graph.calls.stepping import in_task
from anabranch.names import graph_in
from anabranch.router.askers import Askers
from anabranch.router.backend import ControlBackend
from anabranch.router.console.page import CONSOLE, Console
from anabranch.router.errors import HttpReply, MethodNotAllowed
from anabranch.router.gateway import repository
from anabranch.router.gateway.named_in_body import graph_in_body, models
from anabranch.router.gateway.repository import EXTENSIONS, check_parameters, index
from anabranch.router.http.access import foreign
from anabranch.router.http.app import Answer, Handler, HttpApp, dispatch, json_reply
from anabranch.router.http.doors.forms import reply_in_form
from anabranch.router.http.doors.places import MODEL_IN_BODY, MODELS, graph_at
from anabranch.router.http.request import BodyRule, HttpRequest, Message, Receive, Send
from anabranch.router.limits import Arriving, RequestLimits
from anabranch.router.measure.refusals import refusals_counted
from anabranch.router.oip.json_body import parsed
from anabranch.specs.excerpts import hint
from anabranch.specs.models import ProtocolName
from anabranch.telemetry.exposition import exposition

UPLOADS = 4
"""Largest bodies of the control API that may be on their way at once."""
MAX_BODY = 64 * 2**10
"""Largest body of a request to the repository, in bytes."""
CONTROL = "/control/v1"
_BY_ACCEPT = (b"vary", b"accept")
_MODELS = "/v2/models/"
_REPOSITORY = "/v2/repository/models/"
_ACTIONS: dict[str, repository.Action] = {"load": "load", "unload": "unload"}


class GraphForwarder(Protocol):
    """What answers for graphs."""

    @property
    def is_told(self) -> bool:
        """Whether the controller has said where routers are, however long ago."""

    async def forward(self, graph: str, request: HttpRequest) -> Answer:
        """Have a router of a graph answer a request; NotFound where there is no such graph."""


class _Index(msgspec.Struct):
    ready: bool = False


class _Load(msgspec.Struct):
    parameters: dict[str, object] | None = None


_decode_index = msgspec.json.Decoder(_Index).decode
_decode_load = msgspec.json.Decoder(_Load).decode


class Gateway:
    """ASGI application for Serve's route prefix ``/``.

    ``forwarder`` answers for graphs. ``max_upload`` bounds bodies of the control API, in bytes, and
    ``upload_timeout`` the time for sending one, in seconds. ``loopback`` says that the engine
    listens on loopback only: then the console can be read without a token. ``protocols`` are those
    over which the engine has every graph answer.
    """

    def __init__(
        self,
        control: ControlBackend,
        limits: RequestLimits,
        forwarder: GraphForwarder,
        max_upload: int = 512 * 2**20,
        upload_timeout: float = 600.0,
        loopback: bool = False,
        protocols: Collection[ProtocolName] = (),
    ) -> None:
        self._control = control
        self._forwarder = forwarder
        self._limits = limits
        self._protocols = frozenset(protocols)
        self._rule = rule = BodyRule.of(limits)
        self._body = rule._replace(limit=MAX_BODY)
        self._askers = Askers(control, loopback)
        self._console = Console(control, self._askers, self._body)
        self._upload = rule._replace(
            limit=max_upload, timeout=upload_timeout, arriving=Arriving(UPLOADS * max_upload)
        )
        self._routes: dict[str, dict[str, Handler]] = {
            "/v2": {"GET": self._server},
            "/metrics": {"GET": self._metrics},
            "/v2/health/live": {"GET": self._live},
            "/v2/health/ready": {"GET": self._ready},
            "/v2/repository/index": {"POST": self._index},
            MODELS: {"GET": self._models},
            **{path: {"POST": self._to_named} for path in sorted(MODEL_IN_BODY)},
        }
        self._app = HttpApp(self._handle, form=reply_in_form)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        await self._app(scope, receive, send)

    async def _handle(self, request: HttpRequest) -> Answer:
        request.check_headers(self._limits.max_headers)
        await in_task()
        with refusals_counted("control" if request.path.startswith(f"{CONTROL}/") else "http"):
            return await self._answer(request)

    async def _answer(self, request: HttpRequest) -> Answer:
        path = request.path
        if path.startswith(f"{CONTROL}/"):
            return await self._to_control(request, path.removeprefix(CONTROL))
        if path == CONSOLE or path.startswith(f"{CONSOLE}/"):
            return await self._console.answer(request, path.removeprefix(CONSOLE))
        if path == "/" and _is_browser(request):
            return HttpReply(307, b"", ((b"location", f"{CONSOLE[1:]}/".encode()), _BY_ACCEPT))
        methods = self._routes.get(path.removesuffix("/"))
        if methods is not None:
            return await dispatch(request, methods)
        if path.startswith(_REPOSITORY):
            return await self._repository(request, path.removeprefix(_REPOSITORY))
        if path.startswith(_MODELS):
            graph = graph_in(path.removeprefix(_MODELS))
            await self._askers.allowed(request, "describe", graph)
            return await self._forwarder.forward(graph, request)
        graph_named = graph_at(path)
        if graph_named is not None:
            await self._askers.allowed(request, "describe", graph_named)
            return await self._forwarder.forward(graph_named, request)
        raise NotFound(f"there is no path {path[:256]!r}{hint(path[:256], self._routes)}")

    async def _server(self, request: HttpRequest) -> HttpReply:
        return json_reply(
            {"name": "anabranch", "version": version("anabranch"), "extensions": EXTENSIONS}
        )

    async def _metrics(self, request: HttpRequest) -> HttpReply:
        asker = await self._askers.reader(request)
        if not asker.identity.may("view"):
            raise asker.identity.refusal("view")
        snapshot = await self._control.metrics()
        kind, text = await asyncio.to_thread(
            exposition, snapshot, request.headers.get("accept", "")
        )
        return HttpReply(200, text, ((b"content-type", kind.encode()),))

    async def _live(self, request: HttpRequest) -> HttpReply:
        return json_reply({"live": True})

    async def _ready(self, request: HttpRequest) -> HttpReply:
        """Say whether every live graph can answer.

        While the controller is away nobody knows, and what knows its routers goes on: it is ready.
        """
        try:
            graphs = await self._control.graphs()
        except Unavailable:
            if not self._forwarder.is_told:
                raise
            graphs = {}
        waiting = {name: g["reason"] for name, g in graphs.items() if g["live"] and not g["ready"]}
        if waiting:
            named = await self._askers.described(request, waiting)
            said = [f"{name} ({waiting[name]})" for name in named]
            others = len(waiting) - len(named)
            said += [f"{others} that take a key to be named"] if others else []
            raise Unavailable(f"graphs are not ready: {', '.join(said)}")
        # The protocol calls the field of this answer "live"; what clients look for is "ready".
        return json_reply({"live": True, "ready": True})

    async def _index(self, request: HttpRequest) -> HttpReply:
        asker = await self._askers.of(request)
        body = await request.body(self._body) or b"{}"
        only_ready = parsed(_decode_index, body, "the body", "not a request for the index").ready
        return json_reply(index(await self._control.graphs(), asker.identity, only_ready))

    async def _models(self, request: HttpRequest) -> HttpReply:
        identity = await self._askers.somewhere(request, "describe")
        return json_reply(models(await self._control.graphs(), identity, self._protocols))

    async def _to_named(self, request: HttpRequest) -> Answer:
        """Have a router of the graph answer that the body names.

        No body is read of somebody who may ask no graph.
        """
        await self._askers.somewhere(request, "call")
        graph = await graph_in_body(request, self._rule)
        await self._askers.allowed(request, "describe", graph)
        return await self._forwarder.forward(graph, request)

    async def _repository(self, request: HttpRequest, path: str) -> HttpReply:
        name, _, action = path.removesuffix("/").rpartition("/")
        if action not in _ACTIONS or name != graph_in(path):
            raise NotFound(f"there is no path {request.path[:256]!r}; use …/load or …/unload")
        if request.method != "POST":
            raise MethodNotAllowed(request.method, ["POST"])
        refused = foreign(request.headers)
        if refused is not None:
            return refused
        asker = await self._askers.allowed(request, "operate", name)
        body = (await request.body(self._body)).strip() or b"{}"
        check_parameters(parsed(_decode_load, body, "the body").parameters or ())
        refused = await repository.change(self._control, name, _ACTIONS[action], asker)
        return refused or json_reply({})

    async def _to_control(self, request: HttpRequest, path: str) -> HttpReply:
        refused = foreign(request.headers)
        if refused is not None:
            return refused
        asker = await self._askers.controlling(request, path)
        body = await request.body(self._upload)
        query = request.scope.get("query_string", b"").decode("latin-1")
        status, headers, answer = await self._control.handle(
            request.method, path, query, body, asker
        )
        return HttpReply(status, answer, headers)


def _is_browser(request: HttpRequest) -> bool:
    """Whether the caller asks for a page: only then does ``Accept`` name HTML."""
    accept = request.headers.get("accept", "")
    kinds = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    return request.method in ("GET", "HEAD") and "text/html" in kinds
