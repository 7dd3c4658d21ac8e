"""A lean server's guests, who have no proxy between, and what the edge says with its requests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from anabranch.router.admission.admission import Admission, EdgeWord
from anabranch.router.http import lean, lean_state
from anabranch.router.http.lean_state import ReadingTurns
from anabranch.router.http.listening import LeanServer
from tests.router.http.wire import Echo, Wire, ask, connect, replies
from tests.waiting import eventually


@pytest.fixture(autouse=True)
def three() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lean_state, "MAX_GUESTS", 3)
        yield


def guest(server: LeanServer, wire: Wire | None = None) -> Wire:
    wire = wire or Wire()
    wire.protocol = server.guest()
    wire.protocol.connection_made(wire)
    return wire


async def answered(wire: Wire, count: int = 1) -> None:
    await wire.feed(ask())
    await eventually(lambda: len(replies(wire.sent)) == count)


def test_the_one_that_is_idle_for_longest_goes_first() -> None:
    async def main() -> None:
        server = LeanServer(Echo().app)
        first, second, third = (guest(server) for _ in range(3))
        for wire in (second, first, third):
            await answered(wire)
        fourth = guest(server)
        assert [wire.is_over for wire in (first, second, third, fourth)] == [False, True] + [
            False
        ] * 2
        await answered(fourth)
        await answered(first, 2)
        guest(server)
        assert third.is_over
        assert not first.is_over
        await server.close(0)

    asyncio.run(main())


def test_one_that_sent_nothing_is_told_why() -> None:
    async def main() -> None:
        server = LeanServer(Echo().app)
        silent = guest(server)
        half = guest(server)
        await half.feed(ask()[:20])
        await answered(guest(server))
        guest(server)
        guest(server)
        (reply,) = replies(silent.sent)
        assert (reply.status, dict(reply.headers)["retry-after"]) == (503, "1")
        assert reply.json() == {"error": "there are too many connections; try again later"}
        assert half.is_over
        assert not half.sent
        await server.close(0)

    asyncio.run(main())


class Stuck(Wire):
    """A connection whose client does not take what was written, for which a close waits."""

    def close(self) -> None:
        pass


@pytest.mark.parametrize("headers", [{}, {"connection": "close"}])
def test_one_that_does_not_take_its_answer_does_not_stay(headers: dict[str, str]) -> None:
    async def main() -> None:
        server = LeanServer(Echo().app)
        stuck = guest(server, Stuck())
        await stuck.feed(ask(**headers))
        await eventually(lambda: len(replies(stuck.sent)) == 1)
        others = [guest(server) for _ in range(3)]
        assert stuck.is_closed
        assert not any(wire.is_over for wire in others)
        await server.close(0)

    asyncio.run(main())


def test_those_at_work_stay_and_the_new_one_goes() -> None:
    async def main() -> None:
        server = LeanServer(Echo().app)
        busy = [guest(server) for _ in range(3)]
        for wire in busy:
            await wire.feed(ask("/wait/1000"))
        new = guest(server)
        assert replies(new.sent)[0].status == 503
        assert new.is_over
        await eventually(lambda: all(len(replies(wire.sent)) == 1 for wire in busy))
        await server.close(0)

    asyncio.run(main())


def test_one_that_has_gone_leaves_its_place_and_those_of_proxies_take_none() -> None:
    async def main() -> None:
        server = LeanServer(Echo().app)
        proxies = [connect(server) for _ in range(5)]
        guests = [guest(server) for _ in range(3)]
        await guests[0].hang_up()
        guests[0] = guest(server)
        assert not any(wire.is_over for wire in (*proxies, *guests))
        await server.close(0)

    asyncio.run(main())


class Listening:
    """A gate that keeps what it hears."""

    def __init__(self) -> None:
        self._gate = Admission("demo", 8)
        self.heard: list[tuple[EdgeWord, bool]] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._gate, name)

    def hear(self, told: EdgeWord, is_new: bool) -> None:
        self.heard.append((told, is_new))
        self._gate.hear(told, is_new)


async def all_answered(wire: Wire, *requests: bytes) -> None:
    for count, request in enumerate(requests, 1):
        await wire.feed(request)
        await eventually(lambda count=count: len(replies(wire.sent)) == count)  # type: ignore[misc]


def said(in_flight: str) -> bytes:
    return ask(**{"anabranch-in-flight": in_flight})


def test_what_the_first_request_of_a_connection_says_may_be_old() -> None:
    async def main() -> None:
        gate = Listening()
        server = LeanServer(Echo().app, gate=gate)
        await all_answered(connect(server), said("32"), ask(), said("48"))
        assert gate.heard == [(EdgeWord(32, False), False), (EdgeWord(48, False), True)]
        await server.close(0)

    asyncio.run(main())


@pytest.mark.parametrize("in_flight", ["", "0", "-16", "1e3", "9" * 10])
def test_what_is_no_count_says_nothing(in_flight: str) -> None:
    async def main() -> None:
        gate = Listening()
        server = LeanServer(Echo().app, gate=gate)
        await all_answered(connect(server), said(in_flight), said(in_flight))
        assert gate.heard == []
        await server.close(0)

    asyncio.run(main())


def test_a_client_without_an_edge_is_not_believed() -> None:
    async def main() -> None:
        gate = Listening()
        server = LeanServer(Echo().app, gate=gate)
        wire = Wire()
        wire.protocol = server.guest()
        wire.protocol.connection_made(wire)
        await all_answered(wire, said("32"), said("48"))
        assert gate.heard == []
        await server.close(0)

    asyncio.run(main())


def test_only_who_is_believed_names_a_client() -> None:
    """Also where the same bytes were read before on a connection of the other kind."""

    async def main() -> None:
        server = LeanServer(Echo().app)
        names = {"Anabranch-Client-Name": "ann", "anabranch-client-address": "10.0.0.1"}
        protocols = [lambda: server.protocol(is_believed=True), server.protocol, server.guest]
        for protocol in (*protocols, *reversed(protocols)):
            wire = Wire()
            wire.protocol = protocol()
            wire.protocol.connection_made(wire)
            await all_answered(wire, ask(**names), ask(**names))
            for part in (ask(**names)[:50], ask(**names)[50:]):
                await wire.feed(part)
            await eventually(lambda wire=wire: len(replies(wire.sent)) == 3)  # type: ignore[misc]
            told = [dict(reply.json()[3]) for reply in replies(wire.sent)]
            is_believed = protocol is protocols[0]
            expected = {name.lower(): value for name, value in names.items()} if is_believed else {}
            for headers in told:
                assert {n: v for n, v in headers.items() if n.startswith("anabranch-")} == expected
        await server.close(0)

    asyncio.run(main())


def test_a_guest_has_so_long_to_send_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean, "HEAD_S", 0.5)

    async def main() -> None:
        server = LeanServer(Echo().app)
        slow, proxy, quick = guest(server), connect(server), guest(server)
        for wire in (slow, proxy, quick):
            await wire.feed(ask()[:20])
        await quick.feed(ask()[20:])
        await eventually(lambda: slow.is_over)
        (reply,) = replies(slow.sent)
        assert reply.status == 408
        assert reply.json() == {"error": "the head of the request did not arrive in time"}
        assert not proxy.is_over and not proxy.sent
        await answered(quick, 2)
        await server.close(0)

    asyncio.run(main())


def test_a_guest_that_is_not_read_has_its_time_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean, "HEAD_S", 0.01)

    async def main() -> None:
        server = LeanServer(Echo().app)
        wire = guest(server)
        await wire.feed(ask("/wait/1000000") + ask() + ask()[:20])
        assert wire.is_paused
        due = wire.protocol._head_due
        await eventually(lambda: wire.protocol._head_due is not due)  # it has passed once
        assert not wire.sent
        monkeypatch.setattr(lean, "HEAD_S", 60)
        await wire.hang_up()
        assert wire.protocol._head_due is None
        await server.close(0)

    asyncio.run(main())


class Reader:
    """A connection that notes its turns, and waits for another one after each but its last."""

    def __init__(
        self, turns: ReadingTurns, read: list[str], name: str, pieces: int, is_broken: bool = False
    ) -> None:
        self._turns, self._read, self._name = turns, read, name
        self._pieces, self._is_broken = pieces, is_broken

    under_way = 1

    def read_on(self) -> None:
        self._read.append(self._name)
        if self._is_broken:
            raise OSError("broken")
        self._pieces -= 1
        if self._pieces:
            self._turns.wait(self)


def test_large_bodies_are_read_on_by_turns_whatever_becomes_of_one() -> None:
    async def main() -> None:
        errors: list[str] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: errors.append(str(context["exception"]))
        )
        turns, read = ReadingTurns(), list[str]()
        for name, pieces in (("a", 2), ("broken", 1), ("b", 3), ("c", 1)):
            turns.wait(Reader(turns, read, name, pieces, name == "broken"))
        await eventually(lambda: len(read) == 7)
        assert read == ["a", "broken", "b", "c", "a", "b", "b"]
        assert errors == ["broken"]
        read.clear()
        turns.wait(Reader(turns, read, "lone", 3))
        for _ in range(3):  # one piece in each turn of the loop, also where nobody else waits
            count = len(read)
            await asyncio.sleep(0)
            assert len(read) == count + 1
        await asyncio.sleep(0)
        assert (read, errors) == (["lone"] * 3, ["broken"])

    asyncio.run(main())
