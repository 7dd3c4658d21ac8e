"""Bodies of all kinds: what is wrong with one is said in OpenAI's form, and nothing breaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.contract import Context
from anabranch.router.http.doors.openai.errors import FieldError
from anabranch.router.http.doors.openai.fields import _TYPES, BodyFields, model_of
from anabranch.router.http.graph_app import GraphApp
from tests.router.conftest import Step
from tests.router.http.doors.openai.graphs import COUNTED, MESSAGES, language_arms, text

ENDPOINTS = ["chat/completions", "completions", "embeddings"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from([2**63, -1, 10**400, "Hi", ["Hi"], [[1]], [1, 2], [{"role": "user"}]]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
NAMES = st.sampled_from([*_TYPES, "messages", "prompt", "input", "own", "timeout", "priority"])
BODIES = st.dictionaries(NAMES, VALUES, max_size=5)


async def said(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    return {"text": text("ok")}


async def ask(app: GraphApp, path: str, body: bytes) -> tuple[int, bytes]:
    """The status and the whole body of an answer."""
    sent: list[Any] = []
    received = iter([{"type": "http.request", "body": body}])

    async def receive() -> Any:
        message = next(received, None)
        if message is None:
            await asyncio.Event().wait()
        return message

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"host", b"h")]}
    await app(scope, receive, send)
    return sent[0]["status"], b"".join(one.get("body", b"") for one in sent[1:])


def check(path: str, body: bytes, inputs: Any = MESSAGES, step: Step = said) -> int:
    app = GraphApp(language_arms(step, inputs, COUNTED))
    status, found = asyncio.run(ask(app, path, body))
    if status == 200:
        assert b'"object":' in found
        return status
    assert 400 <= status < 500, found
    (error,) = json.loads(found).values()
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error" and "Traceback" not in error["message"]
    return status


@given(BODIES, st.sampled_from(ENDPOINTS), st.booleans())
def test_any_fields(body: dict[str, Any], endpoint: str, own: bool) -> None:
    base = "/openai/demo/v1" if own else "/v1"
    inputs = MESSAGES if endpoint.startswith("chat") else {"prompt": ("BYTES", (-1,))}
    if endpoint == "embeddings":
        body = {**body, "input": body.get("input", 3)}
    if not own:
        body = {**body, "model": "demo"}
    step = zeros if endpoint == "embeddings" else said
    check(f"{base}/{endpoint}", json.dumps(body).encode(), inputs, step)


async def zeros(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    (texts,) = inputs.values()
    return {"vectors": np.zeros((texts.size, 3), np.float32)}


@given(st.binary(max_size=64), st.sampled_from(ENDPOINTS))
def test_any_bytes(body: bytes, endpoint: str) -> None:
    assert check(f"/v1/{endpoint}", body) == 400


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(
    "body",
    [
        b'{"messages": ' + b"[" * 100_000,
        b'{"messages": [{"role": "user", "content": "\xff"}], "model": "demo"}',
        b'{"messages": [{"role": "user", "content": "\\ud800"}], "model": "demo"}',
        b'{"model": "demo", "tools": [' + b"{}," * 200_000 + b"{}]}",
        b'{"model": "' + b"x" * 10_000 + b'"}',
        b'{"model": "demo", "seed": ' + b"9" * 5000 + b"}",
    ],
)
def test_hostile_bodies(body: bytes, endpoint: str) -> None:
    assert check(f"/openai/demo/v1/{endpoint}", body) in (400, 404, 413)


def test_the_model_of_a_body() -> None:
    assert model_of(b'{"model": "team/a", "messages": []}') == "team/a"
    assert model_of(b'{"model": "a", "messages": [], "model": "b"}') == "b"
    with pytest.raises(FieldError, match="you must provide the field 'model'"):
        model_of(b'{"model": null}')


def test_fields_that_are_null_are_not_there() -> None:
    fields = BodyFields(b'{"a": null, "b": 1}')
    assert ("a" in fields, "b" in fields) == (False, True)
    assert fields.parameters() == {"b": 1}
