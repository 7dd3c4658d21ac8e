"""The HTTP face of one graph: everything under ``/v2/models/<graph>``.

| method | path | answers |
|---|---|---|
| GET | ``/v2/models/<graph>[/versions/<N>]`` | model metadata |
| GET | ``/v2/models/<graph>[/versions/<N>]/ready`` | ``{"name", "ready"}`` |
| POST | ``/v2/models/<graph>[/versions/<N>]/infer`` | inference |

``<N>`` is the number of a live revision.
"""

from __future__ import annotations

from typing import NoReturn

from anabranch.components.hints import hint
from anabranch.errors import InvalidRequest, NotFound
from anabranch.router.core import InferenceCore
from anabranch.router.errors import Reply
from anabranch.router.http import (
    CancelOnDisconnect,
    Handler,
    HttpApp,
    HttpRequest,
    Message,
    Receive,
    Send,
    dispatch,
    json_reply,
)
from anabranch.router.oip import decode_request, encode_metadata, encode_response
from anabranch.router.stepping import Started


class GraphApp:
    """ASGI application of one graph, for Serve's route prefix ``/v2/models/<graph>``.

    ``sends_id`` is as in ``HttpApp``.
    """

    def __init__(self, core: InferenceCore, sends_id: bool = True) -> None:
        self.core = core
        self.prefix = f"/v2/models/{core.name}"
        endpoints: dict[str, dict[str, Handler]] = {
            "": {"GET": self._metadata},
            "/ready": {"GET": self._ready},
            "/infer": {"POST": self._infer},
        }
        version = f"/versions/{core.version}"
        self._endpoints = endpoints
        self._routes = endpoints | {version + path: found for path, found in endpoints.items()}
        self._app = HttpApp(self._handle, sends_id)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        await self._app(scope, receive, send)

    async def _handle(self, request: HttpRequest) -> Reply:
        request.check_headers(self.core.limits.max_headers)
        path = request.path.removeprefix(self.prefix).removesuffix("/")
        methods = self._routes.get(path)
        if methods is None:
            self._not_found(path)
        return await dispatch(request, methods)

    def _not_found(self, path: str) -> NoReturn:
        path = path[:256]
        parts = path.split("/")
        if parts[:2] == ["", "versions"] and len(parts) > 2 and parts[2] != self.core.version:
            raise NotFound(
                f"graph {self.core.name!r} has no live revision {parts[2]!r} "
                f"(live: {self.core.version})"
            )
        raise NotFound(
            f"graph {self.core.name!r} has no path {path!r}{hint(path, self._endpoints)}"
        )

    async def _metadata(self, request: HttpRequest) -> Reply:
        return json_reply(encode_metadata(self.core.metadata()))

    async def _ready(self, request: HttpRequest) -> Reply:
        return json_reply({"name": self.core.name, "ready": True})

    async def _infer(self, request: HttpRequest) -> Reply:
        if request.is_binary:
            raise InvalidRequest(
                "header Inference-Header-Content-Length: binary tensors are not supported yet; "
                "send JSON data"
            )
        limits = self.core.limits
        with self.core.gate:
            body = await request.body(limits.max_body, limits.body_timeout)
            decoded = decode_request(body, limits)
            running = Started(self.core.infer(decoded, request.headers, request.id))
            if running.done:
                return Reply(200, encode_response(running.value))
            with CancelOnDisconnect(request.receive):
                response = await running
            return Reply(200, encode_response(response))
