"""The spans of a router, by an application that is asked through ASGI."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Any

import pytest

from anabranch.components.contract import Context
from anabranch.errors import InvalidRequest, NodeError
from anabranch.router.limits import RequestLimits
from anabranch.telemetry import tracing
from anabranch.telemetry.otlp import HOST
from anabranch.telemetry.span import Span
from anabranch.telemetry.tracing import Traces
from tests.router.conftest import Demo, double

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADERS = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "anabranch=show"}
ROUTE = "POST /v2/models/{model}/infer"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Span]:
    """The spans that were recorded, once the ways out are closed by ``spans``."""
    found: list[Span] = []
    traces = Traces({})
    traces.show(found.extend)
    monkeypatch.setattr(tracing, "TRACES", traces)
    return found


def spans(told: list[Span]) -> dict[str, Span]:
    tracing.TRACES.close()
    return {span.name: span for span in told}


async def broken(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    raise NodeError("a", "it is broken")


async def refusing(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    raise InvalidRequest("no such thing")


def test_a_request_its_arm_and_its_mirror(told: list[Span], demo: type[Demo]) -> None:
    async def main() -> Demo:
        mirrored = asyncio.Event()

        async def copied(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
            mirrored.set()
            return await double(inputs, context)

        one = demo({3: double, 4: copied}, draws=[0.0, 0.0])
        one.apply({3: 100.0}, mirrors={4: 100.0})
        assert (await one.ask(headers={**HEADERS, "x-request-id": "seven"}))[0] == 200
        await mirrored.wait()
        await one.arms.close()
        return one

    one = asyncio.run(main())
    found = spans(told)
    assert found.keys() == {ROUTE, "arm r3", "mirror r4"}
    request, arm, mirror = found[ROUTE], found["arm r3"], found["mirror r4"]
    assert request.parent_id == SPAN and request.place.trace_id == TRACE
    assert arm.parent_id == request.place.span_id == mirror.parent_id
    assert request.attributes["anabranch.request.id"] == "seven"
    machine = {HOST: socket.gethostname()}
    assert (arm.attributes, mirror.attributes) == (
        {"anabranch.revision": 3, **machine},
        {"anabranch.revision": 4, "anabranch.mirror": True, **machine},
    )
    here = {number: head.seen[0].trace for number, head in one.heads.items()}
    assert here == {3: arm.place, 4: mirror.place}


@pytest.mark.parametrize(
    ("step", "status", "failed"), [(broken, 500, "500"), (refusing, 400, None)]
)
def test_only_what_is_the_servers_fault_is_an_error(
    told: list[Span], demo: type[Demo], step: Any, status: int, failed: str | None
) -> None:
    async def main() -> None:
        one = demo({3: step}, RequestLimits())
        one.apply({3: 100.0})
        assert (await one.ask(headers=HEADERS))[0] == status

    asyncio.run(main())
    request = spans(told)[ROUTE]
    assert request.attributes["http.response.status_code"] == status
    assert (request.failure and request.failure.kind) == failed


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/versions/3/infer", "POST /v2/models/{model}/versions/{version}/infer"),
        ("", "GET /v2/models/{model}"),
        ("/versions/3", "GET /v2/models/{model}/versions/{version}"),
        ("/nothing/9", "GET"),
    ],
)
def test_names_hold_nothing_that_a_client_makes_up(
    told: list[Span], demo: type[Demo], path: str, name: str
) -> None:
    async def main() -> None:
        one = demo({3: double})
        one.apply({3: 100.0})
        await one.ask(path, headers=HEADERS)

    asyncio.run(main())
    assert name in spans(told)


def test_a_request_without_a_trace_is_not_recorded(told: list[Span], demo: type[Demo]) -> None:
    async def main() -> Demo:
        one = demo({3: double})
        one.apply({3: 100.0})
        await one.ask()
        await one.ask(headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
        return one

    assert [context.trace for context in asyncio.run(main()).heads[3].seen] == [None, None]
    assert not spans(told)
