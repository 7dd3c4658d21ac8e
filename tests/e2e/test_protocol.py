"""The Open Inference Protocol and its errors over real HTTP, through edge and router."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Given, error, node, spec, value
from tests.engines import BODY, HTTP, Engine, actor_processes

pytestmark = pytest.mark.e2e

CODE = """
import asyncio

import numpy as np


LEAVING = {
    one.__name__: one
    for one in (KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit)
}


class Double:
    def transform(self, x):
        return x * 2


class Moody:
    async def transform(self, x, context):
        mood = context.parameters.get("mood")
        if mood == "raise":
            raise RuntimeError("not today")
        if mood == "shape":
            return np.zeros((1, 3), np.float32)
        if mood in LEAVING:
            raise LEAVING[mood]
        if mood == "hang":
            await asyncio.sleep(3600)
        return x
"""


@pytest.fixture(scope="module")
def graph(given_once: Given) -> str:
    two = {"output": {"datatype": "FP32", "shape": [-1, 2]}}
    graph = spec("protocol", double=node("Double"), moody=node("Moody", "double", outputs=two))
    graph["spec"]["outputs"]["doubled"] = "double"
    return given_once.deployed(graph, CODE)


def ask(engine: Engine, **changes: Any) -> httpx.Response:
    """Send the good request with some fields of its tensor changed."""
    return engine.infer("protocol", {"inputs": [{**BODY["inputs"][0], **changes}]})


def mood(engine: Engine, name: str, **parameters: Any) -> httpx.Response:
    return engine.infer("protocol", {**BODY, "parameters": {"mood": name, **parameters}})


def test_server_endpoints(engine: Engine, graph: str) -> None:
    for path in ("live", "ready"):
        assert HTTP.get(f"{engine.url}/v2/health/{path}").json()[path] is True
    assert HTTP.get(f"{engine.url}/v2").json()["name"] == "anabranch"
    index = HTTP.post(f"{engine.url}/v2/repository/index").json()
    assert {"name": graph, "version": "1", "state": "READY", "reason": ""} in index


def test_model_endpoints(engine: Engine, graph: str) -> None:
    url = engine.graph_url(graph)
    for path in ("", "/versions/1"):
        found = HTTP.get(f"{url}{path}").json()
        assert (found["name"], found["versions"]) == (graph, ["1"])
        assert found["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
        assert {"name": "y", "datatype": "FP32", "shape": [-1, 2]} in found["outputs"]
        assert HTTP.get(f"{url}{path}/ready").status_code == 200
        assert value(HTTP.post(f"{url}{path}/infer", json=BODY)) == [2, 4]
    assert "1" in error(HTTP.get(f"{url}/versions/7"), 404)


def test_id_parameters_and_requested_outputs(engine: Engine, graph: str) -> None:
    reply = engine.infer(graph, {**BODY, "id": "call-7", "outputs": [{"name": "doubled"}]})
    found = reply.json()
    assert found["id"] == "call-7"
    assert (found["model_name"], found["model_version"]) == (graph, "1")
    assert [item["name"] for item in found["outputs"]] == ["doubled"]
    sent = {"x-request-id": "from-the-client"}
    assert engine.infer(graph, headers=sent).headers["x-request-id"] == "from-the-client"


def test_malformed_json(engine: Engine, graph: str) -> None:
    reply = HTTP.post(f"{engine.graph_url(graph)}/infer", content=b'{"inputs": [')
    error(reply, 400)


def test_missing_and_extra_tensors(engine: Engine, graph: str) -> None:
    assert "'x'" in error(engine.infer(graph, {"inputs": []}), 400)
    extra = {**BODY["inputs"][0], "name": "z"}
    assert "'z'" in error(engine.infer(graph, {"inputs": [*BODY["inputs"], extra]}), 400)


def test_wrong_datatype_and_shape(engine: Engine, graph: str) -> None:
    text = error(ask(engine, datatype="INT64", data=[1, 2]), 400)
    assert "INT64" in text
    assert "FP32" in text
    text = error(ask(engine, shape=[1, 3], data=[1, 2, 3]), 400)
    assert "[1, 3]" in text
    assert "[-1, 2]" in text


def test_data_that_does_not_fill_the_shape(engine: Engine, graph: str) -> None:
    text = error(ask(engine, shape=[2, 2]), 400)
    assert "4" in text
    assert "2" in text


def test_an_unknown_graph_and_an_unknown_path(engine: Engine, graph: str) -> None:
    text = error(engine.infer("protocl"), 404)
    assert "did you mean 'protocol'" in text
    error(HTTP.get(f"{engine.graph_url(graph)}/nowhere"), 404)
    error(HTTP.get(f"{engine.url}/nowhere"), 404)
    assert HTTP.get(f"{engine.graph_url(graph)}/infer").status_code == 405


def test_a_component_that_raises(engine: Engine, graph: str) -> None:
    assert "node 'moody' failed: RuntimeError: not today" in error(mood(engine, "raise"), 500)


@pytest.mark.parametrize(
    "raised", ["KeyboardInterrupt", "SystemExit", "CancelledError", "GeneratorExit"]
)
def test_a_component_that_raises_what_ends_others(engine: Engine, graph: str, raised: str) -> None:
    """It fails its request, in time, and the next one is answered by the same process."""
    (before,) = actor_processes(engine, f"ServeReplica:{graph}:")
    assert f"node 'moody' failed: {raised}" in error(mood(engine, raised), 500)
    assert value(engine.infer(graph)) == [2, 4]
    assert before.is_running()


def test_a_component_that_returns_the_wrong_shape(engine: Engine, graph: str) -> None:
    text = error(mood(engine, "shape"), 500)
    assert "node 'moody' failed: output 'output': shape [1, 3], expected [-1, 2]" in text


def test_a_body_over_the_limit(engine: Engine, graph: str) -> None:
    url = f"{engine.graph_url(graph)}/infer"
    assert "64" in error(HTTP.post(url, content=b" " * (64 * 2**20 + 1)), 413)


def test_a_streamed_body_over_the_limit(engine: Engine, graph: str) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(66):
            yield b" " * 2**20

    url = f"{engine.graph_url(graph)}/infer"
    try:
        reply = HTTP.post(url, content=pieces())
    except httpx.NetworkError:
        return  # the server has answered and closed before all was sent
    error(reply, 413)


def test_a_deadline(engine: Engine, graph: str) -> None:
    error(mood(engine, "hang", timeout=100_000), 504)


def test_every_answer_is_json_even_for_paths_that_no_graph_owns(engine: Engine) -> None:
    for path in ("/", "/v2/models", "/v2/models/", "/-/nothing", "/v3"):
        reply = HTTP.get(f"{engine.url}{path}")
        assert json.loads(reply.text)["error"], path


def test_the_control_api_needs_the_token(engine: Engine) -> None:
    url = f"{engine.url}/control/v1/graphs"
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": engine.token}):
        assert HTTP.get(url, headers=headers).status_code == 401
    good = {"authorization": f"Bearer {engine.token}"}
    assert HTTP.get(url, headers=good).status_code == 200
    assert (engine.home / "token").stat().st_mode & 0o077 == 0
