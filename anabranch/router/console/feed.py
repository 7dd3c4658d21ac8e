"""Feed of the consoles: one poller keeps all up to date, by server-sent events.

The poller asks the controller once a second, and only while somebody looks. What it finds are
documents; a console gets those it shows when it comes, and from then on those that have changed:

| event | document |
|---|---|
| ``engine`` | ``{"answers": bool, "since": Unix time, "reason"}``: whether the controller answers |
| ``overview`` | every graph in short, with its numbers |
| ``graph`` | one graph, as the control API shows it |
| ``numbers`` | what it did lately; see ``console_rates`` |
| ``events`` | its newest events |
| ``monitors`` | what its monitors have found |

An event whose document is null takes it back. Routers are never asked.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias
from urllib.parse import urlencode

import orjson

from anabranch.access.identity import Asker, Identity, anonymous
from anabranch.errors import RequestError, Unavailable
from anabranch.names import graph_path
from anabranch.router.backend import ControlBackend
from anabranch.router.console.rates import RateWindow
from anabranch.router.errors import status_of
from anabranch.waiting import within

logger = logging.getLogger("anabranch.router")

MAX_CONSOLES = 64
"""Most consoles at a time; each holds a connection."""
MAX_GRAPHS = 16
"""Most different graphs that they look at in detail; each costs a few calls a second."""
PAUSE_S = 1.0
PATIENCE_S = 5.0
"""A controller that takes longer is said not to answer."""
BEAT_S = 5.0
"""Longest time without anything sent, by which a console tells that the line is alive."""
NEWEST_EVENTS = 80
_BEAT = b": alive\n\n"
_POLLER = Asker(anonymous("viewer"))
"""The poller sees everything; each console is shown its part."""

Who: TypeAlias = Callable[[], Awaitable[Identity]]
"""Returns who looks, and raises a RequestError once that is not known any more."""
Topic: TypeAlias = tuple[str, str]
"""Name of the event, and the graph that it is of; empty for all."""


async def _poller() -> Identity:
    return _POLLER.identity


class Feed:
    """The documents, who looks at them, and the poller. For one event loop."""

    def __init__(
        self,
        source: ControlBackend,
        pause: float = PAUSE_S,
        beat: float = BEAT_S,
        patience: float = PATIENCE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._pause, self._beat, self._patience = pause, beat, patience
        self._clock = clock
        self._window = RateWindow()
        self._heard = 0.0
        """When the controller last answered, in Unix time; 0 before it has."""
        self._documents: dict[Topic, bytes] = {}
        self._looking: Counter[str] = Counter()
        """Consoles by the graph that each shows in detail; empty for none."""
        self._changed = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()

    async def events(self, graph: str = "", who: Who = _poller) -> AsyncGenerator[bytes, None]:
        """Events for a console that shows one graph in detail, or none, and who looks at it.

        Raises NotFound for what is no graph's name, as ``Identity.refusal`` says where that may
        not be seen, and Unavailable where too many look already. They end once ``who`` raises, or
        may see it no longer.
        """
        comer = await who()
        if graph:
            graph_path(graph)
        if not _may_see(comer, graph):
            raise comer.refusal("view", graph)
        identity: Identity | None = comer
        topics = _topics(graph)
        sent: dict[Topic, bytes] = {}
        with self._counted(graph):
            yield _BEAT
            spoken = time.monotonic()
            while identity is not None and _may_see(identity, graph):
                changed = self._changed
                for topic in topics:
                    found = _seen(topic, self._documents.get(topic), identity)
                    if found is not None and sent.get(topic) != found:
                        sent[topic], spoken = found, time.monotonic()
                        yield b"event: %s\ndata: %s\n\n" % (topic[0].encode(), found)
                try:
                    left = spoken + self._beat - time.monotonic()
                    async with asyncio.timeout(max(0.0, left)):
                        await changed.wait()
                except TimeoutError:
                    spoken = time.monotonic()
                    yield _BEAT
                identity = await _still(who)

    @contextmanager
    def _counted(self, graph: str) -> Iterator[None]:
        if self._looking.total() >= MAX_CONSOLES:
            raise Unavailable(f"{MAX_CONSOLES} consoles are open already; close one", 30)
        if graph not in self._looking and graph and len(self._watched()) >= MAX_GRAPHS:
            raise Unavailable(f"consoles show {MAX_GRAPHS} graphs already; close one", 30)
        self._looking[graph] += 1
        self._hurry.set()
        if self._poller is None:
            self._poller = asyncio.create_task(self._poll())
        try:
            yield
        finally:
            self._looking[graph] -= 1
            self._looking = +self._looking

    async def _poll(self) -> None:
        """Ask until nobody looks any more."""
        try:
            while self._looking:
                await self._ask()
                self._hurry.clear()
                await within(self._pause, self._hurry)
        finally:
            self._poller = None
            self._documents.clear()
            self._heard = 0.0
            self._window.forget()

    async def _ask(self) -> None:
        """One round; what was known stays where the controller does not answer."""
        try:
            async with asyncio.timeout(self._patience):
                found = await self._found()
        except Exception as error:
            self._put({("engine", ""): self._gone(error)})
        else:
            self._heard = self._clock()
            self._put({("engine", ""): {"answers": True, "since": None, "reason": ""}} | found)

    def _gone(self, error: Exception) -> dict[str, Any]:
        """Return the document on a controller that does not answer; faults are logged once."""
        known = orjson.loads(self._documents.get(("engine", ""), b"null"))
        is_new = known is None or known["answers"]
        since = self._heard or self._clock() if is_new else known["since"]
        if isinstance(error, TimeoutError):
            reason = f"the controller does not answer within {self._patience:g}s"
        elif status_of(error) is not None:
            reason = str(error)
        else:
            reason = "internal error; the log of the gateway has more"
            if is_new:
                logger.error("the console cannot be kept up to date", exc_info=error)
        return {"answers": False, "since": since, "reason": reason}

    async def _found(self) -> dict[Topic, Any]:
        listed, snapshot = await asyncio.gather(self._read("/graphs"), self._source.metrics())
        watched = self._watched()
        numbers = self._window.take(snapshot, watched)
        graphs = listed["graphs"]
        for graph in graphs:
            graph["numbers"] = numbers.get(graph["graph"], {}).get("requests")
        found: dict[Topic, Any] = {("overview", ""): {"graphs": graphs}}
        for documents in await asyncio.gather(*(self._graph(graph) for graph in watched)):
            found |= documents
        return found | {("numbers", graph): numbers.get(graph) for graph in watched}

    def _watched(self) -> list[str]:
        return [graph for graph in self._looking if graph]

    async def _graph(self, graph: str) -> dict[Topic, Any]:
        path = graph_path(graph)
        query = urlencode({"graph": graph, "newest": NEWEST_EVENTS})
        shown, events, monitors = await asyncio.gather(
            self._read(path), self._read("/events", query), self._read(f"{path}/monitors")
        )
        return {
            ("graph", graph): shown,
            ("events", graph): None if events is None else events["events"],
            ("monitors", graph): None if monitors is None else monitors["monitors"],
        }

    async def _read(self, path: str, query: str = "") -> Any:
        """Return the control API's answer at a path; None where the path is not there."""
        status, _, body = await self._source.handle("GET", path, query, b"", _POLLER)
        if status == 404:
            return None
        if status != 200:
            raise Unavailable(str(orjson.loads(body)["error"]))
        return orjson.loads(body)

    def _put(self, found: dict[Topic, Any]) -> None:
        """Take over what was found, and wake who waits if anything has changed."""
        documents = {topic: orjson.dumps(document) for topic, document in found.items()}
        if all(self._documents.get(topic) == document for topic, document in documents.items()):
            return
        self._documents |= documents
        self._changed.set()
        self._changed = asyncio.Event()


def _may_see(identity: Identity, graph: str) -> bool:
    return identity.may("view", graph) if graph else identity.may_somewhere("view")


async def _still(who: Who) -> Identity | None:
    """Return who looks now; None for somebody who is not known any more."""
    try:
        return await who()
    except RequestError:
        return None


def _seen(topic: Topic, document: bytes | None, identity: Identity) -> bytes | None:
    """Return a document without the graphs that may not be seen."""
    if document is None or topic[0] != "overview" or identity.may("view"):
        return document
    graphs = orjson.loads(document)["graphs"]
    return orjson.dumps({"graphs": [one for one in graphs if identity.may("view", one["graph"])]})


def _topics(graph: str) -> list[Topic]:
    detail = ["graph", "numbers", "events", "monitors"] if graph else []
    return [("engine", ""), ("overview", ""), *((name, graph) for name in detail)]
