"""Calls over gRPC are counted once each, by the name of their status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import numpy as np
import pytest

from anabranch.access.limits import CallerLimits, LimitRule
from anabranch.access.roles import Grant
from anabranch.access.table import AccessTable
from anabranch.components.contract import Context
from anabranch.errors import NodeError
from anabranch.router.limits import RequestLimits
from anabranch.router.traffic.arms import Arms
from anabranch.telemetry.definitions import (
    ACCESS_REFUSED,
    REQUEST_DURATION,
    REQUESTS,
    REQUESTS_IN_FLIGHT,
)
from anabranch.telemetry.registry import REGISTRY, Observed, Registry
from tests.router.grpc.conftest import failure, infer_request, served

MakeArms = Callable[..., Arms]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The process' registry, but for what other tests have counted."""
    for cells in ("_numbers", "_distributions"):
        monkeypatch.setattr(REGISTRY, cells, {})
    return REGISTRY


def counted(registry: Registry) -> dict[tuple[str, ...], Any]:
    """Calls by endpoint and code; each has its duration, and none is under way."""
    found = registry.snapshot()
    codes = {(key[1], key[3]): value for key, value in found[REQUESTS.name].items()}
    durations = [v for v in found[REQUEST_DURATION.name].values() if isinstance(v, Observed)]
    assert sum(one.number for one in durations) == sum(codes.values())  # type: ignore[arg-type]
    assert found[REQUESTS_IN_FLIGHT.name] == {("demo",): 0}
    assert {key[2] for key in found[REQUESTS.name]} == {"grpc"}
    return codes


async def moody(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    if (inputs["x"] < 0).any():
        raise NodeError("n", "no luck")
    return {"doubled": inputs["x"] * 2, "rows": np.array(1)}


BAD = -np.ones((1, 2), np.float32)


def test_calls_count_by_status(arms: MakeArms, registry: Registry) -> None:
    async def main() -> None:
        async with served(arms(moody)) as stub:
            await stub("ModelReady", name="demo")
            await stub("ModelInfer", infer_request())
            await stub("ModelInfer", infer_request())
            await failure(stub("ModelInfer", infer_request(x=BAD)))
            await failure(stub("ModelInfer", infer_request(version="9")))
            await failure(stub("ModelInfer", infer_request(y=BAD)))

    asyncio.run(main())
    assert counted(registry) == {
        ("other", "OK"): 1,
        ("infer", "OK"): 2,
        ("infer", "INTERNAL"): 1,
        ("infer", "NOT_FOUND"): 1,
        ("infer", "INVALID_ARGUMENT"): 1,
    }


def test_each_request_of_a_stream_counts(arms: MakeArms, registry: Registry) -> None:
    async def requests() -> AsyncIterator[Any]:
        for message in (infer_request(), infer_request(x=BAD), infer_request()):
            yield message

    async def main() -> None:
        async with served(arms(moody)) as stub:
            assert len([answer async for answer in stub.stream(requests())]) == 3

    asyncio.run(main())
    assert counted(registry) == {
        ("generate_stream", "OK"): 2,
        ("generate_stream", "INTERNAL"): 1,
    }


def test_calls_and_requests_of_streams_over_a_limit_count_as_refused(
    arms: MakeArms, registry: Registry
) -> None:
    """Messages that are too large have the same code, and are no attempts that were refused."""

    async def requests() -> AsyncIterator[Any]:
        for _ in range(2):
            yield infer_request()

    async def main() -> None:
        limited = arms(moody, RequestLimits(max_tensors=1))
        rule = LimitRule(None, "*", CallerLimits(rate=1e-3, burst=2))
        limited.admit_by(AccessTable(1, anonymous=(Grant("invoker"),), limits=(rule,)))
        async with served(limited) as stub:
            await stub("ModelInfer", infer_request())
            await failure(stub("ModelInfer", infer_request(x=BAD, y=BAD)))
            await failure(stub("ModelInfer", infer_request()))
            assert len([answer async for answer in stub.stream(requests())]) == 2

    asyncio.run(main())
    assert counted(registry) == {
        ("infer", "OK"): 1,
        ("infer", "RESOURCE_EXHAUSTED"): 2,
        ("generate_stream", "RESOURCE_EXHAUSTED"): 2,
    }
    assert registry.snapshot()[ACCESS_REFUSED.name] == {("grpc", "limited"): 3}


def test_a_client_that_gives_up_counts_as_cancelled(arms: MakeArms, registry: Registry) -> None:
    async def main() -> None:
        begun, over = asyncio.Event(), asyncio.Event()

        async def hang(inputs: Any, context: Context) -> dict[str, Any]:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                over.set()
            return {}

        async with served(arms(hang)) as stub:
            call = stub("ModelInfer", infer_request())
            asking = asyncio.ensure_future(call)
            await begun.wait()
            asking.cancel()
            await over.wait()

    asyncio.run(main())
    assert counted(registry) == {("infer", "CANCELLED"): 1}
