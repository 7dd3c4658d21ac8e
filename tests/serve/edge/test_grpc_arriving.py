"""Large messages on their way to the front: counted before they are there."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from anabranch.router.grpc.messages import path, request_type
from anabranch.router.limits import RequestLimits
from tests.router.grpc.conftest import failure, infer_request
from tests.serve.edge.http2 import Connection, call_headers, connected, framed
from tests.serve.edge.routers import GrpcSite, grpc_edge
from tests.serve.edge.servers import needs_haproxy
from tests.waiting import eventually

pytestmark = needs_haproxy
SIZE = 10**6
LIMITS = RequestLimits(max_body=SIZE, max_under_way=8 * SIZE)
"""Of which an address has half, and a message has room there twice, for it counts as often."""
CODES = StatusCode.NOT_FOUND, StatusCode.UNAVAILABLE


def announced(client: Connection, method: str = "ModelInfer", flag: int = 0) -> int:
    """Begin a message of ``SIZE`` bytes of which the first 100,000 come; the stream."""
    stream = client.begin(call_headers((":path", path(method))))
    data = framed(bytes(100_000), flag, SIZE)
    for at in range(0, len(data), 2**14):
        client.send(stream, data[at : at + 2**14], flags=0)
    return stream


def held(at: GrpcSite) -> int:
    """Bytes that the front behind the edge counts."""
    return at.behind._front.messages.held


async def until_held(at: GrpcSite, size: int) -> None:
    await eventually(lambda: held(at) == size)


@pytest.mark.parametrize("method", ["ModelInfer", "ServerLive", "RepositoryIndex"])
@pytest.mark.parametrize("flag", [0, 1], ids=["plain", "compressed"])
def test_further_messages_are_refused_while_those_before_arrive(method: str, flag: int) -> None:
    """And small ones go on; what a client leaves behind is given back."""

    async def main() -> None:
        async with grpc_edge(LIMITS) as at:
            async with connected(at.site.grpc) as slow:
                for count in (1, 2):
                    announced(slow, method, flag)
                    await until_held(at, 2 * count * SIZE)
                refused = await slow.reply(announced(slow, method, flag))
                assert refused.code == StatusCode.UNAVAILABLE.value[0]
                assert refused.details is not None
                assert "over the limit of 4000000 bytes of one address at the" in refused.details
                assert (await at.stub("ServerLive")).live
                async with connected(at.site.grpc, "127.0.0.2") as other:
                    announced(other, method, flag)
                    await until_held(at, 6 * SIZE)
            await until_held(at, 0)

    asyncio.run(main())


def test_a_message_that_does_not_arrive_is_given_up() -> None:
    limits = RequestLimits(max_body=SIZE, max_under_way=8 * SIZE, body_timeout=0.2)

    async def main() -> None:
        async with grpc_edge(limits) as at:
            async with connected(at.site.grpc) as slow:
                found = await slow.reply(announced(slow))
                assert found.code == StatusCode.DEADLINE_EXCEEDED.value[0]
                assert found.details == "the message did not arrive within 0.2s"
            assert held(at) == 0

    asyncio.run(main())


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_many_at_a_time_are_answered_or_refused_and_hold_nothing_afterwards(
    compression: Any,
) -> None:
    message = infer_request(name="none", id="i" * (SIZE - 100))
    data = message.SerializeToString()
    assert len(gzip.compress(data)) < 10_000

    async def main() -> None:
        async with grpc_edge(LIMITS) as at:

            async def ask() -> StatusCode:
                call = at.stub.raw("ModelInfer", data, compression=compression)
                found: StatusCode = (await failure(call)).code()
                return found

            codes = await asyncio.gather(*(ask() for _ in range(16)))
            assert set(codes) <= set(CODES)
            assert StatusCode.NOT_FOUND in codes
            assert await ask() is StatusCode.NOT_FOUND
            assert held(at) == 0

    asyncio.run(main())


def test_a_header_of_the_client_changes_nothing() -> None:
    async def main() -> None:
        async with grpc_edge(LIMITS) as at:
            forged = [("x-anabranch-message-size", str(10**12))]
            for _ in range(2):
                request = request_type("ServerLive")()
                assert (await at.stub("ServerLive", request, metadata=forged)).live
            assert held(at) == 0

    asyncio.run(main())
