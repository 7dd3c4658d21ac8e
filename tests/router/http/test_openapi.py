"""The OpenAPI document and the page of a graph."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import httpx
import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator

from anabranch.components.tensors.datatypes import DTYPES, to_dtype
from anabranch.graph.explain.answers import ExplainerReply
from anabranch.router.http.openapi import MAX_EXAMPLE, document
from anabranch.router.http.openapi_page import FILES
from anabranch.router.inference.contract import ModelMetadata, TensorMetadata
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.decode import decode_body
from anabranch.router.oip.generate import decode_generate
from tests.router.conftest import BODY

Graph = Callable[..., str]
PATH = "/v2/models/demo"

shapes = st.lists(st.sampled_from([-1, 0, 1, 2, 3]), max_size=4).map(tuple)
tensors = st.builds(
    TensorMetadata, st.sampled_from("abcde"), st.sampled_from(sorted(DTYPES)), shapes
)
several = st.lists(tensors, min_size=1, max_size=3, unique_by=lambda tensor: tensor.name).map(tuple)
models = st.builds(
    lambda inputs, outputs: ModelMetadata("demo", ("1", "2"), "anabranch", inputs, outputs),
    several,
    several,
)


def example(found: Any, name: str) -> bytes:
    content = found["paths"][f"{PATH}/{name}"]["post"]["requestBody"]["content"]
    return json.dumps(content["application/json"]["example"]).encode()


def validate(found: Any, schema: str, instance: Any) -> None:
    jsonschema.Draft202012Validator(
        {"$ref": f"#/components/schemas/{schema}", "components": found["components"]}
    ).validate(instance)


def fits(array: Any, tensor: TensorMetadata) -> bool:
    sizes = [1 if size < 0 else size for size in tensor.shape]
    return array.dtype == to_dtype(tensor.datatype) and list(array.shape) == sizes


@given(models)
def test_examples_are_requests_that_the_graph_takes(model: ModelMetadata) -> None:
    found = document(model, PATH)
    body = example(found, "infer")
    decoded, _ = decode_body(body, None, RequestLimits(), lambda: model.inputs)
    assert all(fits(decoded.inputs[tensor.name], tensor) for tensor in model.inputs)
    validate(found, "InferRequest", json.loads(body))
    if not any(0 in tensor.shape for tensor in model.inputs):
        body = example(found, "generate")
        decoded = decode_generate(body, model, RequestLimits())
        assert all(fits(decoded.inputs[tensor.name], tensor) for tensor in model.inputs)
        validate(found, "GenerateRequest", json.loads(body))


@pytest.mark.parametrize(
    "datatype",
    [
        "BYTES",
        "FP32",
        *(
            pytest.param(one, marks=pytest.mark.nightly)
            for one in sorted(DTYPES.keys() - {"BYTES", "FP32"})
        ),
    ],
)
def test_the_document_is_valid(datatype: str) -> None:
    types = (TensorMetadata("x", datatype, (-1, 2)), TensorMetadata("s", datatype, ()))
    for outputs in (types, ()):
        model = ModelMetadata("demo", ("1",), "anabranch", types, outputs)
        for feedback in (False, True):
            found = document(model, PATH, feedback)
            OpenAPIV31SpecValidator(found).validate()
            assert (f"{PATH}/feedback" in found["paths"]) is feedback


def test_a_graph_with_explainers_tells_how_they_are_asked() -> None:
    types = (TensorMetadata("x", "FP32", (-1, 2)),)
    model = ModelMetadata("demo", ("1",), "anabranch", types, types)
    assert f"{PATH}/explain" not in document(model, PATH)["paths"]
    found = document(model, PATH, explainers=("how", "why"))
    OpenAPIV31SpecValidator(found).validate()
    decoded, _ = decode_body(example(found, "explain"), None, RequestLimits(), lambda: types)
    assert decoded.parameters == {"explainer": "how"}
    answer = ExplainerReply("ale", b"[{}]", 0.1).document("how")
    answer |= {"model_name": "demo", "model_version": "1", "explanations": [{}]}
    validate(found, "ExplainResponse", answer)


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        ({"id": "a", "reward": 1}, True),
        ({"routing": "{}", "truth": ["cat", 1, True]}, True),
        ({"id": "a", "reward": -0.5, "truth": 3}, True),
        ({"id": "a"}, False),
        ({"reward": 1}, False),
        ({"id": "a", "routing": "{}", "reward": 1}, False),
        ({"id": "", "reward": 1}, False),
        ({"id": "a", "reward": 1e10}, False),
        ({"id": "a", "reward": True}, False),
        ({"id": "a", "reward": 1, "more": 1}, False),
        ({"id": "a", "truth": [[1]]}, False),
    ],
)
def test_the_schema_knows_what_feedback_is(body: Any, fits: bool) -> None:
    types = (TensorMetadata("x", "FP32", (-1, 2)),)
    found = document(ModelMetadata("demo", ("1",), "anabranch", types, types), PATH, True)
    if fits:
        validate(found, "Feedback", body)
    else:
        with pytest.raises(jsonschema.ValidationError):
            validate(found, "Feedback", body)


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"shape": [7, 2]}, True),
        ({"data": [[1.0, 2.0]]}, True),
        ({"shape": [2, 3]}, False),
        ({"shape": [2]}, False),
        ({"datatype": "FP64"}, False),
        ({"name": "y"}, False),
        ({"data": ["1", "2"]}, False),
    ],
)
def test_the_schema_knows_the_tensors_of_the_graph(change: Any, fits: bool) -> None:
    types = (TensorMetadata("x", "FP32", (-1, 2)),)
    found = document(ModelMetadata("demo", ("1",), "anabranch", types, types), PATH)
    body = {"inputs": [{**BODY["inputs"][0], **change}]}
    if fits:
        validate(found, "InferRequest", body)
    else:
        with pytest.raises(jsonschema.ValidationError):
            validate(found, "InferRequest", body)


def test_an_example_that_is_too_large_is_left_out() -> None:
    for size, there in ((MAX_EXAMPLE, True), (MAX_EXAMPLE + 1, False)):
        types = (TensorMetadata("x", "UINT8", (-1, size)),)
        found = document(ModelMetadata("demo", ("1",), "anabranch", types, ()), PATH)
        content = found["paths"][f"{PATH}/infer"]["post"]["requestBody"]["content"]
        assert ("example" in content["application/json"]) == there


@pytest.mark.parametrize("below", ["", "/versions/3"])
def test_the_examples_work(graph: Graph, below: str) -> None:
    url = graph()
    found = httpx.get(f"{url}{below}/openapi.json").json()
    OpenAPIV31SpecValidator(found).validate()
    tried = 0
    for path, operations in found["paths"].items():
        assert path.startswith(f"{PATH}{below}")
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            body = content.get("application/json", {}).get("example")
            at = url.removesuffix(PATH) + path
            reply = httpx.request(method, at, json=body)
            assert reply.status_code == 200, reply.text
            kind = reply.headers["content-type"].partition(";")[0]
            assert kind in operation["responses"]["200"]["content"]
            tried += 1
    assert tried == 5
    reply = httpx.post(f"{url}/infer", json={"inputs": []})
    assert str(reply.status_code) in found["paths"][f"{PATH}{below}/infer"]["post"]["responses"]


def test_answers_fit_the_schema(graph: Graph) -> None:
    url = graph()
    answers = [httpx.post(f"{url}/infer", json=BODY).json() for _ in range(2)]
    found = httpx.get(f"{url}/openapi.json").json()
    for answer in answers:
        validate(found, "InferResponse", answer)
    validate(found, "GenerateResponse", httpx.post(f"{url}/generate", json={"x": [1, 2]}).json())
    validate(found, "Error", httpx.post(f"{url}/generate", json={}).json())


class Loads(HTMLParser):
    """What a page loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        for name in ("href", "src", "data-document"):
            if given.get(name) and not str(given[name]).startswith("data:"):
                self.found.append(str(given[name]))


@pytest.mark.parametrize("below", ["/docs", "/docs/", "/versions/3/docs"])
def test_the_page_and_all_that_it_loads(graph: Graph, below: str) -> None:
    url = graph()
    reply = httpx.get(f"{url}{below}")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert "<script>" not in reply.text and "://" not in reply.text
    loaded = Loads(reply.text).found
    assert len(loaded) == len(FILES) + 1
    for target in loaded:
        assert httpx.get(reply.url.join(target)).status_code == 200, target


@pytest.mark.parametrize("name", FILES)
def test_files_come_compressed_or_not(graph: Graph, name: str) -> None:
    url = f"{graph()}/docs/{name}"
    packed = httpx.get(url, headers={"accept-encoding": "gzip"})
    plain = httpx.get(url, headers={"accept-encoding": "identity"})
    assert packed.headers.get("content-encoding") == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content
    assert packed.headers["cache-control"] == "max-age=3600"


@pytest.mark.parametrize("name", ["README.md", "init.js.gz", "../asgi.py", "%2e%2e/asgi.py", ""])
def test_there_are_no_other_files(graph: Graph, name: str) -> None:
    reply = httpx.get(f"{graph()}/docs/x/{name}")
    assert reply.status_code == 404
