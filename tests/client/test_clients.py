"""Both clients against an engine that answers what each test scripts, without a network."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from anabranch import (
    AnabranchError,
    AsyncClient,
    Client,
    Conflict,
    DeadlineExceeded,
    DeployError,
    EngineError,
    Graph,
    InvalidRequest,
    NotFound,
    SpecError,
    TooLarge,
    Unavailable,
)
from anabranch.client import operations
from anabranch.client.bundle.unpacking import unpack
from anabranch.client.portable.building import build
from anabranch.router.oip.generate import FIELDS

METADATA = {
    "name": "g",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
}
REPLY = {
    "model_name": "g",
    "model_version": "3",
    "id": "abc",
    "parameters": {"routing": "{}"},
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [0.5]}],
}


class ScriptedEngine:
    """Answers by method and path; the last of several answers for ever."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Any]] = {}
        self.seen: list[httpx.Request] = []

    def will(self, line: str, *answers: Any) -> None:
        self.answers[line] = list(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        answers = self.answers[f"{request.method} {request.url.path}"]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, httpx.Response):
            return answer
        if isinstance(answer, Exception):
            raise answer
        status, content = answer if isinstance(answer, tuple) else (200, answer)
        return httpx.Response(status, json=content)

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(one.content) for one in self.seen if one.content]

    @property
    def lines(self) -> list[str]:
        return [f"{one.method} {one.url.path}" for one in self.seen]


Call = Callable[[Any], Any]


class Both:
    """Makes the same call with either client; ``aio`` says with which."""

    def __init__(self, engine: ScriptedEngine, aio: bool) -> None:
        self.engine, self.aio = engine, aio

    def __call__(self, call: Call) -> Any:
        transport = httpx.MockTransport(self.engine)
        if not self.aio:
            with Client("http://engine", "token", transport=transport) as client:
                found = call(client)
                return list(found) if isinstance(found, Iterator) else found

        async def run() -> Any:
            async with AsyncClient("http://engine", "token", transport=transport) as client:
                found = call(client)
                if inspect.isasyncgen(found):
                    return [one async for one in found]
                return await found

        return asyncio.run(run())


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture(params=["sync", "async"])
def do(
    request: pytest.FixtureRequest, engine: ScriptedEngine, tmp_path: Path, monkeypatch: Any
) -> Both:
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path / "home"))
    return Both(engine, request.param == "async")


def public(cls: type) -> dict[str, inspect.Signature]:
    methods = inspect.getmembers(cls, inspect.isfunction)
    return {name: inspect.signature(one) for name, one in methods if name[0] != "_"}


def test_both_clients_have_the_same_methods() -> None:
    assert public(Client).keys() == public(AsyncClient).keys()
    for name, signature in public(Client).items():
        other = public(AsyncClient)[name]
        assert list(signature.parameters.values()) == list(other.parameters.values()), name


def test_methods_have_docstrings_and_the_signatures_of_a_client() -> None:
    infer = Client("http://engine").infer
    assert list(inspect.signature(infer).parameters)[:3] == ["graph", "inputs", "outputs"]
    assert inspect.signature(infer).return_annotation == "InferenceReply"
    assert "InvalidRequest" in str(Client.infer.__doc__)


def test_arrays_go_out_and_come_back(do: Both, engine: ScriptedEngine) -> None:
    engine.will("POST /v2/models/g/infer", REPLY)
    reply = do(lambda c: c.infer("g", {"x": np.float32([[1, 2]])}))
    assert engine.lines == ["POST /v2/models/g/infer"]
    assert engine.bodies[0]["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}
    ]
    np.testing.assert_array_equal(reply["y"], np.float32([0.5]))
    assert dict(reply) == reply.outputs
    assert (reply.graph, reply.revision, reply.id, reply.routing) == ("g", 3, "abc", "{}")


def test_an_id_that_the_engine_made_is_in_a_header(do: Both, engine: ScriptedEngine) -> None:
    reply = {name: value for name, value in REPLY.items() if name != "id"}
    made = httpx.Response(200, json=reply, headers={"x-request-id": "made"})
    engine.will("POST /v2/models/g/infer", made)
    assert do(lambda c: c.infer("g", {"x": np.ones(1)})).id == "made"


def test_a_reply_is_readable(do: Both, engine: ScriptedEngine) -> None:
    engine.will("POST /v2/models/g/infer", REPLY)
    shown = repr(do(lambda c: c.infer("g", {"x": np.float32([[1, 2]])})))
    assert shown == ("InferenceReply(graph='g', revision=3, id='abc')\n  y FP32[1]\n    [0.5]")


@pytest.mark.parametrize("inputs", [{"x": [[1, 2]]}, {"x": [1, 2]}, [[1, 2]], {"x": ([1.0, 2.0],)}])
def test_plain_values_get_the_datatype_of_the_input(
    do: Both, engine: ScriptedEngine, inputs: Any
) -> None:
    engine.will("GET /v2/models/g", METADATA)
    engine.will("POST /v2/models/g/infer", REPLY)
    do(lambda c: c.infer("g", inputs))
    assert engine.lines == ["GET /v2/models/g", "POST /v2/models/g/infer"]
    assert engine.bodies[0]["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}
    ]


def test_types_are_asked_for_once(engine: ScriptedEngine) -> None:
    engine.will("GET /v2/models/g", METADATA)
    engine.will("POST /v2/models/g/infer", REPLY)
    with Client("http://engine", transport=httpx.MockTransport(engine)) as client:
        for _ in range(3):
            client.infer("g", [[1, 2]])
    assert engine.lines.count("GET /v2/models/g") == 1


def test_types_that_have_changed_are_asked_for_anew(engine: ScriptedEngine) -> None:
    changed = {**METADATA, "inputs": [{"name": "x", "datatype": "INT64", "shape": [-1, 2]}]}
    engine.will("GET /v2/models/g", METADATA, changed)
    engine.will("POST /v2/models/g/infer", REPLY, (400, {"error": "expected INT64"}), REPLY)
    with Client("http://engine", transport=httpx.MockTransport(engine)) as client:
        client.infer("g", [[1, 2]])
        client.infer("g", [[1, 2]])
    assert [body["inputs"][0]["datatype"] for body in engine.bodies] == ["FP32", "FP32", "INT64"]


def test_a_request_that_is_refused_with_the_right_types_is_not_sent_again(
    engine: ScriptedEngine,
) -> None:
    engine.will("GET /v2/models/g", METADATA)
    engine.will("POST /v2/models/g/infer", REPLY, (400, {"error": "no more than 3"}))
    with Client("http://engine", transport=httpx.MockTransport(engine)) as client:
        client.infer("g", [[1, 2]])
        with pytest.raises(InvalidRequest, match=r"^no more than 3$"):
            client.infer("g", [[1, 2]])
    assert engine.lines.count("POST /v2/models/g/infer") == 2


def test_types_that_another_thread_has_forgotten_meanwhile_are_asked_for_anew() -> None:
    changed = {**METADATA, "inputs": [{"name": "x", "datatype": "INT64", "shape": [-1, 2]}]}
    engine = ScriptedEngine()
    engine.will("GET /v2/models/g", METADATA, changed)
    engine.will("POST /v2/models/g/infer", REPLY, (400, {"error": "expected INT64"}), REPLY)

    def answer(request: httpx.Request) -> httpx.Response:
        reply = engine(request)
        if reply.is_error:
            client.session.types.clear()
        return reply

    with Client("http://engine", transport=httpx.MockTransport(answer)) as client:
        client.infer("g", [[1, 2]])
        assert client.infer("g", [[1, 2]]).revision == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"reward": float("nan")}, "a reward is a finite number, not nan"),
        ({"truth": [[1], [1, 2]]}, "the truth is a label, or one for each row"),
    ],
)
def test_feedback_that_is_none_is_refused(
    do: Both, engine: ScriptedEngine, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        do(lambda c: c.feedback("g", "id", **given))
    assert engine.seen == []


def test_what_goes_with_a_request(do: Both, engine: ScriptedEngine) -> None:
    engine.will("POST /v2/models/g/versions/2/infer", REPLY)
    do(
        lambda c: c.infer(
            "g", {"x": np.float32([[1, 2]])}, ["y"], revision=2, headers={"x-user": "me"},
            parameters={"tier": "gold"}, id="mine", timeout=0.5,
        )
    )  # fmt: skip
    (request,), (body,) = engine.seen, engine.bodies
    assert request.headers["x-user"] == "me"
    assert body["id"] == "mine"
    assert body["outputs"] == [{"name": "y"}]
    assert body["parameters"] == {"tier": "gold", "timeout": 500_000, "binary_data_output": True}


@pytest.mark.parametrize(
    "array",
    [np.zeros((1000, 2), np.float32), np.float32([[np.nan, np.inf]]), np.array([b"\xff"], object)],
)
def test_what_is_large_or_no_json_goes_in_binary(
    do: Both, engine: ScriptedEngine, array: Any
) -> None:
    engine.will("POST /v2/models/g/infer", REPLY)
    do(lambda c: c.infer("g", {"x": array}))
    (request,) = engine.seen
    length = int(request.headers["inference-header-content-length"])
    (tensor,) = json.loads(request.content[:length])["inputs"]
    assert tensor["parameters"]["binary_data_size"] == len(request.content) - length


def test_a_parameter_that_json_cannot_carry_is_refused(do: Both, engine: ScriptedEngine) -> None:
    with pytest.raises(InvalidRequest, match="cannot be encoded"):
        do(lambda c: c.infer("g", {"x": np.ones(1)}, parameters={"a": object()}))
    assert engine.seen == []


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InvalidRequest), (401, EngineError), (404, NotFound), (409, Conflict),
        (413, TooLarge), (422, DeployError), (500, AnabranchError), (503, Unavailable),
        (504, DeadlineExceeded),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("POST /v2/models/g/infer", lambda c: c.infer("g", {"x": np.ones(1)})),
        ("POST /v2/models/g/explain", lambda c: c.explain("g", {"x": np.ones(1)})),
        ("GET /v2/models/g", lambda c: c.stream("g", {"x": [1]})),
        ("POST /v2/models/g/feedback", lambda c: c.feedback("g", "id", 1)),
        ("GET /control/v1/graphs", lambda c: c.status()),
        ("GET /control/v1/graphs/g/traffic", lambda c: c.traffic("g")),
        ("POST /control/v1/graphs/g/promote", lambda c: c.promote("g")),
        ("POST /control/v1/graphs/g/rollback", lambda c: c.rollback("g")),
        ("GET /control/v1/graphs/g/rollout", lambda c: c.rollout("g")),
        ("GET /control/v1/graphs/g/revisions", lambda c: c.history("g")),
        ("GET /control/v1/graphs/g/logs", lambda c: c.logs("g")),
        ("GET /control/v1/events", lambda c: c.events("g")),
        ("DELETE /control/v1/graphs/g", lambda c: c.delete("g")),
    ],
)  # fmt: skip
def test_errors_are_of_their_kind_in_the_engine_s_words(
    do: Both, engine: ScriptedEngine, line: str, call: Call, status: int, error: type[Exception]
) -> None:
    engine.will(line, (status, {"error": "the engine's words"}))
    with pytest.raises(error, match=r"^the engine's words$") as raised:
        do(call)
    assert type(raised.value) is error


def test_an_engine_that_is_gone_is_said_to_be(do: Both, engine: ScriptedEngine) -> None:
    engine.will("GET /control/v1/graphs", httpx.ConnectError("refused"))
    with pytest.raises(EngineError, match=r"http://engine cannot be reached .*still up"):
        do(lambda c: c.status())
    engine.will("GET /control/v1/graphs", httpx.ReadTimeout("late"))
    with pytest.raises(EngineError, match="http://engine did not answer in time"):
        do(lambda c: c.status())


@pytest.mark.parametrize("content", [b"no json", b"{}", b'{"outputs": []}'])
def test_a_reply_that_breaks_the_protocol_is_an_error(
    do: Both, engine: ScriptedEngine, content: bytes
) -> None:
    engine.will("POST /v2/models/g/infer", httpx.Response(200, content=content))
    with pytest.raises(EngineError, match=r"the reply of .*/v2/models/g/infer cannot be read"):
        do(lambda c: c.infer("g", {"x": np.ones(1)}))


def test_the_token_is_sent(do: Both, engine: ScriptedEngine) -> None:
    engine.will("GET /control/v1/graphs", {"graphs": []})
    assert do(lambda c: c.status()) == {"graphs": []}
    assert engine.seen[0].headers["authorization"] == "Bearer token"


def test_explanations_take_what_requests_take(do: Both, engine: ScriptedEngine) -> None:
    engine.will("GET /v2/models/g", METADATA)
    engine.will("POST /v2/models/g/explain", {"explanations": [{}]})
    found = do(lambda c: c.explain("g", [[1, 2]], "why", target=1, seed=2))
    assert found == {"explanations": [{}]}
    assert engine.bodies[0]["parameters"] == {"target": 1, "seed": 2, "explainer": "why"}


def events(*documents: Any) -> httpx.Response:
    return httpx.Response(200, text="".join(f"data: {json.dumps(one)}\n\n" for one in documents))


def piece(**fields: Any) -> dict[str, Any]:
    return {"model_name": "g", "model_version": "3", "done": False, **fields}


TALKS = {
    "inputs": [{"name": "prompt", "datatype": "BYTES", "shape": [1]}],
    "outputs": [
        {"name": "said", "datatype": "BYTES", "shape": [1]},
        {"name": "score", "datatype": "FP32", "shape": [-1, 2]},
    ],
}


def test_a_stream_gives_replies_with_arrays(do: Both, engine: ScriptedEngine) -> None:
    engine.will("GET /v2/models/g", TALKS)
    engine.will(
        "POST /v2/models/g/generate_stream",
        events(piece(text_output="a", score=[[1, None]]), piece(text_output="b"), piece(done=True)),
    )
    first, second = do(lambda c: c.stream("g", "hello", parameters={"max_tokens": 2}))
    (body,) = engine.bodies
    assert len(body.pop("id")) == 32
    assert body == {"prompt": ["hello"], "parameters": {"max_tokens": 2}}
    np.testing.assert_array_equal(first["said"], np.array(["a"], object))
    np.testing.assert_array_equal(first["score"], np.float32([[1, np.nan]]))
    assert first["score"].dtype == np.float32
    assert list(second) == ["said"]
    assert first.revision == 3


def test_an_output_may_be_called_error(do: Both, engine: ScriptedEngine) -> None:
    engine.will("GET /v2/models/g", METADATA)
    engine.will("POST /v2/models/g/generate_stream", events(piece(error=0.5), piece(done=True)))
    (reply,) = do(lambda c: c.stream("g", [[1, 2]]))
    assert reply["error"] == 0.5


def test_outputs_may_be_called_as_other_fields_of_a_reply_are(
    do: Both, engine: ScriptedEngine
) -> None:
    names = sorted(FIELDS)
    outputs = [{"name": name, "datatype": "FP32", "shape": [1]} for name in names]
    engine.will("GET /v2/models/g", {**METADATA, "outputs": outputs})
    found = piece(outputs={name: number for number, name in enumerate(names)})
    engine.will("POST /v2/models/g/generate_stream", events(found, piece(done=True)))
    (reply,) = do(lambda c: c.stream("g", [[1, 2]]))
    assert {name: array.tolist() for name, array in reply.items()} == {
        name: [number] for number, name in enumerate(names)
    }
    assert (reply.revision, reply.parameters) == (3, {})


def test_the_author_is_asked_for_beside_the_event_loop(
    do: Both, engine: ScriptedEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_loop = []

    def author_of(folder: Path) -> str:
        on_loop.append(asyncio._get_running_loop() is not None)
        return "ada"

    monkeypatch.setattr(operations, "author_of", author_of)
    sent = {"graph": "g", "revision": 1, "state": "pending", "new": True}
    engine.will("POST /control/v1/graphs/g/revisions", sent)
    graph = Graph("g", root=tmp_path).input("x", "FP32", [-1])
    graph.transformer("a", method="softmax", inputs={"x": "x"}).output("y", "a")
    do(lambda c: c.deploy(graph, wait=False))
    (request,) = engine.seen
    assert (request.url.params["author"], on_loop) == ("ada", [False])


def test_an_error_in_a_stream_is_raised(do: Both, engine: ScriptedEngine) -> None:
    engine.will("GET /v2/models/g", TALKS)
    line = "POST /v2/models/g/generate_stream"
    engine.will(line, (503, {"error": "queue full"}))
    with pytest.raises(Unavailable, match=r"^queue full$"):
        do(lambda c: c.stream("g", "hello"))
    engine.will(line, events(piece(text_output="a"), {"error": "node 'n' failed"}))
    with pytest.raises(AnabranchError, match=r"^node 'n' failed$"):
        do(lambda c: c.stream("g", "hello"))
    engine.will(line, events(piece(text_output="a")))
    with pytest.raises(EngineError, match="stream of graph 'g' was cut off"):
        do(lambda c: c.stream("g", "hello"))


@pytest.mark.parametrize("value", [float("nan"), b"\xff"])
def test_a_stream_takes_only_what_json_has(do: Both, engine: ScriptedEngine, value: Any) -> None:
    datatype = "BYTES" if isinstance(value, bytes) else "FP32"
    inputs = [{"name": "x", "datatype": datatype, "shape": [-1]}]
    engine.will("GET /v2/models/g", {"inputs": inputs, "outputs": []})
    with pytest.raises(InvalidRequest, match="input 'x'"):
        do(lambda c: c.stream("g", [value]))


def test_feedback_is_for_a_reply_or_for_an_id(do: Both, engine: ScriptedEngine) -> None:
    engine.will("POST /v2/models/g/infer", REPLY, {**REPLY, "parameters": {}})
    engine.will("POST /v2/models/g/feedback", {"id": "abc", "counted": True, "reward": 1.0})
    routed = do(lambda c: c.infer("g", {"x": np.ones(1)}))
    plain = do(lambda c: c.infer("g", {"x": np.ones(1)}))
    engine.seen.clear()
    assert do(lambda c: c.feedback("g", routed, 1))["counted"]
    do(lambda c: c.feedback("g", plain, truth=np.int64([1, 0])))
    do(lambda c: c.feedback("g", "id", 0.5, "cat"))
    assert engine.bodies == [
        {"routing": "{}", "reward": 1.0},
        {"id": "abc", "truth": [1, 0]},
        {"id": "id", "reward": 0.5, "truth": "cat"},
    ]


def test_traffic_is_shown_and_set(do: Both, engine: ScriptedEngine) -> None:
    engine.will("GET /control/v1/graphs/g/traffic", {"weights": {"1": 1.0}})
    engine.will("PUT /control/v1/graphs/g/traffic", {"routers": 1})
    assert do(lambda c: c.traffic("g")) == {"weights": {"1": 1.0}}
    assert do(lambda c: c.traffic("g", {1: 90, 2: 10}, {3: 5})) == {"routers": 1}
    assert engine.bodies == [{"weights": {"1": 90, "2": 10}, "mirrors": {"3": 5}}]


def test_a_rollout_is_moved_and_waited_for(do: Both, engine: ScriptedEngine) -> None:
    running = {"revision": 2, "phase": "running", "step": 0, "steps": [5], "weight": 5.0}
    promoted = {**running, "phase": "promoted", "weight": 100.0}
    aborted = {**running, "phase": "aborted", "reason": "too slow"}
    engine.will("POST /control/v1/graphs/g/rollout/resume", {})
    engine.will("GET /control/v1/graphs/g/rollout", running, running, promoted)
    assert do(lambda c: c.rollout("g", "resume", wait=True)) == promoted
    engine.will("GET /control/v1/graphs/g/rollout", running, aborted)
    with pytest.raises(DeployError, match="rollout of g revision 2 was aborted: too slow"):
        do(lambda c: c.rollout("g", wait=True))
    engine.will("GET /control/v1/graphs/g/rollout", running)
    with pytest.raises(EngineError, match="not over after 0 s"):
        do(lambda c: c.rollout("g", wait=True, timeout=0))


def test_lists_of_the_engine(do: Both, engine: ScriptedEngine) -> None:
    engine.will("GET /control/v1/graphs/g/revisions", {"revisions": [{"revision": 1}]})
    engine.will("GET /control/v1/graphs/g/logs", {"lines": [{"message": "m"}], "cursor": ""})
    engine.will("GET /control/v1/graphs/g", {"live": 1})
    engine.will("POST /control/v1/graphs/g/promote", {"live": 2})
    engine.will("POST /control/v1/graphs/g/abort", {"live": 1})
    engine.will("POST /control/v1/graphs/g/rollback", {"state": "live"})
    assert do(lambda c: c.history("g")) == [{"revision": 1}]
    assert do(lambda c: c.logs("g", 5, node="n", revision=2, machine="m")) == [{"message": "m"}]
    assert str(engine.seen[-1].url.query, "ascii") == "tail=5&node=n&revision=2&machine=m"
    assert do(lambda c: c.status("g")) == {"live": 1}
    assert do(lambda c: c.promote("g", 2)) == {"live": 2}
    assert do(lambda c: c.abort("g")) == {"live": 1}
    assert do(lambda c: c.rollback("g", 1)) == {"state": "live"}


def test_a_deletion_is_waited_for(do: Both, engine: ScriptedEngine) -> None:
    engine.will("DELETE /control/v1/graphs/g", {})
    engine.will("GET /control/v1/graphs/g", {"state": "deleting"}, (404, {"error": "gone"}))
    assert do(lambda c: c.delete("g")) is None
    assert engine.lines == ["DELETE /control/v1/graphs/g", *["GET /control/v1/graphs/g"] * 2]
    engine.will("GET /control/v1/graphs/g", {"state": "deleting"})
    with pytest.raises(EngineError, match="not deleted after 0 s"):
        do(lambda c: c.delete("g", timeout=0))


COMPONENT = "class Double:\n    def transform(self, x):\n        return x * 2\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "graph"
    root.mkdir()
    (root / "parts.py").write_text(COMPONENT)
    return root


def doubling(root: Path, component: str = "parts.py:Double") -> Graph:
    return (
        Graph("g", root=root)
        .input("x", "FP32", [-1, 2])
        .transformer("double", component=component, inputs={"x": "x"})
        .output("y", "double")
    )


def deployable(engine: ScriptedEngine, *states: str) -> None:
    sent = {"graph": "g", "revision": 3, "state": "pending", "new": True}
    engine.will("POST /control/v1/graphs/g/revisions", (202, sent))
    engine.will("GET /v2/models/g/ready", {})
    seen = [{"revision": 3, "state": state, "reason": "node 'n': no"} for state in states]
    engine.will("GET /control/v1/graphs/g/revisions/3", *seen)


def test_a_graph_is_deployed_with_its_files_and_waited_for(
    do: Both, engine: ScriptedEngine, folder: Path
) -> None:
    deployable(engine, "pending", "deploying", "live")
    found = do(lambda c: c.deploy(doubling(folder), author="me", message="why", canary=5))
    assert (found.graph, found.revision, found.state) == ("g", 3, "live")
    assert found.url == "http://engine/v2/models/g"
    sent = engine.seen[0]
    assert dict(sent.url.params) == {
        "author": "me", "message": "why", "intent": '{"kind": "canary", "percent": 5}',
    }  # fmt: skip
    files = unpack(sent.content, 2**20)
    assert files["parts.py"].decode() == COMPONENT
    spec = json.loads(files["anabranch.json"])["spec"]
    assert files[spec].decode() == doubling(folder).to_yaml()
    assert not (folder / spec).exists()


def test_a_file_is_deployed_with_its_folder(do: Both, engine: ScriptedEngine, folder: Path) -> None:
    deployable(engine, "live")
    doubling(folder).save(folder / "graph.yaml")
    assert do(lambda c: c.deploy(folder / "graph.yaml", wait=False)).state == "pending"
    assert engine.lines == ["POST /control/v1/graphs/g/revisions"]
    files = unpack(engine.seen[0].content, 2**20)
    assert sorted(files) == ["anabranch.json", "graph.yaml", "parts.py"]


def test_a_portable_bundle_is_deployed_after_its_models(
    do: Both, engine: ScriptedEngine, folder: Path, tmp_path: Path
) -> None:
    deployable(engine, "live")
    model = tmp_path / "m.skops"
    model.write_bytes(b"12345")
    spec = doubling(folder).predictor(
        "model", runtime="sklearn", model=model.as_uri(), inputs={"x": "x"}
    )
    spec.output("z", "model").save(folder / "graph.yaml")
    bundle = build(folder / "graph.yaml", tmp_path / "g.bundle", tmp_path / "home").bundle
    path = f"/control/v1/artefacts/{sha256(b'12345').hexdigest()}"
    engine.will(f"GET {path}", {"have": 2, "complete": False})
    engine.will(f"PUT {path}", {"have": 5, "complete": True})
    assert do(lambda c: c.deploy(tmp_path / "g.bundle", wait=False)).state == "pending"
    lines = [f"GET {path}", f"PUT {path}", "POST /control/v1/graphs/g/revisions"]
    assert engine.lines == lines
    assert (engine.seen[1].content, dict(engine.seen[1].url.params)) == (
        b"345", {"size": "5", "offset": "2"},
    )  # fmt: skip
    assert unpack(engine.seen[2].content, 2**20) == bundle.files
    engine.will(f"PUT {path}", {"have": 2, "complete": False})
    with pytest.raises(Conflict, match=r"2 of 5 bytes of 'm\.skops' and takes no more"):
        do(lambda c: c.deploy(str(tmp_path / "g.bundle"), wait=False))


def test_a_graph_with_mistakes_is_not_sent(do: Both, engine: ScriptedEngine, folder: Path) -> None:
    with pytest.raises(SpecError, match="no class 'Triple'"):
        do(lambda c: c.deploy(doubling(folder, "parts.py:Triple")))
    assert engine.seen == []


def test_a_revision_that_fails_names_its_reason(
    do: Both, engine: ScriptedEngine, folder: Path
) -> None:
    deployable(engine, "failed")
    with pytest.raises(DeployError, match="g revision 3 failed: node 'n': no"):
        do(lambda c: c.deploy(doubling(folder)))


def test_arguments_that_exclude_each_other_are_refused(
    do: Both, engine: ScriptedEngine, folder: Path
) -> None:
    with pytest.raises(ValueError, match="only one of canary, mirror"):
        do(lambda c: c.deploy(doubling(folder), canary=5, mirror=5))
    assert engine.seen == []


def test_keys_are_made_and_revoked(do: Both, engine: ScriptedEngine) -> None:
    engine.will("POST /control/v1/keys", (201, {"name": "ci", "key": "ab_x"}))
    engine.will("POST /control/v1/keys/ci/rotate", (201, {"name": "ci", "key": "ab_y"}))
    engine.will("DELETE /control/v1/keys/ci", {"name": "ci", "state": "revoked"})
    engine.will("GET /control/v1/keys", {"keys": [{"name": "ci"}]})
    made = do(lambda client: client.create_key("ci", ["invoker"], ["team-a-*"], 60.0))
    assert made["key"] == "ab_x"
    assert do(lambda client: client.rotate_key("ci", 0.0))["key"] == "ab_y"
    assert do(lambda client: client.api_keys()) == [{"name": "ci"}]
    assert do(lambda client: client.revoke_key("ci"))["state"] == "revoked"
    asked = {"name": "ci", "roles": ["invoker"], "graphs": ["team-a-*"], "seconds": 60.0}
    assert engine.bodies == [asked, {"overlap": 0.0}]
