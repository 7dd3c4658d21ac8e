"""HAProxy before routers on other nodes: certificates of both ends, and machines that go."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Self

import pytest

from anabranch.router.between_nodes import node_folder, of_server, server_tls
from anabranch.router.http.headers import CLIENT_ADDRESS
from anabranch.router.http.listening import LeanServer
from anabranch.serve.edge.routes import EdgeRoute
from tests.nodes import EngineCertificates
from tests.router.http.wire import Echo
from tests.serve.edge.servers import OPTIONS, Server, Site, ask, edge, needs_haproxy, pid_of, route
from tests.waiting import eventually

pytestmark = needs_haproxy
PATH = "/v2/models/a/infer"


class FarServer(Server):
    """The same on a port, with the certificates that this process has at its start."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, **of_server(server_tls())
        )
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        return self


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    """An edge that has certificates for nodes."""
    async with edge(replace(OPTIONS, nodes=node_folder())) as found:
        yield found


def test_a_router_on_another_node_is_asked_also_by_the_next_haproxy(
    certificates: EngineCertificates,
) -> None:
    async def main() -> None:
        async with site() as one, FarServer(one.folder, "far") as far:
            await one.proxy.apply({"a": route(far)})
            assert (await ask(one.port, PATH)).document == ["far", PATH]
            before = pid_of(one.folder)
            os.kill(before, signal.SIGKILL)

            await eventually(lambda: pid_of(one.folder) != before)
            assert (await ask(one.port, PATH)).document == ["far", PATH]
            await one.proxy.apply({})

            async def removed() -> bool:
                return not (await one.proxy._api.state("routes.map")).servers

            await eventually(removed)

    asyncio.run(main())


def test_a_router_of_another_engine_is_told_nothing(certificates: EngineCertificates) -> None:
    async def main() -> None:
        async with site() as one:
            certificates.use("other")
            async with FarServer(one.folder, "foreign") as foreign:
                await one.proxy.apply({"a": route(foreign)})
                assert (await ask(one.port, PATH)).status == 503
                assert not foreign.seen

    asyncio.run(main())


def test_a_router_on_another_node_believes_what_the_edge_says_of_clients(
    certificates: EngineCertificates,
) -> None:
    async def main() -> None:
        server = LeanServer(Echo().app)
        listener = socket.create_server(("127.0.0.1", 0))
        host, port = listener.getsockname()
        await server.listen(listener, server_tls())
        async with site() as one:
            await one.proxy.apply({"a": EdgeRoute((f"{host}:{port}",), idempotent=False)})
            assert CLIENT_ADDRESS in str((await ask(one.port, PATH)).document)
        await server.close(0)

    asyncio.run(main())


@pytest.mark.parametrize(("idempotent", "status"), [(True, 200), (False, 502)])
def test_requests_of_a_router_whose_machine_has_gone_end_and_go_elsewhere_where_they_may(
    idempotent: bool, status: int, certificates: EngineCertificates
) -> None:
    async def main() -> None:
        async with (
            site() as one,
            FarServer(one.folder, "gone", "wait") as gone,
            FarServer(one.folder, "there") as there,
        ):
            await one.proxy.apply({"a": route(gone, idempotent=idempotent)})
            asked = [asyncio.create_task(ask(one.port, PATH)) for _ in range(3)]

            await eventually(lambda: len(gone.seen) == 3)
            await one.proxy.apply({"a": route(there, idempotent=idempotent)})
            assert not any(one.done() for one in asked)
            await one.proxy.give_up(gone.address)
            assert {reply.status for reply in await asyncio.gather(*asked)} == {status}
            assert len(there.seen) == (3 if idempotent else 0)

    asyncio.run(main())
