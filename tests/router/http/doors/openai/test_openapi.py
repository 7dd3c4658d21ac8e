"""The description of OpenAI's endpoints: it is valid, and its examples are answered."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from openapi_spec_validator import validate

from anabranch.router.http.graph_app import GraphApp
from tests.router.conftest import Step
from tests.router.http.doors.openai.graphs import (
    COUNTED,
    MESSAGES,
    PROMPT,
    TEXT,
    VECTORS,
    Types,
    complete,
    echo,
    embed,
    language_arms,
)
from tests.router.http.doors.openai.test_fields import ask

GRAPHS: dict[str, tuple[Step, Types, Types]] = {
    "chat/completions": (echo, MESSAGES, COUNTED),
    "completions": (complete, PROMPT, TEXT),
    "embeddings": (embed, {"input": ("BYTES", (-1,))}, VECTORS),
}


async def described(app: GraphApp) -> Any:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    path = "/v2/models/demo/openapi.json"
    scope = {"type": "http", "method": "GET", "path": path, "headers": [(b"host", b"h")]}
    await app(scope, receive, send)
    return json.loads(sent[1]["body"])


@pytest.mark.parametrize("endpoint", GRAPHS)
def test_the_endpoint_that_suits_a_graph_is_described(endpoint: str) -> None:
    step, inputs, outputs = GRAPHS[endpoint]
    app = GraphApp(language_arms(step, inputs, outputs))
    document = asyncio.run(described(app))
    validate(document)
    (path,) = [path for path in document["paths"] if path.startswith("/openai/")]
    assert path == f"/openai/demo/v1/{endpoint}"
    body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    status, found = asyncio.run(ask(app, path, json.dumps(body["schema"]["example"]).encode()))
    assert status == 200, found


def test_a_graph_without_the_protocol_does_not_describe_it() -> None:
    document = asyncio.run(described(GraphApp(language_arms(echo, protocols=()))))
    assert not [path for path in document["paths"] if path.startswith("/openai/")]
