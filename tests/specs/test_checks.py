"""Every mistake in one pass, each at its place and in the words of the language."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given

from anabranch import Graph
from anabranch.errors import SpecError
from anabranch.specs.checks import Partial, check
from anabranch.specs.loader import Document, parse
from anabranch.specs.models import InferenceGraph, Scaling
from tests.strategies import graphs

TWELVE = """\
apiVersion: anabranch/v2
kind: InferenceGraph
metadata:
  name: Digits
spec:
  inputs:
    pixels: {datatype: float32, shape: [-1, 64]}
  nodes:
    forest:
      type: predictr
      runtime: sklearn
      model: forest.joblib
      inputs: {x: pixels}
    net:
      type: predictor
      runtime: torch
      modle: net.pt2
      timeout: 5
      inputs: {x: pixels}
    net:
      type: predictor
    vote:
      type: combiner
      inputs: [forest, net]
      on_error: ignore
      scaling: {replicas: 2, max: 3}
  outputs:
    label: {source: vote}
  traffic:
    sticky: {header: x-user, cookie: user}
"""
EXPECTED = """\
f:1:1: apiVersion: must be anabranch/v1, not 'anabranch/v2' (did you mean \
`anabranch/v1`?)
f:4:3: metadata.name: 'Digits' is not a graph's name: at most 63 lower-case letters, \
digits and dashes, starting with a letter and not ending in a dash; a namespace and a slash may \
come before it (did you mean `digits`?)
f:7:14: spec.inputs.pixels.datatype: `float32` is not one of BOOL, UINT8, UINT16, UINT32, UINT64, \
INT8, INT16, INT32, INT64, FP16, FP32, FP64, BF16, BYTES (did you mean `FP32`?)
f:10:7: spec.nodes.forest.type: unknown node type `predictr` (did you mean `predictor`?)
f:17:7: spec.nodes.net.modle: unknown field (did you mean `model`?)
f:18:7: spec.nodes.net.timeout: 5 is not a duration: write a number with a unit \
(us, ms, s, m, h, d); did you mean 5s?
f:20:5: spec.nodes.net: this key is already used on line 14
f:22:5: spec.nodes.vote: needs either `component`, your class, or a built-in `strategy` such as mean
f:25:7: spec.nodes.vote.on_error: must be fail or skip, not 'ignore'
f:26:17: spec.nodes.vote.scaling.replicas: a fixed number excludes autoscaling; remove it or `max`
f:28:5: spec.outputs.label: must be text, not a map
f:30:5: spec.traffic.sticky: takes one field, not `header` and `cookie`
"""

GOOD: dict[str, Any] = {
    "apiVersion": "anabranch/v1",
    "kind": "InferenceGraph",
    "metadata": {"name": "g"},
    "spec": {
        "inputs": {"x": {"datatype": "FP32", "shape": [-1, 4]}},
        "nodes": {"a": {"type": "transformer", "method": "softmax", "inputs": {"x": "x"}}},
        "outputs": {"y": "a"},
    },
}


def wrong(text: str) -> list[str]:
    """The problems of a graph whose node ``a`` is ``text``, without file and position."""
    head = "apiVersion: anabranch/v1\nkind: InferenceGraph\nmetadata: {name: g}\nspec:\n"
    ends = "  inputs: {x: {datatype: FP32, shape: [-1]}}\n  outputs: {y: a}\n"
    document = parse(f"{head}{ends}  nodes:\n    a: {text}\n")
    found = (str(problem) for problem in check(document).problems)
    return [line.split(" spec.nodes.", 1)[1] for line in found]


def test_twelve_mistakes_at_once_in_the_order_of_the_file() -> None:
    checked = check(parse(TWELVE, "f"))
    assert len(checked.problems) == 12
    assert checked.graph is None
    assert "\n".join(map(str, checked.problems)) + "\n" == EXPECTED


def test_problems_fit_an_error_that_can_cross_processes() -> None:
    error = SpecError(check(parse(TWELVE, "f")).problems)
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == EXPECTED.rstrip("\n")


@given(graphs())
def test_a_valid_graph_has_no_problems(graph: InferenceGraph) -> None:
    checked = check(Document(graph.to_dict()))
    assert checked.problems == ()
    assert checked.graph == graph
    assert checked.partial == Partial.of(graph)


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        ("3", "a: expects fields, not the number 3"),
        ("[]", "a: expects fields, not an empty list"),
        ("{}", "a: needs a `type`: transformer, predictor, combiner, router, explainer"),
        ("{type: 5}", "a.type: must be one of transformer, predictor, combiner, router, "
         "explainer, not the number 5"),
        ("{type: qqq}", "a.type: unknown node type `qqq` (choose from transformer, predictor, "
         "combiner, router, explainer)"),
        ("{typ: transformer, method: cast, inputs: {x: x}}",
         "a.typ: unknown field (did you mean `type`?)"),
        ("{type: transformer, method: cast}", "a.inputs: is required"),
        ("{type: transformer, method: cast, input: {x: x}}",
         "a.input: unknown field (did you mean `inputs`?)"),
        ("{type: transformer, method: cast, inputs: {}}", "a.inputs: must not be empty"),
        ("{type: transformer, method: cast, inputs: {x: 1}}",
         "a.inputs.x: must be text, not the number 1; put it in quotes"),
        ("{type: transformer, method: cast, inputs: {x: x, 1a: x}}",
         "a.inputs.1a: '1a' is not a parameter's name: at most 127 letters, digits and "
         "_, starting with a letter or _"),
        ("{type: transformer, method: cast, inputs: x}",
         "a.inputs: expects fields, not the text 'x'; write `inputs: {x: fruit}`"),
        ("{type: combiner, strategy: mean, inputs: x}",
         "a.inputs: must be a list of sources, or a map of parameter: source, not the text 'x'"),
        ("{type: combiner, strategy: mean, inputs: [x, 3]}",
         "a.inputs.1: must be text, not the number 3; put it in quotes"),
        ("{type: combiner, strategy: mean, inputs: []}", "a.inputs: must not be empty"),
        ("{type: router, strategy: weighted, routes: b}",
         "a.routes: must be a map of node: weight, or a list of nodes, not the text 'b'"),
        ("{type: router, strategy: weighted, routes: {b: -1}}",
         "a.routes.b: must be at least 0, not -1"),
        ("{type: router, strategy: weighted, routes: {b: .nan}}",
         "a.routes.b: must be a finite number, not the number .nan"),
        ("{type: router, strategy: rules, rules: [{when: 'true'}], otherwise: b}",
         "a.rules.0.to: is required"),
        ("{type: combiner, component: c.py:C, inputs: [x], on_error: {used: x}}",
         "a.on_error.used: unknown field (did you mean `use`?)"),
        ("{type: combiner, component: c.py:C, inputs: [x], idempotent: true, retries: 11}",
         "a.retries: must be at most 10, not 11"),
        ("{type: combiner, component: c.py:C, inputs: [x], idempotent: true, retries: 1.5}",
         "a.retries: must be a whole number, not the number 1.5"),
        ("{type: combiner, component: c.py:C, inputs: [x], placement: {isolate: 'yes'}}",
         "a.placement.isolate: must be true or false, not the text 'yes'"),
        ("{type: combiner, component: c.py:C, inputs: [x], resources: {memory: 2}}",
         "a.resources.memory: 2 is not a size: write a number with a unit (B, KiB, "
         "MiB, GiB, TiB); did you mean 2B?"),
        ("{type: combiner, component: c.py:C, inputs: [x], args: {a: {b: [.inf]}}}",
         "a.args.a: .inf and .nan are not allowed here"),
        ("{type: combiner, component: c.py:C, inputs: [x], args: {a: %s}}" % ("[" * 26 + "]" * 26),
         "a.args.a: nested deeper than 24 levels"),
        ("{type: combiner, component: c.py:C, inputs: [x], "
         "outputs: {o: {datatype: fp64, shape: 3}}}",
         "a.outputs.o.datatype: `fp64` is not one of BOOL, UINT8, UINT16, UINT32, UINT64, INT8, "
         "INT16, INT32, INT64, FP16, FP32, FP64, BF16, BYTES (did you mean `FP64`?)\n"
         "a.outputs.o.shape: must be a list, not the number 3"),
        ("{type: predictor, runtime: onnx, model: m, sha256: abc, inputs: {x: x}}",
         "a.sha256: 'abc' is not a SHA-256 digest: 64 digits out of 0-9a-f"),
        ("{type: predictor, runtime: onnx, model: '%s', inputs: {x: x}}" % ("m" * 2049),
         "a.model: must have at most 2048 characters, not 2049"),
        ("{type: predictor, runtime: onnx, model: '', inputs: {x: x}}",
         "a.model: must not be empty"),
    ],
)  # fmt: skip
def test_one_message_for_each_mistake(node: str, problem: str) -> None:
    assert "\n".join(wrong(node)) == problem


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ("traffic: {rules: []}", "traffic.rules: must not be empty"),
        ("traffic: {rules: [%s]}" % ("{when: 'true', to: r1}, " * 65),
         "traffic.rules: must have at most 64 items, not 65"),
        ("traffic: {rules: [{when: '', to: r01, unless: x}]}",
         "traffic.rules.0.when: must not be empty\n"
         "traffic.rules.0.to: 'r01' is not a target of traffic: stable, candidate, or a "
         "revision such as r7\n"
         "traffic.rules.0.unless: unknown field (choose from to, when)"),
        ("traffic: {compare: {rtol: 2}}",
         "traffic.compare.rtol: must be at most 1, not 2"),
        ("traffic: {compare: {atol: .inf}}",
         "traffic.compare.atol: must be a finite number, not the number .inf"),
        ("traffic: {grace: 10}",
         "traffic.grace: 10 is not a duration: write a number with a unit (us, ms, s, "
         "m, h, d); did you mean 10s?"),
        ("traffic: {stiky: {header: x}}",
         "traffic.stiky: unknown field (did you mean `sticky`?)"),
        ("scaling: {replica: 2}", "scaling.replica: unknown field (did you mean `replicas`?)"),
        ("rollout: {steps: []}", "rollout.steps: must not be empty"),
        ("rollout: {steps: [5, 101, 7]}",
         "rollout.steps.1: step 2: must be at most 100, not 101\n"
         "rollout.steps.2: step 3: must be more than the step before it, 101"),
        ("rollout: {steps: [5], gate: ftp://a/b, webhooks: ['http://user@host/']}",
         "rollout.gate: 'ftp://a/b' is not an http:// or https:// URL without user, "
         "password and fragment\n"
         "rollout.webhooks.0: 'http://user@host/' is not an http:// or https:// URL "
         "without user, password and fragment"),
        ("rollout: {steps: [5], analysis: {interval: 1s, metrics: [{metric: latency95, max: 3}]}}",
         "rollout.analysis.metrics.0.metric: `latency95` is not one of error_rate, latency_p50, "
         "latency_p95, latency_p99, ttft_p50, ttft_p95, ttft_p99, tokens_per_second, agreement, "
         "prediction_shift, reward, drift, significance, promql (did you mean `latency_p95`?)"),
        ("rollout: {steps: [5], analysis: {interval: 1s, metrics: [{metric: promql, max: soon, "
         "query: up}]}}",
         "rollout.analysis.metrics.0.max: 'soon' is not a number, a duration such as "
         "250ms, or a multiple of stable such as 1.2x"),
        ("rollout: {steps: [5], analysis: {interval: 1s, metrics: [{metric: latency_p95, "
         "max: 250}]}}",
         "rollout.analysis.metrics.0.max: 250 has no unit: write a latency with its unit, such as "
         "250ms, or a multiple of stable, such as 1.2x"),
    ],
)  # fmt: skip
def test_traffic_and_rollouts(section: str, problem: str) -> None:
    text = f"""\
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {{name: g}}
spec:
  inputs: {{x: {{datatype: FP32, shape: [-1]}}}}
  nodes: {{a: {{type: transformer, method: softmax, inputs: {{x: x}}}}}}
  outputs: {{y: a}}
  {section}
"""
    found = [str(each).split(": spec.", 1) for each in check(parse(text, "f")).problems]
    assert "\n".join(said for _, said in found) == problem
    assert all(place.startswith("f:8:") for place, _ in found)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "f:1:1: is empty; a graph starts with `apiVersion: anabranch/v1`"),
        ("[]", "f:1:1: expects fields, not an empty list"),
        ("3", "f:1:1: expects fields, not the number 3"),
    ],
)
def test_what_is_no_graph_at_all(text: str, problem: str) -> None:
    assert [str(found) for found in check(parse(text, "f")).problems] == [problem]


def test_a_missing_field_stands_where_its_map_does() -> None:
    text = (
        "apiVersion: anabranch/v1\nkind: InferenceGraph\nmetadata: {name: g}\nspec:\n  nodes: {}\n"
    )
    assert [str(problem) for problem in check(parse(text, "f")).problems] == [
        "f:4:1: spec.inputs: is required",
        "f:4:1: spec.outputs: is required",
        "f:5:3: spec.nodes: must not be empty",
    ]


def test_what_is_valid_by_itself_is_handed_on() -> None:
    checked = check(
        parse(
            """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: g}
spec:
  timeout: 5s
  inputs: {x: {datatype: FP32, shape: [-1]}, bad: {datatype: FP3, shape: [-1]}}
  nodes:
    good: {type: transformer, method: softmax, inputs: {x: x}}
    fine: {type: transformer, method: softmax, inputs: {x: x}, retries: lots, retires: 3}
    lost: {type: transformer, method: softmax, input: {x: x}}
    1st: {type: transformer, method: softmax, inputs: {x: x}}
  outputs: {y: good, z: 3}
  scaling: {replicas: 2}
  traffic: {rules: [{when: 'true', to: x}, {when: 3, to: r1}, 3, {when: 'false', to: r2}]}
"""
        )
    )
    partial = checked.partial
    assert (partial.name, str(partial.timeout)) == ("g", "5s")
    assert [*partial.inputs] == ["x"]
    assert [*partial.nodes] == ["good", "fine"]
    assert dict(partial.outputs) == {"y": "good"}
    assert partial.broken == {"bad", "lost", "1st"}
    assert partial.scaling == Scaling(replicas=2)
    assert dict(partial.conditions) == {0: "true", 3: "false"}
    assert len(checked.problems) == 9


def test_without_inputs_no_source_is_called_unknown() -> None:
    document = parse(
        """
spec:
  input: {x: {datatype: FP32, shape: [-1]}}
  nodes: {a: {type: transformer, method: softmax, inputs: {x: x}}}
  outputs: {y: a, z: b.c}
"""
    )
    assert check(document).partial.broken == {"x", "b"}


def test_graphs_built_in_python_are_judged_alike() -> None:
    node = {**GOOD["spec"]["nodes"]["a"], "component": "c.py:C", "scaling": {"min": 3, "max": 1}}
    data = GOOD | {"spec": GOOD["spec"] | {"nodes": {"head": node}}}
    with pytest.raises(SpecError) as caught:
        assert Graph.from_spec(InferenceGraph.model_validate(data)).plan
    assert [str(problem) for problem in caught.value.problems][:3] == [
        "spec.nodes.head: this name is taken: it is the segment that runs inside the router",
        "spec.nodes.head.method: a node has either `component` or `method`; remove one",
        "spec.nodes.head.scaling.min: min 3 is more than max 1",
    ]


def test_endless_mistakes_stop_somewhere() -> None:
    text = "\n".join(f"a{number}: 1" for number in range(3_000))
    problems = check(parse(text)).problems
    assert len(problems) == 500
    assert len(str(SpecError(problems)).encode()) <= 4096
