"""Mutated requests over HTTP give an answer or a refusal that says why, and nothing else.

``ANABRANCH_FUZZ`` is the number of examples; ``tests/project/test_long_fuzz.py`` takes 10000.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from anabranch.components.contract import Context
from anabranch.components.tensors.datatypes import to_datatype, to_dtype
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.raw_tensors import encode_raw

EXAMPLES = int(os.environ.get("ANABRANCH_FUZZ", "300"))
fuzz = settings(max_examples=EXAMPLES // 3, suppress_health_check=list(HealthCheck), deadline=None)
REFUSED = {400, 413, 415, 431}
LEAK = re.compile(r'Traceback|File "|\.py\b|site-packages|object at 0x|anabranch/|/usr/|/home/')

INPUTS = {
    "x": ("FP32", (-1, 2)),
    "half": ("BF16", (2,)),
    "on": ("BOOL", (-1,)),
    "id": ("UINT64", ()),
    "text": ("BYTES", (-1, 1)),
}
VALUES: dict[str, Any] = {
    "x": np.array([[1.5, -2e3]], np.float32),
    "half": np.array([1, 2]).astype(to_dtype("BF16")),
    "on": np.array([True, False]),
    "id": np.array(2**64 - 1, np.uint64),
    "text": np.array([["a,b"], ["é\n"]], object),
}
PIECES = st.binary(max_size=4) | st.sampled_from(
    [*(b"[", b"]", b"{", b"}", b'"', b",", b":", b"null", b"1e999", b"-", b"NaN", b"\\ud800"),
     *(b"\xff\xfe", bytes(4), b"\xff" * 4, b"9" * 40, b"[" * 2000, b'"binary_data_size":')]
)  # fmt: skip
NUMBERS = st.sampled_from(
    [-1, 0, 1, 7, 8, 16, 2**24, 2**31, 2**32, 2**63, 2**64, 10**30, True, 8.0]
)
JSON = st.recursive(
    st.none() | NUMBERS | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)
LENGTHS = st.sampled_from(["0", "-1", "", "x", "1e2", " 5 ", "9" * 30, "1, 2", "65537", "\u00b2"])
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "inference-header-content-length": LENGTHS,
        "content-length": LENGTHS,
        "content-encoding": st.sampled_from(
            ["gzip", "deflate", "br", "identity", "gzip, gzip", ""]
        ),
        "content-type": st.sampled_from(["text/plain", "application/octet-stream", "\xff"]),
        "accept-encoding": st.sampled_from(["gzip", "gzip;q=0", "*", ";;q=x"]),
        "x-request-id": st.sampled_from(["a\x00b", "i" * 300, "../../etc"]),
        "x-large": st.sampled_from(["y" * 10_000]),
    },
)

Judge = Callable[..., int]


async def _answer(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    with np.errstate(all="ignore"):
        return {"doubled": inputs["x"] * 2, "rows": np.array(inputs["text"].size)}


@pytest.fixture
def judge(arms: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> Judge:
    """Ask; what is said is short and tells nothing of the server. Returns the status."""
    app = GraphApp(arms(_answer, RequestLimits(max_body=2**16, max_headers=2**13), inputs=INPUTS))
    caplog.set_level(logging.WARNING)

    def judged(body: list[bytes], headers: Mapping[str, str]) -> int:
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        status, answer = asyncio.run(asyncio.wait_for(ask(app, body, raw), 60))
        assert status in {200, *REFUSED}, answer
        if status != 200:
            ((name, told),) = json.loads(answer).items()
            assert name == "error"
            assert 0 < len(answer) <= 2048
            assert not LEAK.search(told), told
        assert not caplog.records
        event(str(status))
        return status

    return judged


async def ask(
    app: GraphApp, body: list[bytes], headers: list[tuple[bytes, bytes]]
) -> tuple[int, bytes]:
    """Status and body of the answer; the request's body comes in pieces."""
    pieces = [{"type": "http.request", "body": piece, "more_body": True} for piece in body]
    received = iter([*pieces, {"type": "http.request", "body": b""}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(received, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        sent.append(message)

    path = "/v2/models/demo/infer"
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    await app(scope, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    return sent[0]["status"], sent[1]["body"]


def request(binary: set[str]) -> tuple[dict[str, Any], bytes]:
    """A request that is taken, those inputs in binary; and what comes behind its JSON."""
    inputs, tail = [], b""
    for name, array in VALUES.items():
        tensor: dict[str, Any] = {"name": name, "shape": list(array.shape)}
        tensor["datatype"] = datatype = to_datatype(array.dtype)
        if name in binary:
            raw = encode_raw(array, datatype)
            tensor["parameters"] = {"binary_data_size": len(raw)}
            tail += raw
        else:
            tensor["data"] = array.tolist() if array.ndim else [array.item()]
        inputs.append(tensor)
    outputs = [{"name": "doubled", "parameters": {"binary_data": True}}, {"name": "rows"}]
    return {"id": "1", "parameters": {"a": 1}, "inputs": inputs, "outputs": outputs}, tail


def length(size: int) -> dict[str, str]:
    return {"inference-header-content-length": str(size)}


BINARY = st.sets(st.sampled_from([*VALUES]))


@settings(fuzz, max_examples=20)
@given(BINARY)
def test_what_is_not_mutated_is_answered(judge: Judge, binary: set[str]) -> None:
    document, tail = request(binary)
    start = json.dumps(document).encode()
    assert judge([start, tail], length(len(start))) == 200


@fuzz
@given(st.data(), BINARY)
def test_mutated_bytes(judge: Judge, data: st.DataObject, binary: set[str]) -> None:
    document, tail = request(binary)
    start = json.dumps(document).encode()
    body = start + tail
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body)))
        body = body[:at] + data.draw(PIECES) + body[at + data.draw(st.integers(0, 6)) :]
    cut = data.draw(st.integers(0, len(body)))
    judge([body[:cut], body[cut:]], length(len(start)) if binary else {})


@fuzz
@given(st.data(), BINARY)
def test_mutated_values(judge: Judge, data: st.DataObject, binary: set[str]) -> None:
    document, tail = request(binary)
    for _ in range(data.draw(st.integers(1, 3))):
        _mutate(data, document)
    start = json.dumps(document).encode()
    judge([start, tail], length(len(start)))


def _mutate(data: st.DataObject, document: Any) -> None:
    """Replace, drop or rename one thing somewhere."""
    at = document
    for _ in range(data.draw(st.integers(0, 5))):
        inner = [v for v in (at.values() if isinstance(at, dict) else at) if _is_filled(v)]
        if not inner:
            break
        at = data.draw(st.sampled_from(inner))
    if not at:
        return
    key = data.draw(st.sampled_from([*at] if isinstance(at, dict) else range(len(at))))
    match data.draw(st.sampled_from(["replace", "number", "drop", "rename"])):
        case "replace":
            at[key] = data.draw(JSON)
        case "number":
            at[key] = data.draw(NUMBERS)
        case "drop":
            del at[key]
        case "rename" if isinstance(at, dict):
            at[data.draw(st.text(max_size=5))] = at.pop(key)


def _is_filled(value: Any) -> bool:
    return isinstance(value, dict | list) and bool(value)


@fuzz
@given(st.data(), BINARY, HEADERS)
def test_mutated_headers(
    judge: Judge, data: st.DataObject, binary: set[str], headers: dict[str, str]
) -> None:
    document, tail = request(binary)
    start = json.dumps(document).encode()
    shift = data.draw(st.sampled_from([0, 0, 1, -1, len(tail), -len(start)]))
    judge([start, tail], length(len(start) + shift) | headers)
