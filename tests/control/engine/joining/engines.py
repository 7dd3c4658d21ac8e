"""An engine that machines join, of which only the control API answers, as a test tells it to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from anabranch.control.nodes.ticket import Ticket
from anabranch.router.between_nodes import AUTHORITY, NODE
from tests.control.web import Answer, Asked, Web, running

TICKET = Ticket(
    "e1", "127.0.0.1:1", "ray-secret", {"ANABRANCH_GRPC_PORT": "9009", "ANABRANCH_GRACE": "30"},
    {AUTHORITY: "the-authority", NODE: "the-node"},
)  # fmt: skip


class Head:
    """What the engine says: the machines that it knows, a ticket, or why there is none."""

    def __init__(self, web: Web) -> None:
        self.web = web
        self.nodes: list[dict[str, Any]] = []
        self.ticket = TICKET
        self.refusals: list[tuple[int, str]] = []
        """Statuses and errors of the next answers."""
        self.busy = 0
        """Tickets that are refused since it is the turn of another machine."""
        web.answer = self._answer

    @property
    def url(self) -> str:
        return self.web.url

    @property
    def asked(self) -> list[Asked]:
        return self.web.asked

    def know(
        self,
        machine: str,
        state: str = "alive",
        segments: Sequence[Any] = (),
        ingress: bool = False,
    ) -> None:
        one = {"id": f"n-{machine}", "machine": machine, "state": state, "address": "10.0.0.3"}
        self.nodes = [{**one, "segments": list(segments), "ingress": ingress}]

    def _answer(self, asked: Asked) -> Answer:
        if self.refusals:
            status, error = self.refusals.pop(0)
            return self._reply(status, {"error": error})
        if asked.path.endswith("/drain"):
            return self._reply(202, {"name": "two", **self.nodes[0]})
        if asked.method == "POST" and self.busy:
            self.busy -= 1
            return self._reply(503, {"error": "the machine has to wait until 'two' is back"})
        if asked.method == "POST":
            return self._reply(201, vars(self.ticket))
        return self._reply(200, {"nodes": self.nodes, "pending": [], "waiting": []})

    def _reply(self, status: int, content: Any) -> Answer:
        return Answer(status, json.dumps(content).encode(), {"content-type": "application/json"})


@contextmanager
def head() -> Iterator[Head]:
    with running() as web:
        yield Head(web)
