"""The graph's application over real HTTP, row by row of the error table."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from anabranch.components.contract import Context
from anabranch.errors import NodeError, Unavailable
from anabranch.names import MODEL_WORDS
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.limits import RequestLimits
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.feedback import Feedback
from tests.access.oidc import claims, signer
from tests.access.test_jwt import HERE, keys_of
from tests.access.test_renewal import Controller, guarded
from tests.router.conftest import BODY, Demo, StepHead, double, forever, make_arms, make_table
from tests.router.traffic.test_feedback import Source

Body = dict[str, Any]
Graph = Callable[..., str]
Serve = Callable[[Any], str]


def post(url: str, body: Any, path: str = "/infer", **more: Any) -> httpx.Response:
    return httpx.post(url + path, json=body, **more)


def error(response: httpx.Response, status: int) -> str:
    """Check all that holds for every error; returns its message."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    assert len(response.content) <= 2048
    (told,) = response.json().items()
    assert told[0] == "error"
    assert "Traceback" not in told[1]
    return str(told[1])


def talk(url: str, data: bytes, close: bool = False) -> bytes:
    """Send raw bytes and read until the server closes, or hang up at once."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), timeout=30) as connection:
        connection.sendall(data)
        if close:
            return b""
        return b"".join(iter(lambda: connection.recv(65536), b""))


def head(*lines: str) -> bytes:
    first = "POST /v2/models/demo/infer HTTP/1.1"
    return "\r\n".join([first, "Host: a", "Connection: close", *lines, "", ""]).encode()


def test_the_words_below_a_graph_are_known_as_such() -> None:
    arms = make_arms()
    app = GraphApp(arms, Feedback(arms, Source()))
    words = {path.split("/")[1] for path in app._routes if path}
    assert words | {"versions", "requests"} == MODEL_WORDS


@pytest.mark.parametrize("path", ["", "/ready", "/versions/3", "/infer"])
def test_a_graph_of_a_namespace_answers_at_its_path_alone(
    serve: Serve, body: Body, path: str
) -> None:
    arms = Arms("team/demo", lambda revision: StepHead(double), RequestLimits())
    arms.apply(replace(make_table(), graph="team/demo"))
    url = serve(GraphApp(arms))
    method = "POST" if path == "/infer" else "GET"
    for name, status in (
        ("team/demo", 200), ("team%2Fdemo", 200), ("team", 404), ("demo", 404), ("team/dem", 404),
    ):  # fmt: skip
        found = httpx.request(method, f"{url}/v2/models/{name}{path}", json=body)
        assert found.status_code == status, name


def test_inference(graph: Graph, body: Body) -> None:
    response = post(graph(), body | {"id": "42", "outputs": [{"name": "doubled"}]})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "model_name": "demo",
        "model_version": "3",
        "id": "42",
        "outputs": [
            {"name": "doubled", "datatype": "FP32", "shape": [2, 2], "data": [2.0, 4.0, 6.0, 8.0]}
        ],
    }


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_is_set_while_a_request_is_under_way_changes_nothing(
    graph: Graph, body: Body, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    real, ahead = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + ahead[0])

    async def step(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
        ahead[0] += 3600.0 * hours
        remaining = context.remaining()
        assert remaining is not None and 0 < remaining <= 30
        return await double(inputs, context)

    url = graph(step)
    body["parameters"] = {"timeout": 30_000_000}
    for _ in range(3):
        reply = post(url, body)
        assert reply.status_code == 200, reply.text


def test_all_outputs_and_no_id_unless_asked(graph: Graph, body: Body) -> None:
    answer = post(graph(), body).json()
    assert "id" not in answer
    assert [output["name"] for output in answer["outputs"]] == ["doubled", "rows"]


def test_the_live_revision_is_addressed_directly(graph: Graph, body: Body) -> None:
    url = graph()
    assert post(url, body, "/versions/3/infer").json()["model_version"] == "3"
    assert httpx.get(f"{url}/versions/3/ready").json() == {"name": "demo", "ready": True}
    assert httpx.get(f"{url}/versions/3").json() == httpx.get(url).json()


def test_metadata_and_ready(graph: Graph) -> None:
    url = graph()
    assert httpx.get(url).json() == httpx.get(f"{url}/").json()
    assert httpx.get(url).json() == {
        "name": "demo",
        "versions": ["3"],
        "platform": "anabranch",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "doubled", "datatype": "FP32", "shape": [-1, 2]}],
    }
    assert httpx.get(f"{url}/ready").json() == {"name": "demo", "ready": True}


def test_a_revision_is_ready_while_all_its_outputs_can_be_computed() -> None:
    demo = Demo({3: double, 4: double})
    demo.apply({3: 50.0, 4: 50.0})
    why = "output 'y' cannot be computed while segment 'far' has no healthy replica"

    async def main() -> None:
        demo.heads[3].why_not = why
        for path in ("/ready", "/versions/3/ready"):
            told = {"error": f"graph 'demo' is not ready: {why}"}
            assert await demo.ask(path) == (503, told)
        assert await demo.ask("/versions/4/ready") == (200, {"name": "demo", "ready": True})
        assert (await demo.ask("/versions/3/infer"))[0] == 200

    asyncio.run(main())


def test_head_is_get_without_a_body(graph: Graph) -> None:
    url = graph()
    response = httpx.head(f"{url}/ready")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == str(len(httpx.get(f"{url}/ready").content))


def test_any_content_type_is_read_as_json(graph: Graph, body: Body) -> None:
    data = json.dumps(body)
    for kind in ({}, {"content-type": "text/plain"}, {"content-type": "application/octet-stream"}):
        assert httpx.post(f"{graph()}/infer", content=data, headers=kind).status_code == 200


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[]", b'{"inputs": 1}', b"[" * 100_000])
def test_malformed_json(graph: Graph, data: bytes) -> None:
    error(httpx.post(f"{graph()}/infer", content=data), 400)


X = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "missing input 'x': graph 'demo' takes x FP32[-1, 2]"),
        ([X, X | {"name": "y"}], "unknown input 'y': graph 'demo' takes x FP32[-1, 2]"),
        ([X | {"datatype": "FP64"}], "input 'x' must be FP32[-1, 2], got FP64[1, 2]"),
        ([X | {"shape": [2, 1]}], "input 'x' must be FP32[-1, 2], got FP32[2, 1]"),
        ([X | {"data": [1.0]}], "input 'x' of shape [1, 2] needs 2 elements, its data holds 1"),
    ],
)
def test_tensors_that_the_graph_does_not_take(
    graph: Graph, inputs: list[Body], message: str
) -> None:
    assert error(post(graph(), {"inputs": inputs}), 400) == message


LENGTH = "inference-header-content-length"


def test_binary_tensors_both_ways(graph: Graph) -> None:
    tensor = {key: value for key, value in X.items() if key != "data"}
    tensor["parameters"] = {"binary_data_size": 8}
    outputs = [{"name": "rows"}, {"name": "doubled", "parameters": {"binary_data": True}}]
    start = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
    sent = start + np.array([[1, 2]], "<f4").tobytes()
    response = httpx.post(f"{graph()}/infer", content=sent, headers={LENGTH: str(len(start))})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/octet-stream"
    length = int(response.headers[LENGTH])
    assert json.loads(response.content[:length])["outputs"] == [
        {"name": "rows", "datatype": "INT64", "shape": [], "data": [1]},
        {
            "name": "doubled",
            "datatype": "FP32",
            "shape": [1, 2],
            "parameters": {"binary_data_size": 8},
        },
    ]
    assert np.frombuffer(response.content[length:], "<f4").tolist() == [2, 4]


def test_a_body_that_is_the_only_input(graph: Graph) -> None:
    url = f"{graph()}/versions/3/infer"
    sent = np.arange(6, dtype="<f4").tobytes()
    response = httpx.post(url, content=sent, headers={LENGTH: "0"})
    assert response.status_code == 200, response.text
    length = int(response.headers[LENGTH])
    names = [output["name"] for output in json.loads(response.content[:length])["outputs"]]
    assert names == ["doubled", "rows"]
    found = response.content[length:]
    assert found == (2 * np.arange(6, dtype="<f4")).tobytes() + (3).to_bytes(8, "little")


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "", "9" * 30, "1.0", "0x10"])
def test_a_length_of_the_json_that_is_none(graph: Graph, body: Body, length: str) -> None:
    told = error(post(graph(), body, headers={LENGTH: length}), 400)
    assert told.startswith("Inference-Header-Content-Length '")


def test_unknown_paths_name_the_alternatives(graph: Graph, body: Body) -> None:
    url = graph()
    assert "did you mean '/infer'" in error(post(url, body, "/infr"), 404)
    assert "(there are: 3)" in error(post(url, body, "/versions/2/infer"), 404)
    assert "(there are: 3)" in error(httpx.get(f"{url}/versions/2"), 404)
    error(httpx.get(f"{url}/versions/3/nothing"), 404)
    error(httpx.get(f"{url}/{'a' * 5000}"), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/infer", "POST"), ("POST", "/ready", "GET, HEAD"), ("DELETE", "", "GET, HEAD")],
)
def test_wrong_methods_are_told_the_right_ones(
    graph: Graph, method: str, path: str, allowed: str
) -> None:
    response = httpx.request(method, graph() + path)
    assert allowed in error(response, 405)
    assert response.headers["allow"] == allowed


def failing(problem: Exception) -> Any:
    async def fail(inputs: Any, context: Context) -> dict[str, Any]:
        raise problem

    return fail


def test_a_component_that_raises_is_named(graph: Graph, body: Body) -> None:
    told = error(post(graph(failing(NodeError("forest", "ValueError: no trees"))), body), 500)
    assert told == "node 'forest' failed: ValueError: no trees"


def test_a_long_reason_is_cut(graph: Graph, body: Body) -> None:
    error(post(graph(failing(NodeError("n", "é" * 10_000))), body), 500)


def test_a_fault_of_ours_is_logged_and_not_told(
    graph: Graph, body: Body, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "anabranch.router"):
        response = post(graph(failing(KeyError("/srv/secret"))), body)
    told = error(response, 500)
    assert told == f"internal error; request id {response.headers['x-request-id']}"
    assert response.headers["x-request-id"] in caplog.text
    assert "/srv/secret" in caplog.text


def test_an_output_that_json_cannot_carry(graph: Graph, body: Body) -> None:
    async def raw(inputs: Any, context: Context) -> dict[str, Any]:
        return {"doubled": np.array([b"\xff"], dtype=object), "rows": inputs["x"]}

    assert "output 'doubled': element 0" in error(post(graph(raw), body), 500)


@pytest.mark.parametrize("path", ["infer", "generate"])
def test_an_answer_over_the_limit_is_an_error_and_ends_nothing(graph: Graph, path: str) -> None:
    url = graph(limits=RequestLimits(max_output=32))
    asked: dict[str, Any] = {"x": [[1.0, 2.0]] * 2}
    large: dict[str, Any] = {"x": [[1.0, 2.0]] * 8}
    if path == "infer":
        asked = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 2], "data": asked["x"]}]}
        large = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [8, 2], "data": large["x"]}]}
    told = error(httpx.post(f"{url}/{path}", json=large), 500)
    assert told == (
        "output 'doubled' has 64 bytes, all outputs together 72, over the limit of 32 bytes of an "
        "answer"
    )
    assert httpx.post(f"{url}/{path}", json=asked).status_code == 200


def test_parameters_over_the_limit(graph: Graph, body: Body) -> None:
    url = graph(limits=RequestLimits(max_parameters=2))
    told = error(post(url, {**body, "parameters": {"a": 1, "b": 2, "c": 3}}), 413)
    assert told == "3 parameters are over the limit of 2"


def test_unavailable_says_when_to_come_back(graph: Graph, body: Body) -> None:
    response = post(graph(failing(Unavailable("no healthy replica", 7))), body)
    assert error(response, 503) == "no healthy replica"
    assert response.headers["retry-after"] == "7"


def test_requests_beyond_the_limit_are_turned_away(graph: Graph, body: Body) -> None:
    entered, leave = threading.Event(), threading.Event()

    async def hold(inputs: Any, context: Context) -> dict[str, Any]:
        entered.set()
        await asyncio.to_thread(leave.wait)
        return {"doubled": inputs["x"], "rows": inputs["x"]}

    url = graph(hold, RequestLimits(max_ongoing=1))
    answers: list[httpx.Response] = []
    first = threading.Thread(target=lambda: answers.append(post(url, body, timeout=60)))
    first.start()
    assert entered.wait(60)
    response = post(url, body)
    leave.set()
    first.join()
    assert "1 requests are in progress" in error(response, 503)
    assert int(response.headers["retry-after"]) >= 1
    assert answers[0].status_code == 200
    assert post(url, body).status_code == 200


def test_the_deadline(graph: Graph, body: Body) -> None:
    assert "within 0.05s" in error(post(graph(forever, timeout=0.05), body), 504)
    url = graph(forever)
    assert "within 0.01s" in error(post(url, body | {"parameters": {"timeout": 10_000}}), 504)


def test_a_body_over_the_limit_by_its_length(graph: Graph) -> None:
    url = graph(limits=RequestLimits(max_body=1000))
    told = error(httpx.post(f"{url}/infer", content=b"x" * 1001), 413)
    assert told == "the body is over the limit of 1000 bytes"
    assert b" 413 " in talk(url, head("Content-Length: 99999999999"))
    assert b" 413 " in talk(url, head(f"Content-Length: {2**64 - 1}"))


def test_a_body_over_the_limit_in_chunks(graph: Graph) -> None:
    url = graph(limits=RequestLimits(max_body=1000))
    told = error(httpx.post(f"{url}/infer", content=iter([b"x" * 600] * 3)), 413)
    assert told == "the body is over the limit of 1000 bytes"


def test_a_body_in_chunks_within_the_limit(graph: Graph, body: Body) -> None:
    data = json.dumps(body).encode()
    response = httpx.post(f"{graph()}/infer", content=iter([data[:10], data[10:20], data[20:]]))
    assert response.status_code == 200


def test_headers_over_the_limit(graph: Graph, body: Body) -> None:
    response = post(
        graph(limits=RequestLimits(max_headers=500)), body, headers={"x-long": "a" * 500}
    )
    assert "over the limit of 500 bytes" in error(response, 431)


def test_other_encodings_are_refused_clearly(graph: Graph, body: Body) -> None:
    told = error(post(graph(), body, headers={"content-encoding": "br"}), 415)
    assert "Content-Encoding 'br' is not supported; use one of gzip, deflate" in told
    assert post(graph(), body, headers={"content-encoding": "identity"}).status_code == 200


def test_a_client_that_does_not_send_its_body_is_not_waited_for(graph: Graph) -> None:
    url = graph(limits=RequestLimits(body_timeout=0.05))
    answer = talk(url, head("Content-Length: 10").replace(b"Connection: close\r\n", b"") + b"{")
    assert b" 408 " in answer.splitlines()[0]
    assert b"the body did not arrive within 0.05s" in answer


def test_work_stops_when_the_client_hangs_up(graph: Graph, body: Body) -> None:
    started, stopped = threading.Event(), threading.Event()

    async def watch(inputs: Any, context: Context) -> dict[str, Any]:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return {}

    url = graph(watch, RequestLimits(max_ongoing=1))
    data = json.dumps(body).encode()
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port)) as connection:
        connection.sendall(head(f"Content-Length: {len(data)}") + data)
        assert started.wait(60)
    assert stopped.wait(60)
    # Its place is free again.
    assert "within 0.001s" in error(post(url, body | {"parameters": {"timeout": 1000}}), 504)


def test_hanging_up_in_the_middle_of_a_body_does_no_harm(
    graph: Graph, body: Body, caplog: pytest.LogCaptureFixture
) -> None:
    url = graph()
    talk(url, head("Content-Length: 10") + b"{", close=True)
    assert post(url, body).status_code == 200
    assert caplog.text == ""


def test_a_sane_request_id_is_kept(graph: Graph, body: Body) -> None:
    response = post(graph(), body, headers={"x-request-id": "trace-1:a/b"})
    assert response.headers["x-request-id"] == "trace-1:a/b"


@pytest.mark.parametrize("given", ["has space", "a" * 129, "<script>", ""])
def test_any_other_request_id_is_replaced(graph: Graph, body: Body, given: str) -> None:
    kept = post(graph(), body, headers={"x-request-id": given}).headers["x-request-id"]
    assert len(kept) == 32
    assert kept != given


def test_components_see_headers_and_id(graph: Graph, body: Body) -> None:
    seen: list[Context] = []

    async def keep(inputs: Any, context: Context) -> dict[str, Any]:
        seen.append(context)
        return {"doubled": inputs["x"], "rows": inputs["x"]}

    post(graph(keep), body, headers={"X-Tier": "gold", "x-request-id": "r1"})
    assert seen[0].headers["x-tier"] == "gold"
    assert seen[0].id == "r1"
    remaining = seen[0].remaining()
    assert remaining is not None
    assert remaining <= 60


def test_a_jwt_of_a_key_that_is_not_known_waits_for_it(serve: Callable[[Any], str]) -> None:
    arms = make_arms()
    arms.guard = guarded(Controller(*keys_of(signer())))
    url = f"{serve(GraphApp(arms))}/v2/models/demo"

    def asked(token: str) -> httpx.Response:
        return post(url, BODY, headers={"authorization": f"Bearer {token}"})

    response = asked(signer().token(claims(HERE)))
    assert response.json()["outputs"][0]["data"] == [2.0, 4.0, 6.0, 8.0]
    refused = asked(signer("other", 1).token(claims(HERE)))
    assert error(refused, 401) == f"issuer {HERE!r} has no key 'other' (kid) now"
    assert refused.headers["www-authenticate"] == "Bearer"
