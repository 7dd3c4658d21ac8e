"""Where a mistake has a known fix, its message says it."""

from __future__ import annotations

import pytest

from anabranch.errors import SpecError
from anabranch.graph.compile.loading import load_text

NODE = "type: predictor, component: 'parts.py:Net', inputs: {x: x}"
DOCUMENT = """\
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {{name: {name}}}
spec:
  inputs: {inputs}
  nodes: {{a: {{{node}}}, b: {{{other}}}}}
  outputs: {{y: a, z: b}}
  {rest}
"""


def document(
    name: str = "shop",
    inputs: str = "{x: {datatype: FP32, shape: [-1, 2]}, t: {datatype: BYTES, shape: [-1, 3]}}",
    node: str = NODE,
    other: str = NODE,
    rest: str = "",
) -> str:
    return DOCUMENT.format(name=name, inputs=inputs, node=node, other=other, rest=rest)


def refused(text: str, file: str = "f") -> list[str]:
    with pytest.raises(SpecError) as raised:
        load_text(text, file)
    return [str(problem) for problem in raised.value.problems]


def of(kind: str, version: str = "anabranch/v1") -> str:
    return f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {{}}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (of("SeldonDeployment", "machinelearning.seldon.io/v1"),
         "f: This is a Seldon Core spec. Convert it with `anabranch import FILE`."),
        (of("Pipeline", "mlops.seldon.io/v1alpha1"),
         "f: This is a Seldon Core spec. Convert it with `anabranch import FILE`."),
        (of("InferenceService", "serving.kserve.io/v1beta1"),
         "f: This is a KServe spec. Convert it with `anabranch import FILE`."),
        (of("ConfigMap", "v1"), "f: This is not an anabranch document (kind ConfigMap)."),
        (of("AccessPolicy"),
         "f:2:1: kind: AccessPolicy is no graph; apply it with `anabranch access set FILE`"),
        ("apiVersion: anabranch/v1\nkind: InferenceGraph\nmetadata: {name: x}\n"
         "inputs: {x: {datatype: FP32, shape: [1]}}\nnodes: {}\n",
         "f:4:1: inputs: put `inputs` and `nodes` under `spec:`"),
    ],
)  # fmt: skip
def test_what_is_no_graph_gets_one_message(text: str, said: str) -> None:
    (found,) = refused(text)
    assert found.replace("f:1:1:", "f:") == said


def test_a_configuration_of_triton_is_to_be_converted() -> None:
    (found,) = refused('name: "net"\nplatform: "onnxruntime_onnx"\n', "config.pbtxt")
    assert "Convert its folder with `anabranch import`." in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (document(node=f"{NODE}, resources: {{memory: 2Gi}}"), "did you mean 2GiB?"),
        (document(node=f"{NODE}, batching: {{max_size: 4, max_delay: 5 ms}}"),
         "did you mean 5ms?"),
        (document(node=f"{NODE}, resources: {{cpu: 500m}}"), "did you mean 0.5?"),
        (document(node=f"{NODE}, timeout: 30"), "did you mean 30s?"),
        (document(node=f"{NODE}, timeout: 2 minutes"), "did you mean 2m?"),
        (document(rest="traffic: {rules: [{when: 'headers[\"x\"] == \"1\"', to: stable}]}"),
         "write request.headers"),
        (document(rest="traffic: {rules: [{when: 'true', to: canary}]}"),
         "did you mean `candidate`?"),
        (document(node=f"{NODE}, retries: 2"),
         "needs `idempotent: true` (calling the node twice must be safe)"),
        (document(rest="cache: {ttl: 1m}"), "add `deterministic: true` if it does"),
        (document(node="type: combiner, strategy: concat, inputs: [x, x], quorum: 1"),
         "concat cannot skip inputs: give each input that may fail `on_error: {value: …}`"),
        (document(node=f"{NODE}, on_error: {{value: 0}}"),
         "e.g. `outputs: {output: {datatype: FP32, shape: [-1, 2]}}`"),
        (document(name="shop/infer"), "'infer' is reserved"),
        (document(name="Quick_Start"), "did you mean `quick-start`?"),
        (document(node="type: combiner, strategy: mean, inputs: [x, t]"), "shapes differ"),
        (document(node="type: combiner, strategy: mean, inputs: [x, t]"), "BYTES"),
        (document(node=f"{NODE}, batching: true"), "write `batching: {max_size: 32}`"),
        (document(node="type: predictor, component: 'parts.py:Net', inputs: fruit"),
         "write `inputs: {x: fruit}`"),
        (document(node="type: model, runtime: onnx, model: m.onnx, inputs: {x: x}"),
         "did you mean `predictor`?"),
        (document(node="type: ensemble, strategy: mean, inputs: [x]"), "did you mean `combiner`?"),
        (document(node="type: switch, strategy: weighted, routes: [b]"), "did you mean `router`?"),
        (document(node="type: preprocess, method: softmax, inputs: {x: x}"),
         "did you mean `transformer`?"),
        (document(node="type: combiner, strategy: average, inputs: [x]"), "did you mean 'mean'?"),
        (document(node="type: predictor, runtime: scikit-learn, model: m.skops, inputs: {x: x}"),
         "did you mean 'sklearn'?"),
        (document(inputs="{x: {datatype: float32, shape: [1]}}"), "did you mean `FP32`?"),
        (document(node="type: explainer, method: shap, explains: b"),
         "did you mean 'kernel_shap'?"),
        (document(node="type: predictor, runtime: sklearn, model: 'https://host/m.pkl', "
                       "inputs: {x: x}"),
         "add `sha256:` (run `curl -L https://host/m.pkl | sha256sum`)"),
        (document(rest="protocols: [v2]"),
         "`v2` is always on: it is the Open Inference Protocol; remove it"),
        (document(rest="rollout: {steps: [5, 101]}"), "step 2: must be at most 100, not 101"),
        (document(rest="scaling: {replicas: '2'}"), "remove the quotes"),
    ],
)  # fmt: skip
def test_the_fix_is_in_the_message(text: str, said: str) -> None:
    assert any(said in found for found in refused(text)), refused(text)


def test_an_empty_field_and_its_neighbour_get_one_message() -> None:
    text = document().replace(
        f"{{a: {{{NODE}}}, b: {{{NODE}}}}}",
        "\n    b: {type: transformer, method: softmax, inputs: {x: x}}\n    a:\n"
        "      type: transformer\n      method: softmax\n      inputs: {x: x}\n"
        "      resources:\n      cpu: 1",
    )
    assert refused(text) == [
        "f:12:7: spec.nodes.a.resources: is empty: `cpu` belongs under it; indent that deeper"
    ]


def test_a_process_that_a_path_leaves_names_the_node_between() -> None:
    text = document(
        node=f"{NODE}, resources: {{cpu: 1}}",
        other="type: transformer, method: softmax, inputs: {x: c}, placement: {with: a}",
    ).replace("b: {", f"c: {{{NODE.replace('x: x', 'x: a')}}}, b: {{", 1)
    (found,) = refused(text)
    assert found.endswith("give c `placement: {with: a}` too, or remove `with`")
