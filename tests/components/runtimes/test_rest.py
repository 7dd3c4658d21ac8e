"""The runtime ``rest`` against real services, by itself and in graphs."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from anabranch.components import registry
from anabranch.components.binding import bind
from anabranch.components.contract import Context
from anabranch.components.runtimes.open_inference import server
from anabranch.components.runtimes.open_inference.server import RemoteError
from anabranch.components.runtimes.open_inference.wire import BadAnswer
from anabranch.errors import (
    DeadlineExceeded,
    InvalidRequest,
    NodeError,
    SpecError,
    StatusError,
    Unavailable,
)
from tests.certificates import Authority
from tests.json_services import graph_of_spec, json_services

DOCUMENT = '{"instances": [[1.0, 2]]}'


@pytest.fixture
def services():
    with json_services() as found:
        yield found


def graph_of(url, outputs=("output",), **fields):
    args = {"url": url, **fields.pop("args", {})}
    node = {"type": "predictor", "runtime": "rest", "args": args, "inputs": {"body": "document"}}
    return graph_of_spec(
        {
            "inputs": {"document": {"datatype": "BYTES", "shape": [1]}},
            "nodes": {"model": {**node, **fields}},
            "outputs": {name: f"model.{name}" for name in outputs},
        }
    )


def ask(graph, document=DOCUMENT, **context):
    with closing(graph):
        return graph.run({"document": [document]}, None, Context(**context))


def test_the_document_is_sent_as_it_is_and_so_is_the_answer(services):
    answer = b'{ "predictions": [1.50] }'
    url = services.add("/v1/models/m:predict?a=b", (200, answer))
    found = ask(graph_of(url))
    assert found["output"].tolist() == [answer.decode()]
    (call,) = services.calls
    assert call.body.decode() == DOCUMENT
    assert call.headers["content-type"] == "application/json"


def test_only_the_named_headers_are_handed_on(services):
    url = services.add("/", (200, {}))
    graph = graph_of(url, args={"headers": ["X-User", "content-type"]})
    given = {"x-user": "ann", "authorization": "secret", "content-type": "application/cloudevents"}
    ask(graph, headers=given, id="42")
    (call,) = services.calls
    assert call.headers["x-user"] == "ann"
    assert call.headers["content-type"] == "application/cloudevents"
    assert call.headers["x-request-id"] == "42"
    assert "authorization" not in call.headers


def test_cookies_of_one_caller_are_not_sent_for_the_next(services):
    graph = graph_of(services.add("/", (200, {})))
    with closing(graph):
        for _ in range(2):
            graph.run({"document": ["{}"]}, None, Context())
    assert len(services.calls) == 2
    assert all("cookie" not in call.headers for call in services.calls)


@pytest.mark.parametrize("status", [200, 201, 299])
def test_successes(services, status):
    assert ask(graph_of(services.add("/", (status, [1]))))["output"].tolist() == ["[1]"]


@pytest.mark.parametrize(
    ("status", "error", "shown"),
    [
        (302, StatusError, 502),
        (400, StatusError, 400),
        (404, StatusError, 404),
        (422, StatusError, 422),
        (429, StatusError, 429),
        (500, StatusError, 500),
        (503, Unavailable, None),
        (504, DeadlineExceeded, None),
    ],
)
def test_any_other_answer_fails_the_node_with_its_status(services, status, error, shown):
    with pytest.raises(error, match=f"'model' failed: its server answered {status}") as raised:
        ask(graph_of(services.add("/", (status, {"error": "no such\nmodel"}))))
    assert "no such" in str(raised.value)
    assert getattr(raised.value, "status", None) == shown


@pytest.mark.parametrize("status", [200, 302, 404, 500, 503, 504])
def test_any_answer_may_be_accepted(services, status):
    url = services.add("/", (status, {"error": "no"}))
    found = ask(graph_of(url, ("output", "status"), args={"accept": "any"}))
    assert json.loads(found["output"][0]) == {"error": "no"}
    assert found["status"].dtype == np.int32
    assert found["status"].tolist() == [status]


def test_retries_and_stand_ins_are_those_of_any_node(services):
    answers = iter([(500, {}), (503, {}), (200, {"ok": True})])
    url = services.add("/", lambda body: next(answers))
    found = ask(graph_of(url, idempotent=True, retries=2))
    assert json.loads(found["output"][0]) == {"ok": True}
    gone = services.add("/gone", (404, {}))
    found = ask(graph_of(gone, on_error={"value": ["{}"]}))
    assert found["output"].tolist() == ["{}"]
    assert len(services.calls) == 4


def test_retries_need_an_idempotent_node(services):
    with pytest.raises(SpecError, match="idempotent"):
        graph_of(services.url, retries=1)


def test_a_server_that_is_away():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unavailable, match="the server of node 'model' cannot be reached"):
        ask(graph_of(f"http://127.0.0.1:{port}/"))


def test_the_time_of_the_node_is_a_bound(services):
    waiting = threading.Event()
    url = services.add("/", lambda body: (waiting.wait(30), (200, {}))[1])
    try:
        with pytest.raises(DeadlineExceeded, match="within its timeout of 50ms"):
            ask(graph_of(url, timeout="50ms"))
    finally:
        waiting.set()


def test_the_deadline_of_the_request_is_a_bound(services, node, tmp_path):
    waiting = threading.Event()
    url = services.add("/", lambda body: (waiting.wait(30), (200, {}))[1])
    bound = bind("far", node(type="predictor", runtime="rest", args={"url": url}), tmp_path)

    async def call():
        try:
            context = Context(deadline=time.monotonic() + 0.05)
            return await bound.call(context=context, x=np.array(["{}"], object))
        finally:
            await bound.unload()

    try:
        with pytest.raises(DeadlineExceeded, match="the server of node 'far' gave no answer"):
            asyncio.run(call())
    finally:
        waiting.set()


def test_a_large_answer_is_refused(services, monkeypatch):
    monkeypatch.setattr(server, "MAX_ANSWER", 100)
    with pytest.raises(NodeError, match=f"{BadAnswer.__name__}: its answer is over 100 bytes"):
        ask(graph_of(services.add("/", (200, b"x" * 101))))


def test_an_answer_that_is_no_text_stays_bytes(services):
    found = ask(graph_of(services.add("/", (200, b"\xff\x00"))))
    assert found["output"].tolist() == [b"\xff\x00"]


@pytest.mark.parametrize("document", [[], ["{}", "{}"]])
def test_several_documents_are_refused_before_any_is_sent(services, document):
    with closing(graph_of(services.url)) as graph, pytest.raises(InvalidRequest):
        graph.run({"document": document})
    assert services.calls == []


def test_metadata_services_of_clouds_are_never_asked():
    with pytest.raises((NodeError, Unavailable), match=RemoteError.__name__ + "|cannot be reached"):
        ask(graph_of("http://169.254.169.254/latest", timeout="5s"))


@contextmanager
def https_service(folder: Path):
    """Serve one answer over TLS; yields its URL and the file of its authority."""
    authority = Authority(folder)
    files = authority.issue("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    with json_services(context) as services:
        url = services.add("/", (200, {"secure": True}))
        yield url.replace("127.0.0.1", "localhost"), authority.file


def test_a_certificate_must_be_trusted(tmp_path):
    with https_service(tmp_path) as (url, authority):
        with pytest.raises(Unavailable, match="cannot be reached: ConnectError"):
            ask(graph_of(url))
        found = ask(graph_of(url, env={"SSL_CERT_FILE": str(authority)}))
        assert json.loads(found["output"][0]) == {"secure": True}


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"args": {"url": "ftp://a/"}}, ("args", "url"), "http(s)://host[:port][/path][?query]"),
        ({"args": {"url": "http://u:p@a/"}}, ("args", "url"), "not of the form"),
        ({"args": {"url": "http://a/b c"}}, ("args", "url"), "not of the form"),
        ({"args": {"url": "http://a:0/"}}, ("args", "url"), "not of the form"),
        ({"args": {"url": "http://a/#b"}}, ("args", "url"), "not of the form"),
        ({"inputs": {"a": "a", "b": "b"}}, ("inputs",), "takes one input"),
        ({"model": "m.onnx"}, ("model",), "args: {url: …}"),
        ({"method": "m"}, ("method",), "no methods"),
        ({"batching": {"max_size": 4}}, ("batching",), "one by one"),
        ({"args": {"url": "http://a", "headers": ["Host"]}}, ("args", "headers", 0), "connection"),
        ({"args": {"url": "http://a", "headers": ["a b"]}}, ("args", "headers", 0), "no name"),
        ({"args": {"url": "http://a", "accept": "all"}}, ("args", "accept"), "success, any"),
    ],
)
def test_mistakes(node, fields, path, message):
    made = node(type="predictor", runtime="rest", **{"args": {"url": "http://a"}, **fields})
    ((found, said),) = registry.problems(made)
    assert found == path
    assert message in said


def test_the_input_must_be_a_document():
    spec = {
        "inputs": {"x": {"datatype": "FP32", "shape": [1]}},
        "nodes": {
            "model": {
                "type": "predictor",
                "runtime": "rest",
                "args": {"url": "http://a"},
                "inputs": {"x": "x"},
            }
        },
        "outputs": {"y": "model"},
    }
    with pytest.raises(SpecError, match="'x' must be one document"):
        graph_of_spec(spec)
