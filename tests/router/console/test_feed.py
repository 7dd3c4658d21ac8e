"""What consoles are told, by whom it is asked for, and how many there may be."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import orjson
import pytest

from anabranch.access.identity import Asker, Identity
from anabranch.access.roles import Grant
from anabranch.errors import Forbidden, NotFound, Unauthenticated, Unavailable
from anabranch.router.console import feed as module
from anabranch.router.console.feed import Feed, Who
from anabranch.router.errors import Headers
from anabranch.telemetry.definitions import REQUESTS
from anabranch.telemetry.registry import Registry, Snapshot


class OneGraphControl:
    """A control plane with one graph."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.registry = Registry()
        self.served = self.registry.number(REQUESTS, "digits", "infer", "http", "200")
        self.state = "live"
        self.error: Exception | None = None
        self.hangs = False

    async def metrics(self) -> Snapshot:
        self.asked["metrics"] += 1
        if self.hangs:
            await asyncio.sleep(60)
        if self.error is not None:
            raise self.error
        return self.registry.snapshot()

    async def handle(
        self, method: str, path: str, query: str, body: bytes, asker: Asker
    ) -> tuple[int, Headers, bytes]:
        assert (method, body) == ("GET", b"")
        self.asked[path] += 1
        if path == "/graphs":
            return 200, (), orjson.dumps({"graphs": [{"graph": "digits", "state": self.state}]})
        if path == "/graphs/digits":
            return 200, (), orjson.dumps({"graph": "digits", "state": self.state})
        if path == "/events":
            return 200, (), orjson.dumps({"events": [{"id": 1, "query": query}]})
        return 404, (), orjson.dumps({"error": "not there"})


class Reader:
    """A console: what it was told, by event."""

    def __init__(self, feed: Feed, graph: str = "", who: Who | None = None) -> None:
        self.events = feed.events(graph, who) if who else feed.events(graph)
        self.told: list[tuple[str, Any]] = []
        self.beats = 0

    async def read(self) -> None:
        text = (await anext(self.events)).decode()
        if text.startswith(":"):
            self.beats += 1
            return
        first, second = text.rstrip().split("\n")
        self.told.append((first.removeprefix("event: "), json.loads(second.removeprefix("data: "))))

    async def until(self, name: str, fits: Callable[[Any], bool] = lambda document: True) -> Any:
        async with asyncio.timeout(60):
            while not any(told == name and fits(document) for told, document in self.told):
                await self.read()
        return next(d for told, d in reversed(self.told) if told == name and fits(d))

    async def close(self) -> None:
        await self.events.aclose()


def feed(engine: OneGraphControl, **times: float) -> Feed:
    return Feed(engine, **({"pause": 0.01, "beat": 5.0} | times), clock=lambda: 1000.0)


def test_a_console_gets_everything_once_and_then_what_changes() -> None:
    async def run() -> None:
        engine = OneGraphControl()
        reader = Reader(feed(engine), "digits")
        await reader.until("monitors")
        assert [name for name, _ in reader.told] == [
            "engine", "overview", "graph", "numbers", "events", "monitors",
        ]  # fmt: skip
        told = dict(reader.told)
        assert told["engine"] == {"answers": True, "since": None, "reason": ""}
        assert told["events"] == [{"id": 1, "query": "graph=digits&newest=80"}]
        assert told["monitors"] is None
        await reader.until("numbers", lambda found: found["requests"]["per_second"] == 0.0)
        reader.told.clear()
        engine.state = "unhealthy"
        await reader.until("graph")
        assert {name for name, _ in reader.told} == {"overview", "graph"}
        await reader.close()

    asyncio.run(run())


def test_nobody_is_asked_while_nobody_looks() -> None:
    async def run() -> None:
        engine = OneGraphControl()
        one = feed(engine)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not engine.asked
        reader = Reader(one)
        await reader.until("overview")
        await reader.close()
        (poller,) = asyncio.all_tasks() - {asyncio.current_task()}
        async with asyncio.timeout(60):
            await poller
        before = engine.asked.copy()
        again = Reader(one)
        await again.until("overview")
        assert engine.asked["/graphs"] == before["/graphs"] + 1
        await again.close()

    asyncio.run(run())


def test_many_consoles_cost_one_poller() -> None:
    async def run() -> None:
        engine = OneGraphControl()
        one = feed(engine, pause=60.0)
        readers = [Reader(one, "digits") for _ in range(5)]
        await asyncio.gather(*(reader.until("monitors") for reader in readers))
        # Whoever comes is not kept waiting for the next round, so there may be one each.
        assert engine.asked["metrics"] <= len(readers)
        for reader in readers:
            await reader.close()

    asyncio.run(run())


def test_a_console_whose_graph_nobody_else_shows_is_served_at_once() -> None:
    async def run() -> None:
        one = feed(OneGraphControl(), pause=60.0)
        first = Reader(one)
        await first.until("overview")
        second = Reader(one, "digits")
        await second.until("graph")
        await asyncio.gather(first.close(), second.close())

    asyncio.run(run())


def test_the_line_is_never_silent_for_long() -> None:
    async def run() -> None:
        reader = Reader(feed(OneGraphControl(), beat=0.02))
        async with asyncio.timeout(60):
            while reader.beats < 4:
                await reader.read()
        await reader.close()

    asyncio.run(run())


def test_a_graph_that_is_not_there_is_null() -> None:
    async def run() -> None:
        reader = Reader(feed(OneGraphControl()), "team/nobody")
        assert await reader.until("graph", lambda found: found is None) is None
        await reader.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "graph", ["digits/traffic", "digits/history", "digits/a/b", "digits/", "a/../b"]
)
def test_a_text_that_is_no_name_shows_no_other_graph(graph: str) -> None:
    async def main() -> None:
        async def viewer() -> Identity:
            return Identity("key", "ci", (Grant("viewer", "digits/*"),))

        with pytest.raises(NotFound, match="there is no graph"):
            await anext(Feed(OneGraphControl()).events(graph, viewer))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"error": Unavailable("the controller is restarting")}, "the controller is restarting"),
        ({"hangs": True}, "the controller does not answer within 0.05s"),
        ({"error": RuntimeError("secret")}, "internal error; the log of the gateway has more"),
    ],
)
def test_a_controller_that_is_gone_is_said_to_be_and_comes_back(
    change: dict[str, Any], reason: str
) -> None:
    async def run() -> None:
        engine = OneGraphControl()
        reader = Reader(feed(engine, patience=0.05 if "hangs" in change else 60.0))
        await reader.until("overview")
        vars(engine).update(change)
        gone = await reader.until("engine", lambda found: not found["answers"])
        assert gone == {"answers": False, "since": 1000.0, "reason": reason}
        reader.told.clear()
        vars(engine).update(error=None, hangs=False)
        await reader.until("engine", lambda found: found["answers"])
        assert "overview" not in dict(reader.told)  # it is as it was
        await reader.close()

    asyncio.run(run())


async def _first(events: AsyncGenerator[bytes, None]) -> bytes:
    return await anext(events)


def test_consoles_are_bounded_and_make_room_for_others() -> None:
    async def run() -> None:
        one = feed(OneGraphControl())
        readers = [one.events() for _ in range(module.MAX_CONSOLES)]
        await _all([_first(events) for events in readers])
        with pytest.raises(Unavailable, match="64 consoles are open already"):
            await _first(one.events())
        await readers.pop().aclose()
        late = one.events()
        await _first(late)
        await _all([events.aclose() for events in (*readers, late)])

    asyncio.run(run())


def test_so_are_the_graphs_that_they_show() -> None:
    async def run() -> None:
        one = feed(OneGraphControl())
        readers = [one.events(f"g{number}") for number in range(module.MAX_GRAPHS)]
        await _all([_first(events) for events in readers])
        with pytest.raises(Unavailable, match="16 graphs"):
            await _first(one.events("another"))
        known = one.events("g0")
        await _first(known)
        await _all([events.aclose() for events in (*readers, known)])

    asyncio.run(run())


async def _all(waits: list[Awaitable[Any]]) -> None:
    await asyncio.gather(*waits)


class Visitor:
    """Somebody with the role viewer for a pattern, until ``gone``."""

    def __init__(self, graphs: str) -> None:
        self.identity = Identity("key", "reader", (Grant("viewer", graphs),))
        self.gone = False

    async def __call__(self) -> Identity:
        if self.gone:
            raise Unauthenticated("this key is not known, or was revoked")
        return self.identity


def test_a_console_sees_only_graphs_that_its_reader_may_view() -> None:
    async def run() -> None:
        one = feed(OneGraphControl())
        own, other = Reader(one, who=Visitor("dig*")), Reader(one, who=Visitor("team-*"))
        assert len((await own.until("overview"))["graphs"]) == 1
        assert (await other.until("overview"))["graphs"] == []
        with pytest.raises(Forbidden, match="may not view on graph 'digits'"):
            await Reader(one, "digits", Visitor("team-*")).read()
        await asyncio.gather(own.close(), other.close())

    asyncio.run(run())


def test_a_console_whose_key_is_revoked_is_told_nothing_more() -> None:
    async def run() -> None:
        engine, visitor = OneGraphControl(), Visitor("*")
        reader = Reader(feed(engine, beat=0.01), "digits", visitor)
        await reader.until("monitors")
        visitor.gone = True
        engine.state = "unhealthy"
        with pytest.raises(StopAsyncIteration):
            async with asyncio.timeout(60):
                while True:
                    await reader.read()
        assert all("unhealthy" not in str(document) for _, document in reader.told)

    asyncio.run(run())
