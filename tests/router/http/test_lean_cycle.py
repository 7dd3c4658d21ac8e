"""A client cannot tell by the answer which way its request has taken on the lean socket.

One that is there as a whole, for a graph that does not wait, is answered while it is read; all else
has a task. Without a lean socket the same application is asked over ASGI.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.components.contract import Context
from anabranch.errors import NodeError, Unavailable
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.http.listening import LeanServer
from anabranch.router.limits import RequestLimits
from anabranch.router.signing import Signatures
from anabranch.router.traffic.arms import Arms
from anabranch.telemetry import tracing
from anabranch.telemetry.definitions import REQUESTS
from anabranch.telemetry.sampling import Sampler
from anabranch.telemetry.span import Span
from tests.examples import examples
from tests.router.conftest import StepHead, make_signature, make_table
from tests.router.http.wire import Reply, ask, connect, replies
from tests.router.noted import Noted, Notes
from tests.waiting import eventually

LIMITS = RequestLimits(max_body=600)
SIGNED_AT = 1_790_000_000
TRACE = "a" * 32
PATHS = ["", "/ready", "/infer", "/infer/", "/versions/3/infer", "/versions/9/infer", "/nowhere"]


async def double(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Doubles, unless a parameter has it fail, and says that a router node has chosen."""
    context.path["chooser"] = "left"
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
    traced = f"00-{TRACE}-{'b' * 16}-01"
    given = {
        "accept_encoding": ["gzip", "*"], "traceparent": [traced, traced, f"{traced[:-1]}0", "x"],
        "accept": ["text/plain"], "content_type": ["application/octet-stream"],
        "connection": ["close"], "x_long": ["x" * 9000],
    }  # fmt: skip
    for name in draw(st.sets(st.sampled_from(sorted(given)), max_size=2)):
        headers[name] = draw(st.sampled_from(given[name]))
    path = f"/v2/models/demo{draw(st.sampled_from([*PATHS, *['/infer'] * 8]))}"
    method = draw(st.sampled_from([*["POST"] * 8, "GET", "PUT"]))
    return ask(path, text, method, **headers)


class Taken:
    """In place of the ways out for spans."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def take(self, span: Span) -> None:
        self.spans.append(span)


@pytest.fixture(scope="module", autouse=True)
def taken() -> Iterator[Taken]:
    """The spans of these tests, whose replies are all signed at the same time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Signatures, "now", lambda signatures: SIGNED_AT)
        patch.setattr(tracing, "TRACES", one := Taken())
        yield one


class Known(NamedTuple):
    """What is known of a request when it is over."""

    replies: list[Reply]
    noted: Noted
    traced: list[Any]


class Watched:
    """A graph of one revision, and what it and the process note from now on."""

    def __init__(self, step: Any, taken: Taken) -> None:
        sampler = Sampler(0.0, exported=True)
        arms = Arms("demo", lambda revision: StepHead(step), LIMITS, sampler=sampler)
        signature = make_signature(routers={"chooser": ("left", "right")})
        arms.apply(make_table(revisions={3: signature}))
        self.app = GraphApp(arms)
        self._taken, self._notes = taken, Notes(arms)
        taken.spans.clear()

    def known(self, replies: Sequence[Reply]) -> Known:
        told = [without_span(reply) for reply in replies]
        return Known(told, self._notes.taken(), [seen(one) for one in self._taken.spans])


def without_span(reply: Reply) -> Reply:
    """Return a reply without the number of the span that it tells of."""
    pairs = [(name, re.sub(r"(?<=-)[0-9a-f]{16}-", "", text)) for name, text in reply.headers]
    return reply._replace(headers=pairs)


def seen(span: Span) -> Any:
    return (span.place.trace_id, span.name, span.kind, span.attributes, span.failure)


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
    await eventually(lambda: wire.sent and not server.under_way)
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
def test_all_ways_answer_and_count_alike(taken: Taken, message: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.sets(st.integers(1, len(message) - 1), max_size=3))
    ends = [0, *sorted(cuts), len(message)]
    pieces = [message[a:b] for a, b in pairwise(ends)]

    async def main() -> list[Known]:
        found = []
        for step, parts in ((double, [message]), (double, pieces), (double_later, pieces)):
            one = Watched(step, taken)
            answered, _ = await at_lean(one.app, parts)
            found.append(one.known(answered))
        one = Watched(double, taken)
        return [*found, one.known(await over_asgi(one.app, message))]

    first, *others, asgi = asyncio.run(main())
    counts = [n for (metric, _), n in first.noted.counted.items() if metric == REQUESTS.name]
    assert len(first.replies) == 1 == sum(counts)
    assert others == [first, first]
    assert asgi == first._replace(replies=[plain(one) for one in first.replies])


def test_the_ways_are_different_ones(taken: Taken) -> None:
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
    text = json.dumps(body).encode()
    message = ask("/v2/models/demo/infer", text, traceparent=f"00-{TRACE}-{'b' * 16}-01")

    async def tasks(step: Any, *pieces: bytes) -> int:
        one = Watched(step, taken)
        (reply,), made = await at_lean(one.app, pieces)
        assert (reply.status, reply.json()["outputs"][0]["data"]) == (200, [2.0, 4.0])
        known = one.known([reply])
        assert known.noted.tallied == [(3, 1, 0, {}, 1, {})]
        assert [id for id, _ in known.noted.decided] == ["r"]
        assert [one[:2] for one in known.traced] == [
            (TRACE, "arm r3"), (TRACE, "POST /v2/models/{model}/infer")
        ]  # fmt: skip
        return made

    assert asyncio.run(tasks(double, message)) == 0
    assert asyncio.run(tasks(double, message[:-5], message[-5:])) == 1
    assert asyncio.run(tasks(double_later, message)) == 1
