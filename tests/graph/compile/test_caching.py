"""Caches are refused over what may answer the same question differently."""

from __future__ import annotations

from typing import Any

import pytest

from anabranch import Graph
from anabranch.errors import SpecError
from anabranch.graph.compile.loading import load_text

TEXT = """\
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: g}
spec:
  inputs: {x: {datatype: FP32, shape: [-1, 4]}}
  nodes:
    a: {type: transformer, method: softmax, inputs: {x: x}}
    b: NODE
  outputs: {y: b}
  cache: {ttl: 60s, size: 256MiB}
"""
MODEL = "type: predictor, runtime: onnx, inputs: {x: a}, deterministic: true"


def problems(node: str, text: str = TEXT) -> list[str]:
    try:
        load_text(text.replace("NODE", f"{{{node}}}"))
    except SpecError as error:
        return [f"{one.path[-1]}: {one.message}" for one in error.problems]
    return []


@pytest.mark.parametrize(
    "node",
    [
        "type: transformer, method: argmax, inputs: {x: a}",
        "type: combiner, strategy: mean, inputs: [a, a]",
        "type: predictor, component: 'c.py:C', inputs: {x: a}, deterministic: true",
        f"{MODEL}, model: m.onnx",
        f"{MODEL}, model: 'https://models/m.onnx', sha256: {'0' * 64}",
        f"{MODEL}, model: 'models:/m@champion'",
        "type: router, strategy: rules, inputs: {x: x}, otherwise: a, rules: [{to: a, when: "
        "\"request.parameters['kind'] == 'request.id' || inputs.x[0][0] > 1.0\"}]",
        "type: router, component: 'c.py:R', routes: [a], deterministic: true",
    ],
)
def test_what_answers_alike_may_be_kept(node: str) -> None:
    assert problems(node) == []


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (
            "type: predictor, component: 'c.py:C', inputs: {x: a}",
            "deterministic: the graph has a `cache`, and the node must then always give the same "
            "answer to the same question: add `deterministic: true` if it does, or remove `cache` "
            "from the graph, and give it to single nodes",
        ),
        (
            "type: predictor, runtime: open_inference, args: {url: 'http://m', model: m}, "
            "inputs: {x: a}",
            "deterministic: the graph has a `cache`, and the node must",
        ),
        (
            f"{MODEL}, model: 'https://models/m.onnx'",
            "model: the graph has a `cache`, and the model at this place may change while answers "
            "are kept; give its `sha256`",
        ),
        (
            f"{MODEL}, model: 'https://models/{{model}}.onnx', multiplex: {{}}",
            "model: the graph has a `cache`, and the model at this place may change while answers "
            "are kept; take models out of the bundle",
        ),
        (
            "type: predictor, model: 'shared://m', inputs: {x: a}, outputs: {y: {datatype: FP32, "
            "shape: [-1]}}",
            "model: the graph has a `cache`, and a shared model has revisions of its own; give",
        ),
        (
            "type: router, strategy: weighted, routes: {a: 1}",
            "strategy: the graph has a `cache`, and 'weighted' chooses by chance, or by rewards",
        ),
        (
            "type: router, strategy: thompson, routes: [a]",
            "strategy: the graph has a `cache`, and 'thompson' chooses by chance, or by rewards",
        ),
        (
            "type: router, strategy: rules, otherwise: a, "
            "rules: [{to: a, when: \"request.headers['x-a'] == 'b'\"}]",
            "rules: the graph has a `cache`, and rules go by more of the request",
        ),
        (
            "type: router, strategy: rules, otherwise: a, "
            "rules: [{to: a, when: \"request['id'] == 'b'\"}]",
            "rules: the graph has a `cache`, and rules go by more of the request",
        ),
        (
            "type: router, component: 'c.py:R', routes: [a]",
            "deterministic: the graph has a `cache`, and the node must",
        ),
    ],
)
def test_what_may_answer_differently_is_refused(node: str, expected: str) -> None:
    (found,) = problems(node)
    assert found.startswith(expected)


def test_a_lookup_may_answer_differently_whenever_its_store_changes() -> None:
    text = TEXT.replace("x: {datatype: FP32", "x: {datatype: INT64")
    node = (
        "type: transformer, method: lookup, inputs: {x: x}, outputs: {y: {datatype: FP32, "
        "shape: [-1]}}, args: {store: 'sqlite:///f.db', table: t, features: {y: y}}"
    )
    assert any(one.startswith("deterministic: the graph has a") for one in problems(node, text))


def test_a_node_that_no_output_needs_may_do_as_it_likes() -> None:
    text = TEXT.replace("outputs: {y: b}", "outputs: {y: a}")
    assert problems("type: predictor, component: 'c.py:C', inputs: {x: a}", text) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("cache: {ttl: 0s}", ["ttl: must be more than 0"]),
        ("cache: {ttl: 1s, size: 1KiB}", ["size: must be at least 1MiB"]),
        (
            "cache: {ttl: 1s, store: disk}",
            ["store: must be machine or redis, not 'disk' (did you mean redis?)"],
        ),
        ("cache: {ttl: 1s}", []),
    ],
)
def test_a_node_has_a_cache_of_its_own(fields: str, expected: list[str]) -> None:
    node = f"type: transformer, method: argmax, inputs: {{x: a}}, {fields}"
    found = problems(node, TEXT.replace("  cache: {ttl: 60s, size: 256MiB}\n", ""))
    assert [one.replace("`", "") for one in found] == expected


def test_routers_and_explainers_have_no_cache() -> None:
    rules = "rules: [{when: 'true', to: a}], otherwise: a"
    (found,) = problems(f"type: router, strategy: rules, {rules}, cache: {{ttl: 1s}}")
    assert found == "cache: is for `transformer`, `predictor` and `combiner` nodes; remove it"


def graph(**options: Any) -> Graph:
    made = Graph("g", **options).input("x", "FP32", [-1, 4])
    made.transformer("a", method="softmax", inputs={"x": "x"}, placement={"isolate": True})
    return made.transformer("b", method="argmax", inputs={"x": "a"}).output("y", "b")


def test_monitors_must_see_what_comes_from_a_cache() -> None:
    made = graph(cache={"ttl": "1s"})
    for name in ("x", "a", "b"):
        made.monitor(f"of_{name}", method="sketch", watches=[name])
    with pytest.raises(SpecError) as caught:
        _ = made.plan
    (problem,) = caught.value.problems
    assert problem.path == ("spec", "monitors", "of_a", "watches")
    assert "'a' is in a process of its own" in problem.message


def test_a_log_must_have_the_values_that_come_from_a_cache() -> None:
    made = graph(cache={"ttl": "1s"}).telemetry(requests={"nodes": ["a", "b"]})
    with pytest.raises(SpecError) as caught:
        _ = made.plan
    (problem,) = caught.value.problems
    assert problem.path == ("spec", "telemetry", "requests", "nodes")
    assert "'a" in problem.message and "is in a process of its own" in problem.message


def test_the_cache_is_in_the_plan_and_in_the_text() -> None:
    made = graph(cache={"ttl": "1s"})
    assert made.plan.cache is not None
    assert (made.plan.cache.ttl.seconds, made.plan.cache.size) == (1.0, 64 * 2**20)
    assert load_text(made.to_yaml()).plan == made.plan
