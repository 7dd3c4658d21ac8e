"""The HTTP face of a process with one graph: the graph's paths, and those of the whole server.

Beside the graph's own paths there are those of the gateway that need no control plane: server
metadata, health, ``/metrics``, the repository index. ``/`` leads to the page of the graph's API.
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import lru_cache

from anabranch.errors import NotFound
from anabranch.names import graph_in
from anabranch.router.console.page import CONSOLE
from anabranch.router.errors import HttpReply
from anabranch.router.gateway.app import CONTROL, Gateway
from anabranch.router.http.app import HttpApp
from anabranch.router.http.doors.places import MODEL_IN_BODY, graph_at
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.http.request import HttpRequest, Message, Receive, Send
from anabranch.router.standalone.backend import NO_ENGINE

_MODELS = "/v2/models/"
_OF_ENGINES = (CONSOLE, CONTROL)
"""What takes an engine; no caller without a key is sent for one, since there is nothing there."""
_KEPT = 64
"""Paths of which is remembered who answers them: most requests have the same ones."""


class StandaloneApp:
    """An ASGI application that answers one graph's requests by ``app``, others by ``gateway``."""

    def __init__(self, graph: str, app: GraphApp, gateway: Gateway) -> None:
        self._graph = graph
        self._app, self._gateway = app, gateway
        self._pages = HttpApp(self._page)
        self._chosen = lru_cache(_KEPT)(self._choose)

    def __call__(self, scope: Message, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one ASGI connection."""
        return self._chosen(scope.get("path", ""))(scope, receive, send)

    def _choose(self, path: str) -> GraphApp | Gateway | HttpApp:
        if path == "/" or any(path == one or path.startswith(f"{one}/") for one in _OF_ENGINES):
            return self._pages
        if path in MODEL_IN_BODY:
            return self._app
        named = graph_in(path.removeprefix(_MODELS)) if path.startswith(_MODELS) else graph_at(path)
        return self._app if named == self._graph else self._gateway

    async def _page(self, request: HttpRequest) -> HttpReply:
        if request.path != "/":
            raise NotFound(NO_ENGINE)
        place = f"v2/models/{self._graph}/docs"
        return HttpReply(307, b"", ((b"location", place.encode()),))
