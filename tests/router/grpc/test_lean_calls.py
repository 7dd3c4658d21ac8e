"""Calls on a router's lean socket, against the same calls on gRPC's own server."""

from __future__ import annotations

import asyncio
import gzip
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import grpc
import numpy as np
import pytest
from grpc import StatusCode
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.components.contract import Context
from anabranch.errors import DeadlineExceeded, NodeError, Unavailable
from anabranch.graph.plan.plan import Signature
from anabranch.router.grpc.lean_calls import LeanCalls
from anabranch.router.grpc.messages import InferRequest, path
from anabranch.router.http.headers import OF_CLIENT
from anabranch.router.http.listening import LeanServer
from anabranch.router.limits import RequestLimits
from anabranch.router.signing import Signatures
from anabranch.router.traffic.arms import Arms
from anabranch.specs.models import InputSpec
from anabranch.telemetry.definitions import REQUESTS, REQUESTS_IN_FLIGHT
from anabranch.telemetry.sampling import Sampler
from tests.access.oidc import claims, signer
from tests.access.test_jwt import HERE, keys_of
from tests.access.test_renewal import Controller, guarded
from tests.examples import examples
from tests.router.conftest import StepHead, make_arms, make_signature, make_table, uvloop_running
from tests.router.grpc.conftest import Stub, infer_request, served
from tests.router.grpc.lean import LeanClient, Outcome, framed, lean_served, request
from tests.router.grpc.test_fuzz import mangled
from tests.router.grpc.test_servicer import Hanging
from tests.router.http.wire import connect
from tests.router.noted import Noted, Notes, counted
from tests.waiting import eventually

ASK = framed(infer_request().SerializeToString())
LIMITS = RequestLimits(max_body=2**16, max_tensors=3)
MADE_UP = 32
"""Letters of a request id that is no client's."""
FAILURES = {
    "node": NodeError("n", "it broke"),
    "bug": ZeroDivisionError("/home/secret"),
    "busy": Unavailable("nothing is free"),
    "late": DeadlineExceeded("the time is over"),
}


async def echo(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Tell of the request, or fail as its parameter says; with ``wait``, not at once."""
    if context.parameters.get("wait"):
        await asyncio.sleep(0)
    context.path["chooser"] = "left"
    failure = FAILURES.get(str(context.parameters.get("fail")))
    if failure is not None:
        raise failure
    headers = sorted(
        f"{name}={value}"
        for name, value in context.headers.items()
        if (name != "x-request-id" or len(value) != MADE_UP) and not name.startswith(OF_CLIENT)
    )
    return {
        "x": inputs["x"],
        "text": inputs["text"],
        "headers": np.array(headers, object),
        "left": np.array(context.parameters.get("timeout", 0) != 0),
    }


def make_echo(
    idempotent: bool = False, routers: Mapping[str, tuple[str, ...]] | None = None
) -> Arms:
    """A graph with an input of numbers and one of texts, whose revisions are 3 and 4."""
    sampler = Sampler(0.0, exported=True)
    arms = Arms("demo", lambda revision: StepHead(echo), LIMITS, sampler=sampler)
    inputs = {
        "x": InputSpec(datatype="FP32", shape=(-1, 2)),
        "text": InputSpec(datatype="BYTES", shape=(-1,)),
    }
    signature = Signature(
        inputs,
        dict.fromkeys(("x", "text", "headers", "left")),
        60.0,
        routers=routers or {},
        idempotent=idempotent,
    )
    arms.apply(make_table(revisions={3: signature, 4: signature}))
    return arms


@dataclass
class Ways:
    """The same graph on a lean socket and on gRPC's own server."""

    run: Callable[[Coroutine[Any, Any, Any]], Any]
    arms: tuple[Arms, Arms]
    lean: LeanClient
    stub: Stub

    def both(self, message: bytes, *metadata: tuple[str, str]) -> tuple[Outcome, Outcome]:
        """The end of a call on either way; both have noted the same of it."""
        (lean, of_lean), (served, of_served) = (
            self.run(_noted(arms, way(message, metadata)))
            for arms, way in zip(self.arms, (self._lean, self._served), strict=True)
        )
        assert of_lean == of_served
        counts = [n for (metric, _), n in of_lean.counted.items() if metric == REQUESTS.name]
        assert counts == [1]
        return lean, served

    async def _lean(self, message: bytes, metadata: tuple[tuple[str, str], ...]) -> Outcome:
        return await self.lean.call(framed(message), *metadata)

    async def _served(self, message: bytes, metadata: tuple[tuple[str, str], ...]) -> Outcome:
        call = self.stub.channel.unary_unary(path("ModelInfer"))(message, metadata=metadata)
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            return Outcome(error.code(), error.details(), b"", dict(error.trailing_metadata()))
        assert not list(await call.initial_metadata())
        trailer = dict(await call.trailing_metadata())
        return Outcome(StatusCode.OK, await call.details(), answer, trailer)


async def _noted(arms: Arms, call: Awaitable[Outcome]) -> tuple[Outcome, Noted]:
    notes = Notes(arms)
    outcome = await call
    # A client may have its answer before that is counted.
    await eventually(lambda: not counted().get((REQUESTS_IN_FLIGHT.name, ("demo",))))
    return outcome, notes.taken()


@contextmanager
def both_ways(*graph: Any) -> Iterator[Ways]:
    with uvloop_running() as run:
        stack = AsyncExitStack()

        async def enter() -> Ways:
            arms = make_echo(*graph), make_echo(*graph)
            lean = await stack.enter_async_context(lean_served(arms[0]))
            return Ways(run, arms, lean, await stack.enter_async_context(served(arms[1])))

        try:
            yield run(enter())
        finally:
            run(stack.aclose())


@pytest.fixture(scope="module", params=[True, False], ids=["again", "once"])
def ways(request: pytest.FixtureRequest) -> Iterator[Ways]:
    with both_ways(request.param) as found:
        yield found


names = (
    st.text("abc-_.0", min_size=1, max_size=6)
    .map(lambda end: f"x-{end}")
    .filter(lambda name: not name.endswith("-bin"))
)
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12).map(str.strip)
metadata = st.lists(st.tuples(names, values), max_size=3)
ids = st.sampled_from(["r", "a b", "", "é".encode().decode("latin-1"), "y" * 200]).filter(
    str.isascii
)
parameter = st.dictionaries(
    st.sampled_from(["fail", "wait", "timeout", "other"]),
    st.sampled_from([*FAILURES, True, 2**40, -1, 0.5]),
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request that is good, or nearly."""
    message = InferRequest(
        model_name=draw(st.sampled_from(["demo", "demo", "demo", "nobody", ""])),
        model_version=draw(st.sampled_from(["", "", "3", "4", "5", "x"])),
        id=draw(st.sampled_from(["", "i", "é"])),
    )
    rows = draw(st.integers(0, 3))
    is_raw = draw(st.booleans())
    x = message.inputs.add(
        name="x", datatype="FP32", shape=[rows, draw(st.sampled_from([2, 2, 3]))]
    )
    text = message.inputs.add(name=draw(st.sampled_from(["text", "text", "y"])), datatype="BYTES")
    data = draw(st.lists(st.binary(max_size=4), max_size=3))
    text.shape.append(len(data))
    if is_raw:
        message.raw_input_contents.append(np.arange(2 * rows, dtype=np.float32).tobytes())
        message.raw_input_contents.append(
            b"".join(len(one).to_bytes(4, "little") + one for one in data)
        )
    else:
        x.contents.fp32_contents.extend(range(2 * rows))
        text.contents.bytes_contents.extend(data)
    for name, value in draw(parameter).items():
        field = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
        setattr(message.parameters[name], field[type(value)], value)
    for name in draw(st.lists(st.sampled_from(["x", "left", "nothing"]), max_size=2)):
        message.outputs.add(name=name)
    found: bytes = message.SerializeToString()
    return found


damaged = st.integers(0, 2**32).map(lambda seed: mangled(random.Random(seed)))


@settings(max_examples=examples(300), deadline=None)
@given(
    message=st.one_of(requests(), requests(), damaged, st.binary(max_size=20)),
    metadata=metadata,
    id=ids,
)
def test_both_ways_answer_alike(
    ways: Ways, message: bytes, metadata: list[tuple[str, str]], id: str
) -> None:
    if len(message) > LIMITS.max_body:
        return
    lean, served = ways.both(message, ("x-request-id", id), *metadata)
    if lean.trailer["x-request-id"] != id:
        # It was made up, by each on its own.
        made = lean.trailer["x-request-id"], served.trailer["x-request-id"]
        assert all(len(one) == MADE_UP for one in made)
        lean = _renamed(lean)
        served = _renamed(served)
    assert lean == served


def _renamed(found: Outcome) -> Outcome:
    id = found.trailer["x-request-id"]
    trailer = found.trailer | {"x-request-id": ""}
    return found._replace(trailer=trailer, details=found.details.replace(id, ""))


@pytest.mark.parametrize("way", FAILURES)
@pytest.mark.parametrize("wait", [True, False])
def test_both_ways_fail_alike(ways: Ways, way: str, wait: bool) -> None:
    message = InferRequest(model_name="demo")
    message.inputs.add(name="x", datatype="FP32", shape=[1, 2]).contents.fp32_contents.extend(
        [1, 2]
    )
    message.inputs.add(name="text", datatype="BYTES", shape=[0])
    message.parameters["fail"].string_param = way
    message.parameters["wait"].bool_param = wait
    lean, served = ways.both(message.SerializeToString(), ("x-request-id", "r"))
    assert lean == served
    assert lean.code is not StatusCode.OK
    assert ("retry-after" in lean.trailer) == (way == "busy")


def test_both_ways_remember_and_tell_the_same_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Signatures, "now", lambda signatures: 1_790_000_000)
    with both_ways(True, {"chooser": ("left", "right")}) as ways:
        message = InferRequest(model_name="demo")
        message.inputs.add(name="x", datatype="FP32", shape=[0, 2])
        message.inputs.add(name="text", datatype="BYTES", shape=[0])
        lean, served = ways.both(message.SerializeToString(), ("x-request-id", "r"))
        assert lean == served and b'"path":{"chooser":"left"}' in lean.message
        found = [arms.made.find("r") for arms in ways.arms]
        assert found[0] is not None and found[0].path == {"chooser": "left"}
        assert found[0] == found[1]


def test_a_traced_call_says_so_on_both_ways(ways: Ways) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    lean, served = ways.both(b"", ("x-request-id", "r"), ("traceparent", parent))
    traces = [found.trailer["traceresponse"].split("-")[1] for found in (lean, served)]
    assert traces == [parent.split("-")[1]] * 2


@pytest.mark.parametrize(
    "body",
    {
        "none": b"",
        "half a prefix": b"\0\0",
        "cut": ASK[:-1],
        "two": ASK * 2,
        "compressed": framed(infer_request().SerializeToString(), flag=1),
        "a huge size": framed(b"", size=2**32 - 1),
    }.values(),
)
def test_a_body_that_is_not_one_message(ways: Ways, body: bytes) -> None:
    for headers in ((), (("grpc-encoding", "gzip"),)):
        if headers and body[:1] == b"\1":
            continue
        found = ways.run(_call(ways.lean, body, *headers))
        assert (found.code, found.message) == (StatusCode.INTERNAL, b"")
        assert found.trailer.keys() == {"x-request-id"}


async def _call(client: LeanClient, body: bytes, *headers: tuple[str, str]) -> Outcome:
    return await client.call(body, *headers)


def test_a_body_over_the_limit(ways: Ways) -> None:
    found = ways.run(_call(ways.lean, framed(b"\0" * (LIMITS.max_body + 1))))
    assert (found.code, found.details) == (
        StatusCode.RESOURCE_EXHAUSTED, f"the body is over the limit of {LIMITS.max_body} bytes"
    )  # fmt: skip
    assert ways.run(_call(ways.lean, framed(b""))).code is not StatusCode.RESOURCE_EXHAUSTED


def test_headers_over_the_limit(ways: Ways) -> None:
    found = ways.run(_call(ways.lean, framed(b""), ("x-a", "b" * LIMITS.max_headers)))
    assert (found.code, "headers of" in found.details) == (StatusCode.RESOURCE_EXHAUSTED, True)


async def slow(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    await asyncio.sleep(60)
    return {}


def test_the_time_of_a_call_ends_it() -> None:
    async def main() -> None:
        async with lean_served(make_arms(slow)) as client:
            found = await client.call(ASK, ("grpc-timeout", "50m"))
            assert found.code is StatusCode.DEADLINE_EXCEEDED
            assert (await client.call(ASK, ("grpc-timeout", "1n"))).code is found.code

    asyncio.run(main())


def test_a_client_that_goes_ends_the_work() -> None:
    async def main() -> None:
        step = Hanging()
        arms = make_arms(step)
        async with lean_served(arms) as client:
            client.writer.write(request(ASK))
            await step.begun.wait()
            assert arms.gate.inside == 1
            client.writer.close()
            await step.cancelled.wait()
        assert arms.gate.inside == 0

    asyncio.run(main())


@pytest.mark.parametrize("idempotent", [True, False])
def test_only_a_call_that_may_be_evaluated_again_has_no_head_before_its_answer(
    idempotent: bool,
) -> None:
    async def main() -> None:
        step = Hanging()
        arms = Arms("demo", lambda revision: StepHead(step), LIMITS)
        arms.apply(make_table(revisions={3: replace(make_signature(), idempotent=idempotent)}))
        server = LeanServer(LeanCalls(arms))
        wire = connect(server)
        await wire.feed(request(ASK))
        await step.begun.wait()
        assert (wire.sent == b"") == idempotent
        await wire.hang_up()
        await step.cancelled.wait()
        await server.close(0)

    asyncio.run(main())


def test_http_has_its_own_paths_on_the_same_socket() -> None:
    async def main() -> None:
        async with lean_served(make_arms()) as client:
            client.writer.write(b"GET /v2/models/demo/ready HTTP/1.1\r\nhost: x\r\n\r\n")
            assert await client.reader.readline() == b"HTTP/1.1 200 OK\r\n"

    asyncio.run(main())


def test_a_jwt_of_a_key_that_is_not_known_waits_for_it() -> None:
    arms = make_arms()
    arms.guard = guarded(Controller(*keys_of(signer())))

    async def main() -> None:
        async with lean_served(arms) as client:
            for one, code in (
                (signer(), StatusCode.OK), (signer("other", 1), StatusCode.UNAUTHENTICATED)
            ):  # fmt: skip
                shown = ("authorization", f"Bearer {one.token(claims(HERE))}")
                assert (await client.call(ASK, shown)).code is code

    asyncio.run(main())


def test_a_message_is_not_unpacked_before_its_caller_may_call() -> None:
    arms = make_arms()
    arms.guard = guarded(Controller(*keys_of(signer())))
    packed, packing = gzip.compress(b"hello"), ("grpc-encoding", "gzip")
    problems = {
        b"no gzip": "zlib error",
        packed[:-1]: "data error",
        packed * 2: "not all input consumed",
    }

    async def main() -> None:
        async with lean_served(arms) as client:
            for damaged, problem in problems.items():
                message = framed(damaged, flag=1)
                found = await client.call(message, packing)
                assert found.code is StatusCode.UNAUTHENTICATED
                known = ("authorization", f"Bearer {signer().token(claims(HERE))}")
                found = await client.call(message, packing, known)
                assert found.code is StatusCode.INTERNAL
                assert found.details == f"Decompression failed due to {problem}"

    asyncio.run(main())
