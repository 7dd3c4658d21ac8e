"""Who may read what the gateway shows of the whole engine, and what it says of graphs."""

from __future__ import annotations

from anabranch.access.guard import NOTHING
from anabranch.access.identity import Asker, anonymous
from anabranch.access.roles import Action
from anabranch.router.backend import ControlBackend
from anabranch.router.http.access import is_local
from anabranch.router.http.request import HttpRequest


class Askers:
    """Finds out who asks; ``loopback`` says that the engine listens on loopback only."""

    def __init__(self, control: ControlBackend, loopback: bool) -> None:
        self._control = control
        self._loopback = loopback

    async def of(self, request: HttpRequest) -> Asker:
        """Return who asks; Unauthenticated where what is shown is not known."""
        head = request.head
        return await self._control.asker(head.credentials, head.address, request.id)

    async def controlling(self, request: HttpRequest) -> Asker:
        """Return who asks for the control API; raises at once where nothing of it is allowed."""
        asker = await self.of(request)
        if not asker.identity.uses_control:
            raise asker.identity.refusal("view")
        return asker

    async def reader(self, request: HttpRequest) -> Asker:
        """Return who asks to read.

        On loopback, whoever is on this machine and shows nothing may view all.
        """
        nobody = request.head.credentials == NOTHING
        if nobody and self._loopback and is_local(request.headers):
            return Asker(anonymous("viewer"), request.head.address, request.id)
        return await self.controlling(request)

    async def allowed(self, request: HttpRequest, action: Action, graph: str) -> Asker:
        """Return who asks, and may do this to a graph; raises where they may not."""
        head = request.head
        return await self._control.allowed(
            action, graph, head.credentials, head.address, request.id
        )
