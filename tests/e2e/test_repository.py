"""Graphs are unloaded and loaded by the repository extension, and documented by their own pages."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Given, error, node, spec, value
from tests.engines import HTTP, Engine, actor_processes
from tests.waiting import until, until_true

pytestmark = pytest.mark.e2e

CODE = """
class Double:
    def transform(self, x):
        return x * 2
"""


def repository(engine: Engine, path: str, **headers: str) -> httpx.Response:
    url = f"{engine.url}/v2/repository/{path}"
    return httpx.post(url, headers=headers, timeout=120)


def entry(engine: Engine, name: str) -> Any:
    index = repository(engine, "index").json()
    return next(one for one in index if one["name"] == name)


def test_a_graph_is_unloaded_and_comes_back_as_it_was(engine: Engine, given: Given) -> None:
    name = given.deployed(spec("stored", double=node("Double")), CODE)
    token = {"authorization": f"Bearer {engine.token}"}
    error(repository(engine, f"models/{name}/unload"), 401)
    assert value(engine.infer(name)) == [2, 4]

    assert repository(engine, f"models/{name}/unload", **token).status_code == 200
    # Its routers answer what they have begun, and the edge hears of it a moment later.
    until_true(lambda: no_longer_answers(engine, name))
    found = entry(engine, name)
    assert found == {
        "name": name, "version": "1", "state": "UNAVAILABLE", "reason": "it is unloaded",
    }  # fmt: skip
    assert HTTP.get(f"{engine.url}/v2/health/ready").status_code == 200
    assert engine.graph(name)["state"] == "unloaded"

    assert repository(engine, f"models/{name}/load", **token).status_code == 200
    assert value(engine.infer(name)) == [2, 4]
    assert entry(engine, name)["state"] == "READY"
    # The one of before may still be ending.
    until(lambda: len(actor_processes(engine, f"ServeReplica:{name}:router")) == 1)


def no_longer_answers(engine: Engine, name: str) -> None:
    for _ in range(5):
        assert "it is unloaded" in error(engine.infer(name), 503)


def test_the_document_of_a_graph_and_its_example(engine: Engine, given: Given) -> None:
    name = given.deployed(spec("documented", double=node("Double")), CODE)
    url = engine.graph_url(name)
    page = HTTP.get(f"{url}/docs")
    assert "swagger-ui-bundle.js" in page.text
    assert HTTP.get(f"{url}/docs/swagger-ui-bundle.js").status_code == 200
    found = HTTP.get(f"{url}/openapi.json").json()
    content = found["paths"][f"/v2/models/{name}/infer"]["post"]["requestBody"]["content"]
    assert value(engine.infer(name, content["application/json"]["example"])) == [0, 0]
