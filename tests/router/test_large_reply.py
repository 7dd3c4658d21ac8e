"""Large answers over gRPC: they count while gRPC has them, whether they are taken or not."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from anabranch.router import large_reply
from anabranch.router.limits import BytesUnderWay, HeldBytes
from anabranch.router.traffic.arms import Arms
from tests.router.conftest import make_arms
from tests.router.grpc.conftest import infer_request, served, serving
from tests.serve.edge.http2 import connected
from tests.waiting import eventually

BYTES = 2 * 10**7
"""Of an answer, counted twice."""
ASKED: bytes = infer_request().SerializeToString()
methods = pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])


async def large(inputs: Any, context: Any) -> dict[str, Any]:
    return {"doubled": np.zeros((BYTES // 16, 2), np.float32), "rows": np.array(1)}


async def until_held(arms: Arms, some: bool) -> None:
    await eventually(lambda: (arms.under_way.held >= BYTES) if some else not arms.under_way.held)


async def until_free(arms: Arms) -> None:
    await eventually(lambda: arms.gate.inside == 0)


@methods
def test_an_answer_counts_until_its_client_has_gone(method: str) -> None:
    async def main() -> None:
        arms = make_arms(large)
        async with serving(arms) as port:
            async with connected(port) as client:
                client.ask(ASKED, method)
                await until_held(arms, some=True)
                assert arms.gate.inside == (method == "ModelStreamInfer")
            await until_held(arms, some=False)
            await until_free(arms)

    asyncio.run(main())


@methods
def test_an_answer_that_is_not_taken_counts_on_but_holds_no_place(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_reply, "STALLED_S", 0.05)
    monkeypatch.setattr(large_reply, "RATE", 10**12)

    async def main() -> None:
        arms = make_arms(large)
        async with serving(arms) as port:
            async with connected(port) as client:
                client.ask(ASKED, method)
                await until_held(arms, some=True)
                await until_free(arms)
                assert arms.under_way.held >= BYTES
            await until_held(arms, some=False)

    asyncio.run(main())


def test_an_answer_that_becomes_small_holds_nothing_once_it_is_written() -> None:
    """As numbers of eight bytes that take one in Protocol Buffers."""
    sent: list[bytes] = []

    async def write(message: bytes) -> None:
        sent.append(message)

    process = BytesUnderWay(100, "this process")
    held = HeldBytes(process)
    held.add(100)
    asyncio.run(large_reply.write_held(write, b"small", held))
    assert (sent, process.held) == ([b"small"], 0)


def test_who_takes_all_answers_leaves_nothing_behind() -> None:
    async def main() -> None:
        arms = make_arms(large)
        async with served(arms) as stub:
            await stub("ModelInfer", infer_request())
            assert len([answer async for answer in stub.stream([infer_request()] * 3)]) == 3
            await until_held(arms, some=False)
            assert arms.gate.inside == 0

    asyncio.run(main())
