"""The endpoint ``document`` of a graph: what comes in goes in, and what comes out goes out."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.documents.statuses import MAX_ERROR_BODY, failure
from anabranch.errors import (
    AnabranchError,
    DeadlineExceeded,
    NodeError,
    StatusError,
    Unavailable,
)
from anabranch.router.http.doors.document_door import document_error
from anabranch.serve.streams.records import make_error, take_error
from anabranch.specs.models import TensorSpec
from tests.importers.kserve.manifests import imported, inference_graph, node
from tests.router.http.doors.door_graphs import DoorGraph

PATH = "/v2/models/demo/document"
DOCUMENT = ("BYTES", (1,))


async def echo(inputs: Any, context: Any) -> dict[str, Any]:
    (array,) = inputs.values()
    assert array.shape == (1,)
    return {"answer": array}


def graph(step: Any = echo, raw: tuple[str, ...] = (), **fields: Any) -> DoorGraph:
    return DoorGraph(step, {"question": DOCUMENT}, {"answer": None}, raw=raw, **fields)


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_any_body_is_the_input_and_the_answer(body: bytes) -> None:
    reply = graph(raw=("question",)).post(PATH, body)
    assert (reply.status, reply.body) == (200, body)
    assert reply.headers["anabranch-revision"] == "3"
    try:
        json.loads(body)
    except ValueError:
        assert reply.headers["content-type"] == "application/octet-stream"
        assert reply.headers["x-content-type-options"] == "nosniff"


def test_json_is_json() -> None:
    reply = graph().post(PATH, b'{ "a": [1.50] }')
    assert reply.body == b'{ "a": [1.50] }'
    assert reply.headers["content-type"] == "application/json"


def test_a_revision_by_its_number() -> None:
    reply = graph().post("/v2/models/demo/versions/4/document", {"a": 1})
    assert (reply.status, reply.headers["anabranch-revision"]) == (200, "4")


def test_text_must_be_utf_8() -> None:
    assert "UTF-8" in graph().post(PATH, b"\xff").error(400)


def failing(error: AnabranchError) -> DoorGraph:
    async def fails(inputs: Any, context: Any) -> dict[str, Any]:
        raise error

    return graph(fails)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"error": "no such loan", "cause": 7}', "application/json"),
        (b"<script>alert(1)</script>", "application/octet-stream"),
        (b"\xff\x00", "application/octet-stream"),
        (b"", "application/octet-stream"),
        (b"x" * MAX_ERROR_BODY, "application/octet-stream"),
    ],
)
@pytest.mark.parametrize("status", [400, 404, 418, 422, 429, 500, 502, 503, 504, 599])
def test_error_of_a_service_has_its_status_and_body(
    status: int, body: bytes, content_type: str
) -> None:
    reply = failing(failure("far", status, body)).post(PATH, {})
    assert (reply.status, reply.body) == (status, body)
    assert reply.headers["content-type"] == content_type
    if content_type != "application/json":
        assert reply.headers["x-content-type-options"] == "nosniff"
    assert ("retry-after" in reply.headers) == (status == 503)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (failure("far", 422, b"x" * (MAX_ERROR_BODY + 1)), 422),
        (failure("far", 503, b"x" * (MAX_ERROR_BODY + 1)), 503),
        (failure("far", 302, b"elsewhere"), 502),
        (StatusError("pick", "no rule holds", 404), 404),
        (Unavailable("the server of node 'far' cannot be reached: ConnectError"), 503),
        (DeadlineExceeded("node 'far' did not answer in time"), 504),
        (NodeError("far", "it broke"), 500),
    ],
)
def test_other_errors_have_the_form_of_the_engine(error: AnabranchError, status: int) -> None:
    assert failing(error).post(PATH, {}).error(status) == str(error)[:2000].rstrip()


@pytest.mark.parametrize("path", ["/v2/models/demo/infer", "/v2/models/demo/versions/4/infer"])
def test_error_of_a_service_has_the_form_of_the_engine_elsewhere(path: str) -> None:
    error = failure("far", 422, b'{"error": "no such loan"}')
    tensor = {"name": "question", "datatype": "BYTES", "shape": [1], "data": ["{}"]}
    reply = failing(error).post(path, {"inputs": [tensor]})
    assert (
        reply.error(422)
        == 'node \'far\' failed: its server answered 422: {"error": "no such loan"}'
    )


@given(st.integers(400, 599), st.binary(max_size=100))
def test_error_of_a_service_crosses_processes_with_its_body(status: int, body: bytes) -> None:
    error = failure("far", status, body)
    for copy in (make_error(*take_error(error)), pickle.loads(pickle.dumps(error))):
        assert type(copy) is type(error)
        assert str(copy) == str(error)
        assert document_error(copy, "id") == document_error(error, "id")


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ({"a": DOCUMENT, "b": DOCUMENT}, {}),
        ({"a": ("FP32", (1,))}, {}),
        ({"a": ("BYTES", (2,))}, {}),
        ({"a": DOCUMENT}, {"y": TensorSpec(datatype="FP32", shape=(1,))}),
    ],
)
def test_a_graph_of_other_tensors_takes_no_document(inputs: Any, outputs: Any) -> None:
    reply = DoorGraph(echo, inputs, outputs).post(PATH, {})
    assert "graph 'demo' takes no document" in reply.error(400)


def test_an_output_that_is_no_document_is_the_graph_s_fault() -> None:
    async def numbers(inputs: Any, context: Any) -> dict[str, Any]:
        return {"answer": np.array([1.0])}

    assert "gave no single document" in graph(numbers).post(PATH, {}).error(500)


def test_the_door_is_shut_unless_the_spec_opens_it() -> None:
    assert graph(protocols=("json",)).post(PATH, {}).status == 404
    assert graph(protocols=(), engine=("document",)).post(PATH, {}).status == 200


def test_an_imported_inference_graph_opens_it() -> None:
    (found,) = imported(inference_graph({"root": node("Sequence", {"serviceUrl": "http://a/"})}))
    assert found.spec["spec"]["protocols"] == ["document"]
