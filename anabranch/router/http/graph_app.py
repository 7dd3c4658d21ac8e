"""The HTTP face of one graph: everything under ``/v2/models/<graph>``.

| method | path | answers |
|---|---|---|
| GET | ``/v2/models/<graph>[/versions/<N>]`` | model metadata |
| GET | ``/v2/models/<graph>[/versions/<N>]/ready`` | ``{"name", "ready"}`` |
| POST | ``/v2/models/<graph>[/versions/<N>]/infer`` | inference |
| POST | ``/v2/models/<graph>[/versions/<N>]/explain`` | an explanation |
| POST | ``/v2/models/<graph>[/versions/<N>]/generate`` | inference in plain JSON |
| POST | ``/v2/models/<graph>[/versions/<N>]/generate_stream`` | the same as server-sent events |
| POST | ``/v2/models/<graph>/feedback`` | a reward for an answer, see ``feedback`` |
| GET, DELETE | ``/v2/models/<graph>/requests/<id>`` | an asynchronous one, see ``async_requests`` |
| GET | ``/v2/models/<graph>[/versions/<N>]/openapi.json`` | the OpenAPI document of these |
| GET | ``/v2/models/<graph>[/versions/<N>]/docs`` | the same as a page to try them |

``<N>`` is the number of any revision in the routing table. A request to it goes there whatever the
weights are, has no copy sent to a mirror, and is left out of the revision's statistics: these speak
of the traffic that the table sends.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

import orjson

from anabranch.access.issuers import UnknownSigner
from anabranch.access.roles import Action
from anabranch.errors import Forbidden, NotFound
from anabranch.graph.calls.stepping import Started
from anabranch.router.errors import HttpReply
from anabranch.router.http import openapi_page
from anabranch.router.http.access import FOREIGN, is_foreign
from anabranch.router.http.app import (
    Answer,
    CancelOnDisconnect,
    Handler,
    HttpApp,
    dispatch,
    json_reply,
)
from anabranch.router.http.doors.all_doors import DOORS
from anabranch.router.http.doors.async_requests import PREFER, REQUESTS, AsyncCalls, prefers_async
from anabranch.router.http.doors.calls import GraphCalls, told_of_call
from anabranch.router.http.doors.contract import VERSION, Door, Endpoint, Guarded, Methods
from anabranch.router.http.doors.forms import reply_in_form
from anabranch.router.http.doors.places import graph_at
from anabranch.router.http.event_stream import EventStream
from anabranch.router.http.observing import HttpObserver
from anabranch.router.http.openapi import document
from anabranch.router.http.request import BodyRule, HttpRequest
from anabranch.router.inference.contract import ModelMetadata
from anabranch.router.later import AsyncStore
from anabranch.router.limits import LARGE, RequestLimits
from anabranch.router.oip.decode import DecodedBody, decode_body
from anabranch.router.oip.encode import encode_metadata
from anabranch.router.oip.generate import decode_generate, encode_answer, encode_each
from anabranch.router.oip.helper_process import apart
from anabranch.router.oip.raw_tensors import Buffer
from anabranch.router.oip.tensor_header import memory_of_arrays
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.feedback import MAX_BODY, Feedback
from anabranch.specs.excerpts import hint
from anabranch.specs.models import ProtocolName

_SAFE = ("GET", "HEAD")
_VERSIONS = "/versions/"
_NUMBER = re.compile(rf"{_VERSIONS}([^/:]{{1,32}})")


class GraphApp(HttpApp):
    """ASGI application of one graph, for Serve's route prefix ``/v2/models/<graph>``.

    Rewards are taken only where there is ``feedback``, and requests that are to be answered later
    where they can be kept for ``later``; else they are answered at once.
    """

    def __init__(
        self,
        arms: Arms,
        feedback: Feedback | None = None,
        later: AsyncStore | None = None,
    ) -> None:
        self._arms = arms
        self._later = None if later is None else AsyncCalls(arms, later)
        self._of_requests = {} if self._later is None else self._later.methods
        self._calls = GraphCalls(arms)
        self._body = BodyRule.of(arms.limits, arms.under_way)
        self._prefix = f"/v2/models/{arms.name}"
        self._endpoints: dict[str, dict[str, Guarded]] = {
            "": {"GET": ("describe", self._metadata)},
            "/ready": {"GET": ("describe", self._ready)},
            "/infer": {"POST": ("call", self._infer)},
            "/explain": {"POST": ("call", self._explain)},
            "/generate": {"POST": ("call", self._generate)},
            "/generate_stream": {"POST": ("call", self._generate_stream)},
            "/openapi.json": {"GET": ("describe", self._openapi)},
            "/docs": {"GET": ("describe", self._docs)},
            **{
                f"/docs/{name}": {"GET": ("describe", partial(self._asset, name))}
                for name in openapi_page.FILES
            },
        }
        self._all_doors = doors = [make(self._calls, feedback) for make in DOORS]
        self._endpoints |= {
            path: self._of_door(door, methods)
            for door in doors
            for path, methods in door.words.items()
        }
        self._routes = {path: self._bound(found, None) for path, found in self._endpoints.items()}
        if feedback is not None:
            give = self._guarded("feedback", partial(self._feedback, feedback))
            self._routes["/feedback"] = {"POST": give}
        self._direct = {
            (method, self._prefix + path): handler
            for path, methods in self._routes.items()
            for method, handler in methods.items()
        }
        """Handlers by method and whole path: where most requests go."""
        self._door_endpoints = self._of_doors(doors)
        self._doors = {
            path: self._bound(found, None)
            for path, found in self._door_endpoints.items()
            if VERSION not in path
        }
        """Handlers of other protocols by whole path and method."""
        observer = HttpObserver(arms.name, arms.sampler, self._route)
        super().__init__(self._handle, observer, reply_in_form)

    def _handle(self, request: HttpRequest) -> Awaitable[Answer]:
        request.check_headers(self._arms.limits.max_headers)
        handler = self._direct.get((request.method, request.path))
        if handler is not None:
            return handler(request)
        path = request.path.removeprefix(self._prefix).removesuffix("/")
        found = (
            self._routes.get(path)
            or self._doors.get(request.path)
            or self._door_of_version(request.path)
            or self._asynchronous(path)
            or self._versioned(path)
        )
        return dispatch(request, found)

    def _of_door(self, door: Door, methods: Methods) -> dict[str, Guarded]:
        return {
            method: (action, partial(self._through, door.protocol, endpoint))
            for method, (action, endpoint) in methods.items()
        }

    def _of_doors(self, doors: Iterable[Door]) -> dict[str, dict[str, Guarded]]:
        """Endpoints by path and method; where several doors have one, they answer together."""
        found: dict[str, dict[str, list[tuple[Door, Guarded]]]] = {}
        for door in doors:
            for path, methods in door.paths.items():
                for method, guarded in methods.items():
                    found.setdefault(path, {}).setdefault(method, []).append((door, guarded))
        return {
            path: {method: self._together(each) for method, each in methods.items()}
            for path, methods in found.items()
        }

    def _together(self, doors: Sequence[tuple[Door, Guarded]]) -> Guarded:
        door, (action, endpoint) = doors[0]
        if len(doors) == 1:
            return action, partial(self._through, door.protocol, endpoint)
        return action, partial(self._through_each, [(one, found[1]) for one, found in doors])

    async def _through_each(
        self,
        doors: Sequence[tuple[Door, Endpoint]],
        revision: str | None,
        request: HttpRequest,
    ) -> Answer:
        """Answer with the fields of all protocols that the graph or the engine has."""
        taken = [one for one in doors if self._arms.takes(one[0].protocol)] or doors[:1]
        fields: dict[str, Any] = {}
        for door, endpoint in taken:
            answer = await self._through(door.protocol, endpoint, revision, request)
            if not isinstance(answer, HttpReply) or len(taken) == 1:
                return answer
            fields |= orjson.loads(answer.body)
        return json_reply(fields)

    async def _through(
        self, protocol: ProtocolName, endpoint: Endpoint, revision: str | None, request: HttpRequest
    ) -> Answer:
        """Answer by the endpoint of a protocol; NotFound unless the graph or the engine has it.

        Forbidden to a web page of another origin, but for requests that change nothing.
        """
        self._arms.check_protocol(protocol)
        if request.method not in _SAFE and is_foreign(request.headers):
            raise Forbidden(FOREIGN)
        return await endpoint(revision, request)

    def _route(self, path: str) -> str | None:
        """The template of a path, as traces and metrics name it; None for one that there is not."""
        template = _of_version(path)[0]
        if template in self._door_endpoints:
            named = graph_at(path)
            return template if named is None else template.replace(f"/{named}", "/{model}", 1)
        path = path.removeprefix(self._prefix).removesuffix("/")
        if path in self._routes:
            return f"/v2/models/{{model}}{path}"
        if path.startswith(REQUESTS):
            return f"/v2/models/{{model}}{REQUESTS}{{id}}"
        _, slash, rest = path.removeprefix(_VERSIONS).partition("/")
        if path.startswith(_VERSIONS) and slash + rest in self._endpoints:
            return f"/v2/models/{{model}}{_VERSIONS}{{version}}{slash}{rest}"
        return None

    def _door_of_version(self, path: str) -> dict[str, Handler] | None:
        """Return the handlers of another protocol at a path with the number of a revision."""
        template, number = _of_version(path)
        found = self._door_endpoints.get(template)
        if not number or found is None:
            return None
        self._arms.routing.arm(number)
        return self._bound(found, number)

    def _asynchronous(self, path: str) -> dict[str, Handler]:
        """Return the handlers of an asynchronous request, where the path names one."""
        methods = self._of_requests if path.startswith(REQUESTS) else {}
        id = path.removeprefix(REQUESTS)
        return {name: self._guarded("call", partial(one, id)) for name, one in methods.items()}

    def _versioned(self, path: str) -> dict[str, Handler]:
        if not path.startswith(_VERSIONS):
            self._not_found(path)
        number, slash, rest = path.removeprefix(_VERSIONS).partition("/")
        self._arms.routing.arm(number)
        endpoint = self._endpoints.get(slash + rest)
        if endpoint is None:
            self._not_found(path)
        return self._bound(endpoint, number)

    def _bound(self, methods: Mapping[str, Guarded], revision: str | None) -> dict[str, Handler]:
        return {
            method: self._guarded(action, partial(endpoint, revision))
            for method, (action, endpoint) in methods.items()
        }

    def _guarded(self, action: Action, handler: Handler) -> Handler:
        """Return a handler that answers only who may do this."""
        guard = self._arms.guard

        async def later(request: HttpRequest) -> Answer:
            head = request.head
            identity = await guard.check_renewed(action, head.credentials, head.address)
            request.asked_by(identity)
            return await handler(request)

        def answer(request: HttpRequest) -> Awaitable[Answer]:
            head = request.head
            try:
                identity = guard.check(action, head.credentials, head.address)
            except UnknownSigner:
                return later(request)
            request.asked_by(identity)
            return handler(request)

        return answer

    def _not_found(self, path: str) -> NoReturn:
        path = path[:256]
        raise NotFound(f"graph {self._arms.name!r} has no path {path!r}{hint(path, self._routes)}")

    async def _metadata(self, revision: str | None, request: HttpRequest) -> HttpReply:
        return json_reply(encode_metadata(self._arms.metadata(revision)))

    async def _ready(self, revision: str | None, request: HttpRequest) -> HttpReply:
        self._arms.check_ready(revision)
        return json_reply({"name": self._arms.name, "ready": True})

    async def _openapi(self, revision: str | None, request: HttpRequest) -> HttpReply:
        path = self._prefix if revision is None else f"{self._prefix}{_VERSIONS}{revision}"
        feedback = revision is None and "/feedback" in self._routes
        metadata, explainers = self._arms.metadata(revision), self._arms.explainers(revision)
        doors = [door for door in self._all_doors if self._arms.takes(door.protocol)]
        others = [] if revision is not None else [door.openapi(metadata) for door in doors]
        return json_reply(document(metadata, path, feedback, explainers, others))

    async def _docs(self, revision: str | None, request: HttpRequest) -> HttpReply:
        return openapi_page.page(self._arms.name, request.path.endswith("/"))

    async def _asset(self, name: str, revision: str | None, request: HttpRequest) -> HttpReply:
        return openapi_page.asset(name, request.headers.get("accept-encoding", ""))

    async def _infer(self, revision: str | None, request: HttpRequest) -> HttpReply:
        if self._later is not None and PREFER in request.head.last and prefers_async(request):
            return await self._later.take(revision, request)
        arms, length = self._arms, request.json_length
        body = request.whole(self._body)
        if body is None:
            arms.gate.check(request.caller)
            body = await request.buffer(self._body)
        with arms.gate.place(body, request.caller):
            if len(body) <= LARGE:
                decoded, form = decode_body(
                    body, length, arms.limits, lambda: arms.metadata(revision).inputs
                )
            else:
                decoded, form = await self._large_body(body, length, revision, request)
            told_of_call(decoded, request)
            running = Started(arms.infer(decoded, form.encode, revision))
            if not running.done:
                async with CancelOnDisconnect(request.receive):
                    return self._calls.answered(*(await running), request)
            return self._calls.answered(*running.value, request)

    async def _large_body(
        self, body: Buffer, length: int | None, revision: str | None, request: HttpRequest
    ) -> DecodedBody:
        """Decode a large body off the event loop, and count what it becomes."""
        limits, inputs = self._arms.limits, self._arms.metadata(revision).inputs
        size, given = len(body) if length is None else length, partial(tuple, inputs)
        found = await apart(size, decode_body, memoryview(body), length, limits, given)
        request.hold(memory_of_arrays(found.request.inputs.values()), self._arms.under_way)
        return found

    async def _explain(self, revision: str | None, request: HttpRequest) -> HttpReply:
        decode = partial(_explained, request.json_length, self._arms.limits)
        return await self._calls.explain(request, decode, revision)

    async def _generate(self, revision: str | None, request: HttpRequest) -> HttpReply:
        return await self._calls.joined(
            request,
            partial(_generated, self._arms.limits),
            lambda found, metadata: HttpReply(200, encode_answer(found, metadata)),
            revision,
        )

    async def _generate_stream(self, revision: str | None, request: HttpRequest) -> EventStream:
        decode = partial(_generated, self._arms.limits)
        return await self._calls.stream(request, decode, encode_each, revision)

    async def _feedback(self, feedback: Feedback, request: HttpRequest) -> HttpReply:
        feedback.gate.check()
        body = await request.buffer(self._body._replace(limit=MAX_BODY))
        with feedback.gate:
            return json_reply(await feedback.take(body))


def _explained(
    length: int | None, limits: RequestLimits, body: Buffer, metadata: ModelMetadata
) -> DecodedBody:
    return decode_body(body, length, limits, lambda: metadata.inputs)


def _generated(limits: RequestLimits, body: Buffer, metadata: ModelMetadata) -> DecodedBody:
    return DecodedBody(decode_generate(body, metadata, limits))


def _of_version(path: str) -> tuple[str, str]:
    """Return a path with ``{version}`` for the number of a revision, and the number, if any."""
    found = _NUMBER.search(path)
    if found is None:
        return path, ""
    return f"{path[: found.start()]}{VERSION}{path[found.end() :]}", found[1]
