"""Seldon's calls through the edge: Predict to lean sockets, the others past them to the front."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError

from anabranch.router.grpc.seldon.messages import SeldonMessage, path
from anabranch.router.limits import RequestLimits
from tests.router.grpc.test_seldon import SeldonStub
from tests.router.seldon.graphs import seldon_arms
from tests.serve.edge import http2
from tests.serve.edge.routers import served_graphs
from tests.serve.edge.servers import needs_haproxy

pytestmark = needs_haproxy
MESSAGE = {"data": {"ndarray": [[1, 2]]}}
LEAN = path("Predict")


def metadata(name: str, namespace: str | None = None) -> Any:
    more = () if namespace is None else (("namespace", namespace),)
    return (("seldon", name), *more)


@pytest.mark.parametrize(
    ("graph", "tags"),
    [
        ("demo", metadata("demo")),
        ("demo", metadata("demo", "default")),
        ("team/demo", metadata("demo", "team")),
    ],
)
def test_predictions_go_straight_to_the_router_that_the_metadata_name(
    graph: str, tags: Any
) -> None:
    async def main() -> None:
        names = ("demo", "team/demo")
        graphs = {name: seldon_arms(name=name) for name in names}
        async with served_graphs(graphs) as (at, routers):
            stub = SeldonStub(at.stub.channel)
            found = await stub("Predict", MESSAGE, metadata=(*tags, ("seldon-puid", "p")))
            assert found["meta"]["requestPath"] == {graph: f"{graph}:3"}
            assert found["meta"]["puid"] == found["trailer"]["seldon-puid"] == "p"
            assert {name: one.seen for name, one in routers.items() if one.seen} == {graph: [LEAN]}

    asyncio.run(main())


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ((), StatusCode.INVALID_ARGUMENT),
        (metadata("other"), StatusCode.NOT_FOUND),
        (metadata("demo", "team"), StatusCode.NOT_FOUND),
        (metadata("team/demo"), StatusCode.NOT_FOUND),
        (metadata("%[src]"), StatusCode.NOT_FOUND),
        (metadata("a, demo"), StatusCode.NOT_FOUND),
    ],
)
def test_calls_for_no_graph_are_told_so_by_the_front(tags: Any, code: StatusCode) -> None:
    async def main() -> None:
        async with served_graphs({"demo": seldon_arms()}) as (at, routers):
            with pytest.raises(AioRpcError) as raised:
                await SeldonStub(at.stub.channel)("Predict", MESSAGE, metadata=tags)
            assert raised.value.code() is code
            assert routers["demo"].seen == []

    asyncio.run(main())


def test_other_calls_reach_the_router_through_the_front_and_large_ones_directly() -> None:
    async def main() -> None:
        limits = RequestLimits(max_decoded=2**30)
        async with served_graphs({"demo": seldon_arms(limits=limits)}) as (at, routers):
            stub, tags = SeldonStub(at.stub.channel), metadata("demo", "default")
            assert (await stub("ModelMetadata", {}, metadata=tags))["name"] == "demo"
            assert (await stub.raw("GraphMetadata", b"", metadata=tags))["name"] == "demo"
            large = SeldonMessage()
            large.data.tensor.shape.extend([2**16, 2])
            large.data.tensor.values.extend([1.0] * 2**17)
            found = await stub.raw("Predict", large.SerializeToString(), metadata=tags)
            assert found["data"]["tensor"]["values"] == [2.0] * 2**17
            assert routers["demo"].seen == [path("Predict")]

    asyncio.run(main())


def test_a_client_cannot_tell_the_ways_apart() -> None:
    async def main() -> None:
        bodies = [
            SeldonMessage(strData="a").SerializeToString(), b"\xff", b"",
        ]  # fmt: skip
        good = SeldonMessage()
        good.data.ndarray.extend([[1.0, 2.0]])
        bodies.append(good.SerializeToString())
        async with (
            served_graphs({"demo": seldon_arms()}) as (at, routers),
            http2.connected(at.site.grpc) as edge,
            http2.connected(at.front_port) as front,
        ):
            for number, body in enumerate(bodies):
                headers = (
                    (":path", LEAN), ("seldon", "demo"), ("x-request-id", "r"),
                    ("seldon-puid", f"p{number}"),
                )  # fmt: skip
                found = [await way.call(http2.framed(body), *headers) for way in (edge, front)]
                edged, fronted = (
                    (one.code, one.details, one.code or one.body, one.trailers.get("seldon-puid"))
                    for one in found
                )
                assert edged == fronted
            assert routers["demo"].seen == [LEAN] * len(bodies)

    asyncio.run(main())
