"""A client cannot tell by the answer which way its request has taken on the lean socket.

One that is there as a whole, for a graph that does not wait, is answered while it is read; all else
has a task. Without a lean socket the same application is asked over ASGI.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.components.contract import Context
from anabranch.errors import NodeError, Unavailable
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.http.listening import LeanServer
from anabranch.router.limits import RequestLimits
from anabranch.telemetry.definitions import REQUESTS
from anabranch.telemetry.registry import REGISTRY
from tests.examples import examples
from tests.router.conftest import make_arms
from tests.router.http.wire import Reply, ask, connect, replies, until

LIMITS = RequestLimits(max_body=600)
PATHS = ["", "/ready", "/infer", "/infer/", "/versions/3/infer", "/versions/9/infer", "/nowhere"]


async def double(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Doubles, unless a parameter has it fail."""
    if context.parameters.get("fail") == "node":
        raise NodeError("n", "no luck")
    if context.parameters.get("fail") == "busy":
        raise Unavailable("too many")
    if context.parameters.get("fail"):
        raise ZeroDivisionError
    return {"doubled": inputs["x"] * 2, "rows": np.array(inputs["x"].shape[0])}


async def double_later(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    await asyncio.sleep(0)
    return await double(inputs, context)


tensors = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["x", "x", "x", "y"]),
        "datatype": st.sampled_from(["FP32", "FP32", "FP32", "INT8", "BYTES", "nonsense"]),
        "shape": st.sampled_from([[1, 2], [1, 2], [2, 1], [2], [-1, 2], ["a"]]),
    },
    optional={
        "data": st.sampled_from([[1.0, 2.0], [[1.0, 2.0]], [1e9, -0.5], [1], ["a", "b"], None]),
        "parameters": st.sampled_from([{"binary_data_size": 8}, {"binary_data_size": -1}, {}]),
    },
)
documents = st.fixed_dictionaries(
    {"inputs": st.lists(tensors, min_size=0, max_size=2)},
    optional={
        "id": st.sampled_from(["i", "", "é", 5]),
        "outputs": st.sampled_from([[], [{"name": "rows"}], [{"name": "nothing"}], "rows"]),
        "parameters": st.sampled_from([{"fail": way} for way in ("node", "busy", True)]),
        "nonsense": st.none(),
    },
)
texts = st.one_of(
    documents.map(lambda one: json.dumps(one).encode()),
    documents.map(lambda one: json.dumps(one).encode()),
    st.sampled_from([b"", b"{", b"[]", b"\xff", b"[" * 90, b'{"inputs": NaN}', b" " * 601]),
    st.binary(max_size=20),
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request that is good, or nearly."""
    text, headers = draw(texts), {}
    if draw(st.integers(0, 3)) == 0:
        size = len(text) + draw(st.sampled_from([0, 0, 0, 1, 9, -1]))
        headers["inference_header_content_length"] = str(size)
        text += draw(st.sampled_from([np.float32([1, 2]).tobytes(), b"", b"1234567"]))
    if draw(st.integers(0, 5)) == 0:
        headers["content_encoding"] = draw(st.sampled_from(["gzip", "br"]))
        text = draw(st.sampled_from([gzip.compress(text, mtime=0), text]))
    given = {
        "accept_encoding": ["gzip", "*"], "traceparent": [f"00-{'a' * 32}-{'b' * 16}-00", "x"],
        "accept": ["text/plain"], "content_type": ["application/octet-stream"],
        "connection": ["close"], "x_long": ["x" * 9000],
    }  # fmt: skip
    for name in draw(st.sets(st.sampled_from(sorted(given)), max_size=2)):
        headers[name] = draw(st.sampled_from(given[name]))
    path = f"/v2/models/demo{draw(st.sampled_from([*PATHS, *['/infer'] * 8]))}"
    method = draw(st.sampled_from([*["POST"] * 8, "GET", "PUT"]))
    return ask(path, text, method, **headers)


def counted() -> dict[Any, Any]:
    return dict(REGISTRY.snapshot().get(REQUESTS.name, {}))


def grown(before: Mapping[Any, Any]) -> dict[Any, Any]:
    """Requests by endpoint, protocol and code since then."""
    found = {key: value - before.get(key, 0) for key, value in counted().items()}
    return {key: value for key, value in found.items() if value}


async def at_lean(app: GraphApp, pieces: Sequence[bytes]) -> tuple[list[Reply], int]:
    """The replies to what comes in pieces, and the number of tasks that were made for it."""
    made = 0
    loop = asyncio.get_running_loop()

    def factory(loop: Any, work: Any, **more: Any) -> asyncio.Task[Any]:
        nonlocal made
        made += 1
        return asyncio.Task(work, loop=loop, **more)

    server = LeanServer(app)
    wire = connect(server)
    loop.set_task_factory(factory)
    for piece in pieces:
        await wire.feed(piece)
    await until(lambda: wire.sent and not server.under_way)
    loop.set_task_factory(None)
    await server.close(0)
    return replies(wire.sent), made


async def over_asgi(app: GraphApp, message: bytes) -> list[Reply]:
    """The reply to a request that some other server has read."""
    head, _, body = message.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    method, path, _ = first.decode().split()
    pairs = (line.split(b": ", 1) for line in lines)
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "root_path": "",
        "query_string": b"", "headers": [(name.lower(), value) for name, value in pairs],
        "http_version": "1.1", "client": None, "scheme": "http",
    }  # fmt: skip
    sent: list[Any] = []
    news = asyncio.Queue[Any]()
    news.put_nowait({"type": "http.request", "body": body, "more_body": False})

    async def send(one: Any) -> None:
        sent.append(one)

    await app(scope, news.get, send)
    start, *parts = sent
    headers = [(name.decode("latin-1"), text.decode("latin-1")) for name, text in start["headers"]]
    return [plain(Reply(start["status"], headers, b"".join(one["body"] for one in parts)))]


def plain(reply: Reply) -> Reply:
    """Return a reply without what a server says of its connection."""
    return reply._replace(headers=[one for one in reply.headers if one[0] != "connection"])


@settings(max_examples=examples(300), deadline=None)
@given(message=requests(), data=st.data())
def test_all_ways_answer_and_count_alike(message: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.sets(st.integers(1, len(message) - 1), max_size=3))
    ends = [0, *sorted(cuts), len(message)]
    pieces = [message[a:b] for a, b in pairwise(ends)]

    async def main() -> list[tuple[list[Reply], dict[Any, Any]]]:
        found = []
        for step, parts in ((double, [message]), (double, pieces), (double_later, pieces)):
            before = counted()
            answered, _ = await at_lean(GraphApp(make_arms(step, LIMITS)), parts)
            found.append((answered, grown(before)))
        before = counted()
        answered = await over_asgi(GraphApp(make_arms(double, LIMITS)), message)
        return [*found, (answered, grown(before))]

    first, *others, asgi = asyncio.run(main())
    assert len(first[0]) == 1 == sum(first[1].values())
    assert others == [first, first]
    assert asgi == ([plain(one) for one in first[0]], first[1])


def test_the_ways_are_different_ones() -> None:
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
    message = ask("/v2/models/demo/infer", json.dumps(body).encode())

    async def tasks(step: Any, *pieces: bytes) -> int:
        (reply,), made = await at_lean(GraphApp(make_arms(step, LIMITS)), pieces)
        assert (reply.status, reply.json()["outputs"][0]["data"]) == (200, [2.0, 4.0])
        return made

    assert asyncio.run(tasks(double, message)) == 0
    assert asyncio.run(tasks(double, message[:-5], message[-5:])) == 1
    assert asyncio.run(tasks(double_later, message)) == 1
