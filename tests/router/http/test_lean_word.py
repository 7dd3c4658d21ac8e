"""What the edge says with its requests, as the gate of a router hears it."""

from __future__ import annotations

import asyncio

import pytest

from anabranch.router.admission.admission import Admission, EdgeWord
from anabranch.router.http.listening import LeanServer
from tests.router.http.wire import Echo, Wire, ask, connect, replies, until


class Listening(Admission):
    """A gate that keeps what it hears."""

    def __init__(self) -> None:
        super().__init__("demo", 8)
        self.heard: list[tuple[EdgeWord, bool]] = []

    def hear(self, told: EdgeWord, is_new: bool) -> None:
        self.heard.append((told, is_new))
        super().hear(told, is_new)


async def answered(wire: Wire, *requests: bytes) -> None:
    for count, request in enumerate(requests, 1):
        await wire.feed(request)
        await until(lambda count=count: len(replies(wire.sent)) == count)  # type: ignore[misc]


def said(in_flight: str) -> bytes:
    return ask(**{"anabranch-in-flight": in_flight})


def test_what_the_first_request_of_a_connection_says_may_be_old() -> None:
    async def main() -> None:
        gate = Listening()
        server = LeanServer(Echo().app, gate=gate)
        await answered(connect(server), said("32"), ask(), said("48"))
        assert gate.heard == [(EdgeWord(32, False), False), (EdgeWord(48, False), True)]
        await server.close(0)

    asyncio.run(main())


@pytest.mark.parametrize("in_flight", ["", "0", "-16", "1e3", "9" * 10])
def test_what_is_no_count_says_nothing(in_flight: str) -> None:
    async def main() -> None:
        gate = Listening()
        server = LeanServer(Echo().app, gate=gate)
        await answered(connect(server), said(in_flight), said(in_flight))
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
        await answered(wire, said("32"), said("48"))
        assert gate.heard == []
        await server.close(0)

    asyncio.run(main())
