"""A gate under overload, in time that tests make pass, behind every protocol."""

from __future__ import annotations

import asyncio
import json
import pickle
import time
from collections import deque
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pytest
from grpc import StatusCode

from anabranch.access.identity import Identity
from anabranch.access.keys import digest_of
from anabranch.access.limits import CallerLimits, LimitRule
from anabranch.access.roles import Grant
from anabranch.access.table import OPEN, AccessTable, KnownKey
from anabranch.errors import InvalidRequest, NodeError, Quota, TooManyRequests, Unavailable
from anabranch.graph.batch.batching import PRIORITY
from anabranch.router.admission.admission import Admission, Overload, Place
from anabranch.router.errors import error_reply
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.inference.core import TIMEOUT
from anabranch.router.limits import RequestLimits
from anabranch.router.traffic.arms import Arms
from tests.router.conftest import BODY, Demo, StepHead, double, make_arms, make_table
from tests.router.grpc.conftest import infer_request, served
from tests.router.grpc.lean import framed, lean_served

SERVICE = 0.02


class World:
    """A gate whose time passes by hand, and the requests that are in progress."""

    def __init__(self, limit: int = 256) -> None:
        self.now = 0.0
        self.gate = Admission("demo", limit, clock=lambda: self.now)
        self.places: deque[Place] = deque()

    def end(self) -> None:
        """Have the first request in progress answered."""
        self.places.popleft().__exit__(None, None, None)

    def warm_up(self) -> None:
        """Have requests answered one by one, so that it is known how long they take."""
        for _ in range(3):
            self.places.append(self.gate.place())
            self.now += SERVICE
            self.end()

    def overload(self) -> Overload:
        """Have four requests come for each one that ends, until one is refused; why it is."""
        self.warm_up()
        for number in range(1000):
            self.now += SERVICE / 4
            try:
                self.places.append(self.gate.place())
            except Overload as error:
                return error
            if number % 4 == 3:
                self.end()
        raise AssertionError("no overload")

    def fill(self) -> None:
        """Have requests end until one more of usual priority may be in progress, and let it in."""
        while True:
            try:
                self.places.append(self.gate.place())
            except Overload:
                self.end()
            else:
                return

    def queue(self) -> None:
        """Have eleven requests wait, of which one ends in a second."""
        self.warm_up()
        self.places.extend(self.gate.place() for _ in range(13))
        for _ in range(3):
            self.now += 1.0
            self.end()

    def arms(self) -> Arms:
        """A graph behind this gate."""
        found = make_arms()
        found.gate = self.gate
        return found


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


Told = tuple[Any, str, str]
"""Status, message and the seconds after which to come again."""


async def http(
    arms: Arms, body: bytes, path: str = "/infer", *headers: tuple[bytes, bytes]
) -> Told:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    path = f"/v2/models/demo{path}"
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    await GraphApp(arms)(scope, receive, send)
    text = json.loads(sent[1]["body"]).get("error", "")
    return sent[0]["status"], text, dict(sent[0]["headers"]).get(b"retry-after", b"").decode()


async def lean_grpc(arms: Arms, message: bytes) -> Told:
    async with lean_served(arms) as client:
        found = await client.call(framed(message))
        return found.code, found.details, found.trailer.get("retry-after", "")


async def grpc_server(arms: Arms, message: bytes) -> Told:
    async with served(arms) as stub:
        try:
            await stub.raw("ModelInfer", message)
        except grpc.aio.AioRpcError as error:
            trailer = dict(error.trailing_metadata())
            return error.code(), error.details(), trailer.get("retry-after", "")
        return StatusCode.OK, "", ""


def message(**parameters: int) -> bytes:
    found = infer_request()
    for name, value in parameters.items():
        found.parameters[name].int64_param = value
    data: bytes = found.SerializeToString()
    return data


def body(**parameters: int) -> bytes:
    return json.dumps({**BODY, "parameters": parameters}).encode()


def test_all_protocols_refuse_alike_and_before_they_decode() -> None:
    async def main() -> None:
        world = World()
        error = world.overload()
        arms, expected = world.arms(), (str(error), str(error.retry_after))
        for path in ("/infer", "/generate", "/generate_stream"):
            assert await http(arms, b"{ no JSON", path) == (503, *expected)
        for call in (lean_grpc, grpc_server):
            assert await call(arms, b"\xff no message") == (StatusCode.UNAVAILABLE, *expected)

    run(main())


def test_a_refusal_names_graph_rate_number_and_limit() -> None:
    async def main() -> None:
        error = World().overload()
        assert str(error).startswith("graph 'demo' gets more requests than it can answer, which")
        assert "a second: " in str(error)
        assert "are in progress, and the limit for those of usual priority is 1 now; try" in str(
            error
        )
        assert error.retry_after >= 1

    run(main())


def test_a_higher_priority_is_let_in_where_the_usual_one_is_not() -> None:
    async def main() -> None:
        world = World()
        world.overload()
        world.fill()
        arms = world.arms()
        assert (await http(arms, body()))[0] == 503
        assert (await http(arms, body(**{PRIORITY: 5})))[0] == 503
        assert (await http(arms, body(**{PRIORITY: 9})))[0] == 503
        assert (await http(arms, body(**{PRIORITY: 1})))[0] == 200
        assert (await grpc_server(arms, message()))[0] is StatusCode.UNAVAILABLE
        assert (await grpc_server(arms, message(**{PRIORITY: 1})))[0] is StatusCode.OK
        assert (await lean_grpc(arms, message(**{PRIORITY: 1})))[0] is StatusCode.OK
        assert (await http(arms, body(**{PRIORITY: -1})))[0] == 400
        assert world.gate.inside == len(world.places)

    run(main())


def test_a_deadline_that_cannot_be_met_is_refused_at_once_by_all() -> None:
    async def main() -> None:
        world = World()
        world.queue()
        arms = world.arms()
        status, text, later = await http(arms, body(**{TIMEOUT: 5_000_000}))
        assert status == 503
        assert text == (
            "graph 'demo' cannot answer within 5s, the time this request has: 10 requests are "
            "before it, and all will take 11s; try again later, or allow more time"
        )
        assert later == "11"
        for call in (lean_grpc, grpc_server):
            found = await call(arms, message(**{TIMEOUT: 5_000_000}))
            assert found == (StatusCode.UNAVAILABLE, text, later)
        assert (await http(arms, body(**{TIMEOUT: 20_000_000})))[0] == 200

    run(main())


def test_the_deadline_of_a_call_over_grpc_counts_too() -> None:
    async def main() -> None:
        world = World()
        world.queue()
        async with served(world.arms()) as stub:
            with pytest.raises(grpc.aio.AioRpcError, match="cannot answer within") as caught:
                await stub.raw("ModelInfer", message(), timeout=5)
            assert caught.value.code() is StatusCode.UNAVAILABLE

    run(main())


def test_a_late_deadline_is_no_reason_where_nobody_waits() -> None:
    async def main() -> None:
        world = World()
        world.warm_up()
        assert (await http(world.arms(), body(**{TIMEOUT: 10_000_000})))[0] == 200

    run(main())


def test_streams_hold_places_and_are_no_queue() -> None:
    async def main() -> None:
        world = World()
        world.warm_up()
        streams = [world.gate.place(streams=True) for _ in range(100)]
        world.now += 3600.0
        assert world.gate.inside == 100
        assert not world.gate.has_queue
        world.warm_up()
        for stream in streams:
            stream.__exit__(None, None, None)
        assert world.gate.inside == 0

    run(main())


def test_a_gate_lets_so_many_in_at_a_time() -> None:
    async def main() -> None:
        gate = World(limit=2).gate
        with gate.place(), gate.place():
            for ask in (gate.check, gate.place):
                with pytest.raises(Unavailable, match="2 requests are in progress, the most"):
                    ask()
        assert (gate.inside, gate.passed) == (0, 2)

    run(main())


@pytest.mark.parametrize(
    "error", [NodeError("a", "it broke"), Unavailable("full"), InvalidRequest("wrong"), ValueError]
)
def test_a_failure_inside_frees_its_place(error: Exception | type[Exception]) -> None:
    async def main() -> None:
        gate = World(limit=1).gate
        for _ in range(3):
            with pytest.raises(Exception), gate.place():  # noqa: B017 - any of those
                raise error
        assert gate.inside == 0

    run(main())


def test_requests_that_end_late_are_an_overload_as_well() -> None:
    """Three of four run out of time in the queue: what is answered shows the rate."""

    async def main() -> None:
        world = World()
        world.warm_up()
        late = TimeoutError, asyncio.CancelledError
        for number in range(1000):
            world.now += SERVICE / 4
            try:
                world.places.append(world.gate.place())
            except Overload:
                return
            if len(world.places) > 100:
                world.places.popleft().__exit__(late[1], None, None)
            elif number % 4 == 3:
                world.end()
        raise AssertionError("no overload")

    run(main())


def test_a_busy_loop_refuses_what_has_waited() -> None:
    """Turns become longer and longer, as many requests have come in each."""

    async def main() -> None:
        world = World()
        gate = world.gate
        refused: list[Exception] = []
        for size in (1, 4, 16, 64, 256, 1024, 1024):
            for _ in range(size):
                try:
                    with gate.place():
                        world.now += 0.0014
                except Overload as error:
                    refused.append(error)
            await asyncio.sleep(0)  # all have begun
        assert len(refused) > 200
        assert str(refused[0]) == (
            "the router of graph 'demo' gets more requests than its processor can take, which are "
            "714 a second; try again later"
        )

    run(main())


# Limits of callers


def limited(**limits: Any) -> Arms:
    """A graph whose callers without a name have limits; it streams three times what it is sent."""

    async def step(inputs: Any, context: Any) -> Any:
        for factor in (1, 2, 3):
            yield {"doubled": inputs["x"] * factor, "rows": np.array(1)}

    found = Arms("demo", lambda revision: StepHead(step), RequestLimits())
    found.admit_by(replace(OPEN, limits=(LimitRule(None, "*", CallerLimits(**limits)),)))
    found.apply(make_table())
    return found


def test_all_protocols_refuse_what_is_over_a_limit_alike_and_before_they_decode() -> None:
    async def main() -> None:
        arms, now = limited(rate=0.01), time.monotonic()
        arms.gate._clock = lambda: now  # each second that passes is one less to wait
        with arms.gate.place():
            pass
        expected = (
            "callers without a name may ask graph 'demo' for 0.01 requests a second, 1 at once, "
            "and this is more; try again in 100s"
        )
        for path in ("/infer", "/generate", "/generate_stream", "/explain"):
            assert await http(arms, b"{ no JSON", path) == (429, expected, "100")
        for call in (lean_grpc, grpc_server):
            found = await call(arms, b"\xff no message")
            assert found == (StatusCode.RESOURCE_EXHAUSTED, expected, "100")
        assert arms.gate.inside == 0

    run(main())


def test_a_limit_is_told_in_the_fields_of_the_draft() -> None:
    error = TooManyRequests("too much", 2, Quota(limit=20, window=5, reset=2))
    assert dict(error_reply(error, "r1").headers) == {
        b"retry-after": b"2", b"ratelimit-limit": b"20", b"ratelimit-remaining": b"0",
        b"ratelimit-reset": b"2", b"ratelimit-policy": b"20;w=5",
    }  # fmt: skip
    places = error_reply(TooManyRequests("too many"), "r1")
    assert (places.status, places.headers) == (429, ((b"retry-after", b"1"),))
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.retry_after, again.quota) == ("too much", 2, error.quota)


def test_requests_under_way_are_counted_until_their_streams_end() -> None:
    async def main() -> None:
        arms = limited(in_flight=1)
        app, plain = GraphApp(arms), json.dumps({"x": [[1, 2]]}).encode()
        with arms.gate.place():
            assert (await http(arms, plain, "/generate_stream"))[0] == 429
            assert (await http(arms, body(), "/explain"))[0] == 429
        refused: list[int] = []
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)
            if message.get("body"):
                refused.append((await http(arms, body()))[0])

        async def receive() -> Any:
            if sent:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": plain}

        path = "/v2/models/demo/generate_stream"
        await app({"type": "http", "method": "POST", "path": path, "headers": []}, receive, send)
        assert len(refused) >= 3
        assert set(refused) == {429}
        assert (await http(arms, body(), "/explain"))[0] == 400

    run(main())


def test_each_part_of_a_stream_is_a_token() -> None:
    async def main() -> None:
        arms = limited(tokens_per_minute=7)
        plain = json.dumps({"x": [[1, 2]]}).encode()

        async def read(body: bytes) -> Told:
            sent: list[Any] = []

            async def receive() -> Any:
                if sent:
                    await asyncio.Event().wait()
                return {"type": "http.request", "body": body}

            async def send(message: Any) -> None:
                sent.append(message)

            path = "/v2/models/demo/generate_stream"
            scope = {"type": "http", "method": "POST", "path": path, "headers": []}
            await GraphApp(arms)(scope, receive, send)
            return sent[0]["status"], sent[1]["body"].decode(), ""

        found = [await read(plain) for _ in range(4)]
        assert [status for status, _, _ in found] == [200, 200, 200, 429]
        assert "7 tokens a minute" in found[-1][1]

    run(main())


def test_the_name_of_a_key_is_that_of_the_caller() -> None:
    async def main() -> None:
        known = {
            digest_of(f"ab_{name}"): KnownKey(Identity("key", name, (Grant("invoker"),)))
            for name in ("ada", "bob")
        }
        arms = make_arms()
        limits = (LimitRule("ada", "demo", CallerLimits(in_flight=1)),)
        arms.admit_by(AccessTable(1, known, limits=limits))
        arms.apply(make_table())
        with arms.gate.place(caller="ada"):
            for name, status in (("ada", 429), ("bob", 200), ("eve", 401)):
                header = b"authorization", f"Bearer ab_{name}".encode()
                assert (await http(arms, body(), "/infer", header))[0] == status
            async with served(arms) as stub:
                shown = [("authorization", "Bearer ab_ada")]
                with pytest.raises(grpc.aio.AioRpcError, match="caller 'ada' may ask") as caught:
                    await stub.raw("ModelInfer", message(), metadata=shown)
                assert caught.value.code() is StatusCode.RESOURCE_EXHAUSTED

    run(main())


def test_names_make_no_difference_where_there_are_no_limits() -> None:
    async def main() -> None:
        gate = World().gate
        with gate.place(caller="ada"), gate.place(caller="bob"), gate.place():
            assert gate.inside == 3
        assert gate.inside == 0
        assert gate.meter("ada") is None

    run(main())


def test_a_router_counts_refusals_as_all_its_answers() -> None:
    """And the place of one that was refused is free."""

    async def main() -> None:
        demo = Demo({3: double}, RequestLimits(max_ongoing=1))
        demo.apply({3: 100})
        with demo.arms.gate.place():
            assert (await demo.ask())[0] == 503
        assert (await demo.ask())[0] == 200
        assert demo.arms.gate.passed == 2

    run(main())
