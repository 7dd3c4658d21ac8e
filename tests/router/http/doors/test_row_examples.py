"""The paths of doors in a graph's OpenAPI document, whose examples work."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator

from anabranch.components.tensors.datatypes import DTYPES
from anabranch.graph.plan.plan import ExplainerTerms
from anabranch.specs.models import PROTOCOLS, ProtocolName
from tests.examples import FEWEST
from tests.examples import examples as all_or_few
from tests.router.http.doors.door_graphs import DoorGraph, echo_graph, shop_graph

DOCUMENT = "/v2/models/demo/openapi.json"
OWN = ("/v2/models/demo/predict", "/v1/models/demo")
shapes = st.lists(st.sampled_from([-1, 1, 2]), max_size=3).map(tuple)
inputs = st.dictionaries(
    st.sampled_from(["a", "b", "rows"]),
    st.tuples(st.sampled_from(sorted(DTYPES)), shapes),
    min_size=1,
)


def examples(graph: DoorGraph) -> dict[str, int]:
    """Ask all examples of the document; how many there are, by path."""
    document = graph.get(DOCUMENT).document
    OpenAPIV31SpecValidator(document).validate()
    tried: dict[str, int] = {}
    for path, operations in document["paths"].items():
        if not path.startswith(OWN):
            continue
        for method, operation in operations.items():
            content = (
                operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            )
            bodies = [one["value"] for one in content.get("examples", {}).values()]
            tried[path] = len(bodies)
            for body in bodies:
                schema = {**content["schema"], "components": document["components"]}
                jsonschema.Draft202012Validator(schema).validate(body)
            for body in bodies or [None] * (method == "get"):
                data = b"" if body is None else json.dumps(body).encode()
                reply = graph.ask(method.upper(), path, data)
                assert reply.status == 200, reply.body
    return tried


@settings(deadline=None, max_examples=all_or_few(100, by_day=FEWEST))
@given(inputs, st.booleans())
def test_examples_work(types: Any, is_raw: bool) -> None:
    raw = tuple(types) if is_raw else ()
    raw = tuple(name for name in raw if types[name][0] == "BYTES")
    graph = echo_graph(types, raw=raw)
    assert examples(graph)["/v1/models/demo:predict"] >= 1


def test_examples_in_all_forms() -> None:
    assert examples(shop_graph()) == {
        "/v2/models/demo/predict": 3,
        "/v1/models/demo": 0,
        "/v1/models/demo/metadata": 0,
        "/v1/models/demo:predict": 2,
    }


def test_explanations_are_there_where_there_are_explainers() -> None:
    graph = shop_graph(explainers={"why": ExplainerTerms(5.0)})
    document = graph.get(DOCUMENT).document
    body = document["paths"]["/v1/models/demo:explain"]["post"]["requestBody"]
    example = body["content"]["application/json"]["examples"]["inputs"]["value"]
    assert example["parameters"] == {"explainer": "why"}


@pytest.mark.parametrize("protocol", ["json", "v1"])
def test_a_protocol_that_is_off_is_not_there(protocol: ProtocolName) -> None:
    others = tuple(one for one in PROTOCOLS if one != protocol)
    on = shop_graph(protocols=(), engine=(protocol,)).get(DOCUMENT).document["paths"]
    off = shop_graph(protocols=others).get(DOCUMENT).document["paths"]
    own = OWN[["json", "v1"].index(protocol)]
    assert any(path.startswith(own) for path in on)
    assert not any(path.startswith(own) for path in off)


def test_the_document_of_a_revision_has_the_protocol_alone_that_all_have() -> None:
    paths = shop_graph().get("/v2/models/demo/versions/3/openapi.json").document["paths"]
    assert paths and all(path.startswith("/v2/models/demo/versions/3") for path in paths)


def test_forms_have_fields_and_files() -> None:
    graph = echo_graph({"scan": ("BYTES", (-1,)), "n": ("INT32", (-1,))}, raw=("scan",))
    document = graph.get(DOCUMENT).document
    content = document["paths"][OWN[0]]["post"]["requestBody"]["content"]
    properties = content["multipart/form-data"]["schema"]["properties"]
    assert properties["scan"] == {"type": "string", "format": "binary"}
    assert properties["n"]["description"] == "INT32[-1]: JSON"
