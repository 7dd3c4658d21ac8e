"""The runtime ``open_inference`` against a graph behind a real server, which then misbehaves."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import asynccontextmanager, suppress

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components import registry
from anabranch.components.binding import bind
from anabranch.components.contract import CannotLoad, Context
from anabranch.components.runtimes.open_inference import health, server
from anabranch.components.runtimes.open_inference.server import RemoteError
from anabranch.components.runtimes.open_inference.wire import BadAnswer, decode
from anabranch.components.tensors.types import typed
from anabranch.errors import DeadlineExceeded, LoadError, NodeError, Unavailable
from anabranch.graph.compile.loading import load_data
from anabranch.graph.local import LocalGraph
from anabranch.graph.plan.plan import Signature
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.limits import RequestLimits
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.arms import Arms
from anabranch.specs.models import InputSpec
from anabranch.telemetry.trace import Trace
from tests.router.conftest import KEYS, StepHead, double, make_arms, serving

X = np.array([[1.0, 2.0], [3.0, -4.5]], np.float32)
TENSORS = {
    "bool": np.array([True, False]),
    "u8": np.array([0, 255], np.uint8),
    "u16": np.array([0, 65535], np.uint16),
    "u32": np.array([0, 2**32 - 1], np.uint32),
    "u64": np.array([0, 2**64 - 1], np.uint64),
    "i8": np.array([-128, 127], np.int8),
    "i16": np.array([-(2**15), 2**15 - 1], np.int16),
    "i32": np.array([-(2**31), 2**31 - 1], np.int32),
    "i64": np.array([-(2**63), 2**63 - 1], np.int64),
    "fp16": np.array([0.1, -65504], np.float16),
    "bf16": np.array([0.1, -3e38], ml_dtypes.bfloat16),
    "fp32": np.array([0.1, 3.4e38], np.float32),
    "fp64": np.array([0.1, -1.7e308]),
    "texts": np.array(["grün", b"b", ""], object),
    "empty": np.zeros((0, 3), np.float32),
    "scalar": np.array(2.5, np.float32),
}


class Remote:
    """A graph and the server's metadata; ``faults`` answer in their place, path by path."""

    def __init__(self, app, extensions=("binary_tensor_data",)):
        self.app, self.extensions = app, extensions
        self.faults = {}
        self.seen = []
        self.hanging, self.gone = threading.Event(), threading.Event()

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        self.seen.append((scope["path"], scope["client"], dict(scope["headers"])))
        for end, fault in self.faults.items():
            if scope["path"].endswith(end):
                return await fault(self, scope, receive, send)
        if scope["path"] == "/v2":
            return await says(200, {"extensions": self.extensions})(self, scope, receive, send)
        return await self.app(scope, receive, send)

    def paths(self):
        return [path for path, _, _ in self.seen]


def says(status, body, headers=()):
    async def answer(remote, scope, receive, send):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await send({"type": "http.response.body", "body": data})

    return answer


def in_turn(*faults):
    left = iter(faults)

    async def answer(remote, scope, receive, send):
        fault = next(left, None)
        await (fault(remote, scope, receive, send) if fault else remote.app(scope, receive, send))

    return answer


async def hangs(remote, scope, receive, send):
    remote.hanging.set()
    while (await receive())["type"] != "http.disconnect":
        pass
    remote.gone.set()


async def dies(remote, scope, receive, send):
    length = [(b"content-length", b"1000")]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": b"{", "more_body": True})
    raise RuntimeError("in mid-answer")


async def never_ends(remote, scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(64):
        await send({"type": "http.response.body", "body": b" " * 2**16, "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass


@pytest.fixture(scope="module")
def demo():
    remote = Remote(GraphApp(make_arms()))
    with serving(remote) as url:
        yield url, remote


@pytest.fixture
def remote(demo):
    _, remote = demo
    remote.faults, remote.extensions = {}, ("binary_tensor_data",)
    remote.seen.clear()
    remote.hanging.clear()
    remote.gone.clear()
    yield remote
    remote.faults = {}


@pytest.fixture
def make(node, demo, remote, tmp_path):
    def bound(inputs=("x",), outputs=None, args_outputs=None, **args):
        fields = {"url": demo[0], "model": "demo", "outputs": args_outputs} | args
        named = dict.fromkeys(inputs, "x")
        spec = node(
            type="predictor", runtime="open_inference", inputs=named, outputs=outputs, args=fields
        )
        return bind("far", spec, tmp_path)

    return bound


@asynccontextmanager
async def loaded(bound):
    try:
        await bound.load()
        yield bound
    finally:
        await bound.unload()


def ask(bound, *, context=None, before=None, **inputs):
    async def run():
        async with loaded(bound):
            if before is not None:
                before()
            return await bound.call(context=context or Context(), **inputs)

    return asyncio.run(run())


@pytest.mark.parametrize("binary", [None, True, False])
def test_the_remote_model_answers(make, binary):
    found = ask(make(binary=binary), x=X)
    np.testing.assert_array_equal(found["doubled"], 2 * X)
    assert found["rows"] == 2
    found["doubled"][0] = 0  # may be written to


def test_the_server_says_whether_it_reads_raw_bytes(make, remote):
    def content_types(extensions):
        remote.extensions = extensions
        remote.seen.clear()
        ask(make(), x=X)
        return [headers[b"content-type"] for path, _, headers in remote.seen if "infer" in path]

    assert content_types(("binary_tensor_data",)) == [b"application/octet-stream"]
    assert content_types(()) == [b"application/json"]
    remote.faults["/v2"] = says(404, {})
    assert content_types(()) == [b"application/json"]


def test_every_request_has_the_headers_of_the_node(make, remote):
    ask(make(headers={"seldon-model": "demo", "X-Tier": "gold"}), x=X)
    assert len(remote.seen) > 3  # probe, metadata, extensions, inference
    for _, _, headers in remote.seen:
        assert (headers[b"seldon-model"], headers[b"x-tier"]) == (b"demo", b"gold")


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"content-length": "3"}, "is no header that a request may be given"),
        ({"a b": "3"}, "is no header that a request may be given"),
        ({"x-tier": "gold\r\nx-admin: yes"}, "is no text of a header"),
    ],
)
def test_headers_that_a_request_cannot_have(node, headers, said):
    args = {"url": "http://localhost", "model": "m", "headers": headers}
    spec = node(type="predictor", runtime="open_inference", inputs={"x": "x"}, args=args)
    ((path, message),) = registry.problems(spec)
    assert path == ("args", "headers", *headers)
    assert message.endswith(said)


def test_a_model_may_leave_out_optional_outputs_and_keeps_their_names(node, demo, remote, tmp_path):
    def asked(*optional):
        spec = node(
            type="predictor", runtime="open_inference", inputs={"x": "x"},
            args={"url": demo[0], "model": "demo", "outputs": ["doubled"]},
            optional_outputs=list(optional) or None,
        )  # fmt: skip
        return ask(bind("far", spec, tmp_path), x=X)

    assert asked().tolist() == (2 * X).tolist()
    assert asked("doubled").keys() == {"doubled"}
    remote.faults["/infer"] = says(200, {"model_name": "demo", "outputs": []})
    assert asked("doubled") == {}
    with pytest.raises(BadAnswer, match="left out the outputs doubled"):
        asked()


def test_a_node_with_a_quorum_needs_only_inputs_that_the_model_has(node, demo, tmp_path):
    def bound(name):
        args = {"url": demo[0], "model": "demo"}
        inputs = {name: "x"} if name == "x" else {"x": "x", name: "x"}
        spec = node(type="predictor", runtime="open_inference", inputs=inputs, args=args, quorum=1)
        return bind("far", spec, tmp_path)

    assert ask(bound("x"), x=X)["rows"] == 2
    with pytest.raises(CannotLoad, match="has no input 'z'"):
        ask(bound("z"), x=X)


async def echo(inputs, context):
    return dict(inputs)


@pytest.fixture(scope="module")
def mirror():
    """A graph that returns what it is sent, in a tensor of each datatype."""
    types = {name: typed(array.dtype, array.shape) for name, array in TENSORS.items()}
    inputs = {name: InputSpec(**one.model_dump()) for name, one in types.items()}
    signature = Signature(inputs, types, 60)
    arms = Arms("mirror", lambda revision: StepHead(echo), RequestLimits())
    arms.apply(RoutingTable("mirror", 1, 1, {1: 100.0}, revisions={1: signature}, keys=KEYS))
    with serving(GraphApp(arms)) as url:
        yield url


@pytest.mark.parametrize("binary", [True, False])
def test_tensors_of_every_datatype_survive(node, tmp_path, mirror, binary):
    args = {"url": mirror, "model": "mirror", "binary": binary}
    inputs = dict.fromkeys(TENSORS, "x")
    spec = node(type="predictor", runtime="open_inference", inputs=inputs, args=args)
    found = ask(bind("far", spec, tmp_path), **TENSORS)
    assert found.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        if array.dtype.kind == "O":
            texts = [one.decode() if isinstance(one, bytes) else one for one in found[name]]
            assert texts == ["grün", "b", ""]
        else:
            assert found[name].tobytes() == array.tobytes()


def test_what_json_cannot_carry_is_said(node, tmp_path, mirror):
    args = {"url": mirror, "model": "mirror", "binary": False}
    inputs = dict.fromkeys(TENSORS, "x")
    spec = node(type="predictor", runtime="open_inference", inputs=inputs, args=args)
    bound = bind("far", spec, tmp_path)
    with pytest.raises(ValueError, match="input 'fp32' holds NaN or infinity"):
        ask(bound, **TENSORS | {"fp32": np.array([1, np.nan], np.float32)})
    with pytest.raises(UnicodeDecodeError):
        ask(bound, **TENSORS | {"texts": np.array([b"\xff", b"", b""], object)})


def test_outputs_are_picked_and_a_single_one_may_have_any_name(make):
    mine = {"mine": {"datatype": "FP32", "shape": [-1, 2]}}
    found = ask(make(args_outputs=["doubled"], outputs=mine), x=X)
    np.testing.assert_array_equal(found, 2 * X)
    with pytest.raises(CannotLoad, match=r"no output 'triple' \(available: doubled, rows\)"):
        ask(make(args_outputs=["triple"]), x=X)


def test_connections_are_kept_and_shared(make, remote):
    async def run():
        async with loaded(make()) as bound:
            for _ in range(10):
                await bound.call(x=X, context=Context())

    asyncio.run(run())
    assert len({client for path, client, _ in remote.seen}) == 1
    assert len([path for path in remote.paths() if path.endswith("/infer")]) == 10


@pytest.mark.parametrize(
    ("model", "path"), [("team-a/demo", b"team-a/demo"), ("Big One/x", b"Big%20One%2Fx")]
)
def test_the_slash_of_a_graph_in_a_namespace_is_that_of_a_path(remote, make, model, path):
    """By which the edge finds the graph's routers."""
    asked = []

    async def noted(remote, scope, receive, send):
        asked.append(scope["raw_path"])
        await says(503, {})(remote, scope, receive, send)

    remote.faults["/ready"] = noted
    with pytest.raises(CannotLoad):
        ask(make(model=model), x=X)
    assert asked == [b"/v2/models/" + path + b"/ready"]


@pytest.mark.parametrize(
    "trace", [None, Trace("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")]
)
def test_what_travels_along(make, node, tmp_path, trace):
    seen = []

    async def step(inputs, context):
        seen.append(context)
        return await double(inputs, context)

    with serving(GraphApp(make_arms(step))) as url:
        spec = node(type="predictor", runtime="open_inference", args={"url": url, "model": "demo"})
        context = Context(
            "id-7", {"traceparent": "00-a", "cookie": "secret"}, {"k": 1}, time.monotonic() + 90,
            trace=trace,
        )  # fmt: skip
        ask(bind("far", spec, tmp_path), x=X, context=context)
    (there,) = seen
    assert there.id == "id-7"
    assert there.parameters["k"] == 1
    assert there.headers["traceparent"] == (trace.traceparent if trace else "00-a")
    assert "cookie" not in there.headers
    assert 0 < there.remaining() <= 90


def test_a_server_that_hangs_costs_no_more_than_the_deadline(make, remote):
    async def run():
        async with loaded(make()) as bound:
            remote.faults["/infer"] = hangs
            with pytest.raises(DeadlineExceeded, match=r"'demo' gave no answer within \d"):
                await bound.call(x=X, context=Context(deadline=time.monotonic() + 1))
            assert await asyncio.to_thread(remote.gone.wait, 10)

    asyncio.run(run())


def test_a_caller_that_gives_up_closes_its_request(make, remote):
    async def run():
        async with loaded(make()) as bound:
            remote.faults["/infer"] = hangs
            call = asyncio.create_task(bound.call(x=X, context=Context()))
            assert await asyncio.to_thread(remote.hanging.wait, 10)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await asyncio.to_thread(remote.gone.wait, 10)

    asyncio.run(run())


JSON = {"outputs": [{"name": "y", "datatype": "FP32", "shape": [2], "data": [1, 2]}]}


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (says(503, {"error": "full"}, [(b"retry-after", b"7")]), Unavailable,
         "remote model 'demo' is overloaded: full"),
        (says(429, {}), Unavailable, "is overloaded$"),
        (says(504, {"error": "late"}), DeadlineExceeded, "remote model 'demo' gave up: late"),
        (says(500, {"error": "node 'a'\nfailed"}), RemoteError, "answered 500: node 'a' failed"),
        (says(500, b"\x00<html>"), RemoteError, "remote model 'demo' answered 500$"),
        (says(302, b"", [(b"location", b"http://127.0.0.1/")]), RemoteError, "answered 302"),
        (dies, Unavailable, "cannot be reached: (Remote|Read)"),
        (never_ends, BadAnswer, "over 1048576 bytes"),
        (says(200, b"{"), BadAnswer, "malformed"),
        (says(200, {"outputs": []}), BadAnswer, "left out the outputs all"),
        (says(200, {"outputs": [{"name": "y"}]}), BadAnswer, "malformed: KeyError"),
        (says(200, {"outputs": [{**JSON["outputs"][0], "shape": [3]}]}), BadAnswer, "reshape"),
        (says(200, {"outputs": [{**JSON["outputs"][0], "datatype": "FP33"}]}), BadAnswer, "FP33"),
        (says(200, {"outputs": [{**JSON["outputs"][0], "data": ["a", "b"]}]}), BadAnswer,
         "malformed: ValueError: could not convert string"),
        (says(200, {"outputs": [{**JSON["outputs"][0], "parameters": {"binary_data_size": 8}}]},
              [(b"inference-header-content-length", b"12")]), BadAnswer, "malformed"),
    ],
)  # fmt: skip
def test_a_server_that_misbehaves(make, remote, monkeypatch, fault, error, message):
    monkeypatch.setattr(server, "MAX_ANSWER", 2**20)
    with pytest.raises(error, match=message) as raised:
        ask(make(), x=X, before=lambda: remote.faults.update({"/infer": fault}))
    if "full" in message:
        assert raised.value.retry_after == 7
    assert "http://" not in str(raised.value)


def test_a_request_that_the_remote_refuses_says_why(make):
    with pytest.raises(RemoteError, match=r"'demo' answered 400: input 'x' must be FP32\[-1, 2\]"):
        ask(make(), x=X[:, :1])


def test_a_server_that_is_away(node, tmp_path):
    with serving(GraphApp(make_arms())) as url:
        spec = node(type="predictor", runtime="open_inference", args={"url": url, "model": "demo"})
        bound = bind("far", spec, tmp_path)
        asyncio.run(_load_and_leave(bound))
    with pytest.raises(CannotLoad, match="remote model 'demo' cannot be reached: ConnectError"):
        asyncio.run(bound.load())
    asyncio.run(bound.unload())


async def _load_and_leave(bound):
    async with loaded(bound):
        pass


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "other"}, "remote model 'other' answered 404"),
        ({"version": "4"}, "remote model 'demo' answered 404"),
        ({"inputs": ("a", "b")}, "remote model 'demo' takes the inputs x, the node has a, b"),
    ],
)  # fmt: skip
def test_signatures_that_do_not_fit_are_errors_of_loading(make, fields, message):
    with pytest.raises(CannotLoad, match=message):
        asyncio.run(_load_and_leave(make(**fields)))


@pytest.mark.parametrize("metadata", [[], {"inputs": [{}]}, {"inputs": 3}, "x"])
def test_metadata_that_are_none(make, remote, metadata):
    remote.faults["/models/demo"] = says(200, metadata)
    with pytest.raises(CannotLoad, match="list no inputs as the protocol says"):
        asyncio.run(_load_and_leave(make()))


def test_metadata_that_name_no_tensors_leave_the_names_as_they_are(make, remote):
    remote.faults["/models/demo"] = says(200, {"name": "demo"})
    assert ask(make(), x=X)["rows"] == 2


@pytest.mark.parametrize(
    "url",
    ["ftp://a", "a:8000", "http://", "http://a:b", "http://user:secret@a", "http://a?x=1",
     "http://a/#x", "file:///etc/passwd", "http://[::1"],
)  # fmt: skip
def test_urls_that_are_refused(node, url):
    fields = {"type": "predictor", "runtime": "open_inference"}
    found = registry.problems(node(**fields, args={"url": url, "model": "m"}))
    assert [path for path, _ in found] == [("args", "url")]


def test_a_model_file_and_a_method_are_refused(node):
    fields = {"type": "predictor", "runtime": "open_inference", "model": "m.onnx", "method": "f"}
    found = registry.problems(node(**fields, args={"url": "http://a", "model": "m"}))
    assert [path for path, _ in found] == [("model",), ("method",)]


def test_an_unhealthy_model_is_spared_but_not_for_ever(make, remote, monkeypatch):
    now = [100.0]
    bound = make()
    monkeypatch.setattr(bound.instance, "_health", health.Health(lambda: now[0]))

    async def run():
        async with loaded(bound):
            remote.faults["/ready"] = says(503, {})
            await bound.check_health()
            remote.seen.clear()
            with pytest.raises(Unavailable, match="remote model 'demo' is not ready"):
                await bound.call(x=X, context=Context())
            assert remote.seen == []
            now[0] += health.HOLDS
            assert (await bound.call(x=X, context=Context()))["rows"] == 2
            await bound.check_health()
            remote.faults.clear()
            await bound.check_health()
            assert (await bound.call(x=X, context=Context()))["rows"] == 2

    asyncio.run(run())


@pytest.fixture
def graph(demo, remote, tmp_path):
    made = []

    def build(**fields):
        far = {
            "type": "predictor",
            "runtime": "open_inference",
            "args": {"url": demo[0], "model": "demo", "outputs": ["doubled"]},
            "inputs": {"pixels": "pixels"},
            **fields,
        }
        data = {
            "apiVersion": "anabranch/v1",
            "kind": "InferenceGraph",
            "metadata": {"name": "near"},
            "spec": {
                "inputs": {"pixels": {"datatype": "FP32", "shape": [-1, 2]}},
                "nodes": {"far": far},
                "outputs": {"y": "far"},
            },
        }
        loaded = load_data(data, tmp_path)
        made.append(LocalGraph(loaded.plan, loaded.root))
        return made[-1]

    yield build
    for one in made:
        one.close()


def test_what_the_metadata_know_is_held_against_the_graph(graph):
    shape = {"shape": [-1, 2]}
    assert graph(outputs={"mine": {"datatype": "FP32", **shape}}).run({"pixels": X})
    with pytest.raises(LoadError, match=r"output 'mine' is FP64.*, but the model gives FP32"):
        graph(outputs={"mine": {"datatype": "FP64", **shape}})


def test_in_a_graph_with_retries_and_a_stand_in(graph, remote):
    near = graph(idempotent=True, retries=2)
    remote.faults["/infer"] = in_turn(says(503, {}), dies)
    np.testing.assert_array_equal(near.run({"pixels": X})["y"], 2 * X)
    remote.faults["/infer"] = says(500, {"error": "broken"})
    with pytest.raises(NodeError, match=r"node 'far' failed: RemoteError: .* answered 500: broken"):
        near.run({"pixels": X})
    stand_in = graph(on_error={"use": "pixels"})
    np.testing.assert_array_equal(stand_in.run({"pixels": X})["y"], X)


def test_null_is_not_a_number():
    data = {"datatype": "FP16", "shape": [2], "data": [None, 1e9]}
    found = decode(json.dumps({"outputs": [{"name": "y", **data}]}).encode(), None)["y"]
    assert np.isnan(found[0]) and np.isinf(found[1])


@given(st.binary(max_size=200), st.none() | st.integers(-5, 300).map(str) | st.text(max_size=3))
def test_no_answer_is_more_than_a_bad_one(body, length):
    with suppress(BadAnswer):
        decode(body, length)
