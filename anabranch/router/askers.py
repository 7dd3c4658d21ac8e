"""Who may read what the gateway shows of the whole engine, and what it says of graphs."""

from __future__ import annotations

from collections.abc import Iterable

from anabranch.access.guard import NOTHING
from anabranch.access.identity import Asker, Identity, anonymous
from anabranch.access.roles import Action
from anabranch.errors import RequestError
from anabranch.router.backend import ControlBackend
from anabranch.router.http.access import is_local
from anabranch.router.http.request import HttpRequest

ME = "/access/me"
"""Path of the control API where everybody may ask who they are, if they have any role at all."""


class Askers:
    """Finds out who asks; ``loopback`` says that the engine listens on loopback only."""

    def __init__(self, control: ControlBackend, loopback: bool) -> None:
        self._control = control
        self._loopback = loopback

    async def of(self, request: HttpRequest) -> Asker:
        """Return who asks; Unauthenticated where what is shown is not known."""
        head = request.head
        return await self._control.asker(head.credentials, head.address, request.id)

    async def controlling(self, request: HttpRequest, path: str) -> Asker:
        """Return who asks for a path of the control API; raises where nothing of it is allowed."""
        asker = await self.of(request)
        if path != ME and not asker.identity.uses_control:
            raise asker.identity.refusal("view")
        return asker

    async def reader(self, request: HttpRequest, path: str = "") -> Asker:
        """Return who asks to read a path of the control API, or another page of the engine.

        On loopback, whoever is on this machine and shows nothing may view all.
        """
        nobody = request.head.credentials == NOTHING
        if nobody and self._loopback and is_local(request.headers):
            return Asker(anonymous("viewer"), request.head.address, request.id)
        return await self.controlling(request, path)

    async def described(self, request: HttpRequest, graphs: Iterable[str]) -> list[str]:
        """Return the graphs that whoever asks may know of; keys that are not known count as none.

        Nobody is refused: load balancers ask for an engine's health without a key.
        """
        try:
            identity = (await self.of(request)).identity
        except RequestError:
            return []
        return [graph for graph in graphs if identity.may("describe", graph)]

    async def somewhere(self, request: HttpRequest, action: Action) -> Identity:
        """Return who asks, and may do this to some graph; raises where that is none.

        Where everybody may do it to all graphs, what is shown is not looked at: clients of OpenAI's
        API show a key in any case, and where graphs are asked one that is not known counts like
        none.
        """
        head = request.head
        nobody = await self._control.asker(NOTHING, head.address, request.id)
        if head.credentials == NOTHING or nobody.identity.may(action):
            identity = nobody.identity
        else:
            identity = (await self.of(request)).identity
        if not identity.may_somewhere(action):
            raise identity.refusal(action)
        return identity

    async def allowed(self, request: HttpRequest, action: Action, graph: str) -> Asker:
        """Return who asks, and may do this to a graph; raises where they may not."""
        head = request.head
        return await self._control.allowed(
            action, graph, head.credentials, head.address, request.id
        )
