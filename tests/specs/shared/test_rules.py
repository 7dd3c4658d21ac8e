"""Nodes that use shared models: references, and what belongs to the models themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.errors import SpecError
from anabranch.graph.compile.draft import KnownModels
from anabranch.graph.compile.loading import load_text
from anabranch.graph.plan.plan import Signature
from anabranch.specs.models import InputSpec, TensorSpec
from anabranch.specs.shared.reference import SharedReference
from tests.examples import examples

GRAPH = """\
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: pay}
spec:
  inputs: {x: {datatype: FP32, shape: [-1, 2]}}
  nodes:
    scorer: {type: predictor, model: "shared://fraud", inputs: {x: x}}
  outputs: {y: scorer}
"""
NAMES = st.from_regex(
    r"[a-z]([-a-z0-9]{0,8}[a-z0-9])?(/[a-z]([-a-z0-9]{0,8}[a-z0-9])?)?", fullmatch=True
)


def said(text: str, models: KnownModels | None = None) -> str:
    with pytest.raises(SpecError) as raised:
        load_text(text, "f", models=models)
    return str(raised.value)


@given(NAMES, st.none() | st.integers(1, 10**9 - 1))
@settings(max_examples=examples(200))
def test_references_are_read_back(name: str, revision: int | None) -> None:
    reference = SharedReference(name, revision)
    assert SharedReference.parse(str(reference)) == reference


@pytest.mark.parametrize("text", ["fraud@0", "fraud@", "Fraud", "a/b/c", "", "fraud@r3", "a b"])
def test_texts_that_are_no_references_are_refused(text: str) -> None:
    assert SharedReference.parse(f"shared://{text}") is None
    found = said(GRAPH.replace("shared://fraud", f"shared://{text}"))
    assert "f:7:31: spec.nodes.scorer.model: is no reference to a shared model" in found


@pytest.mark.parametrize(
    "field",
    [
        "runtime: sklearn", "component: 'a.py:B'", "resources: {cpu: 1}", "scaling: {min: 1}",
        "batching: {max_size: 4}", "placement: {isolate: true}", "method: predict",
        "env: {A: b}", "args: {a: 1}", "multiplex: {}", "quorum: 1",
    ],
)  # fmt: skip
def test_what_says_how_a_model_runs_belongs_to_the_model(field: str) -> None:
    found = said(GRAPH.replace("inputs: {x: x}", f"inputs: {{x: x}}, {field}"))
    name = field.partition(":")[0]
    assert f"spec.nodes.scorer.{name}: says how the model runs; it belongs in the document" in found
    assert "'fraud'" in found


def test_a_node_says_what_it_does_about_failures() -> None:
    fields = (
        "timeout: 1s, retries: 2, idempotent: true, outputs: {s: {datatype: FP32, shape: [-1]}}"
    )
    plan = load_text(GRAPH.replace("inputs: {x: x}", f"inputs: {{x: x}}, {fields}")).plan
    (part,) = plan.segments[1:]
    assert part.model == SharedReference("fraud")
    assert plan.own_segments == plan.segments[:1]
    assert plan.critical_path_hops == 1
    assert "needs `idempotent: true`" in said(GRAPH.replace("{x: x}", "{x: x}, retries: 2"))


def test_nothing_shares_a_process_with_a_shared_model() -> None:
    tied = "{type: transformer, method: softmax, inputs: {x: scorer}, placement: {with: scorer}}"
    text = GRAPH.replace("  outputs:", f"    next: {tied}\n  outputs:").replace(
        "y: scorer", "y: next"
    )
    assert "next cannot share a process with 'scorer', which is a shared model" in said(text)


class Known:
    """One shared model."""

    def __init__(self, found: Signature) -> None:
        self._found = found

    def signature(self, model: SharedReference) -> Signature:
        return self._found


FLOATS = TensorSpec(datatype="FP32", shape=(-1,))
SIGNATURE = Signature(
    {"x": InputSpec(datatype="FP32", shape=(-1, 2))}, {"score": FLOATS, "label": FLOATS}, 60.0
)


def test_a_graph_is_checked_against_the_models_that_are_known() -> None:
    assert "several outputs; name one of: scorer.label, scorer.score" in said(
        GRAPH, Known(SIGNATURE)
    )
    text = GRAPH.replace("y: scorer", "y: scorer.score")
    plan = load_text(text, models=Known(SIGNATURE)).plan
    assert plan.output_types == {"y": FLOATS}

    wide = replace(SIGNATURE, inputs={"x": InputSpec(datatype="FP32", shape=(-1, 3))})
    assert "inputs.x: shared://fraud takes FP32[-1, 3], but x is FP32[-1, 2]" in said(
        text, Known(wide)
    )
    more = replace(SIGNATURE, inputs={**SIGNATURE.inputs, "z": wide.inputs["x"]})
    assert "inputs: shared://fraud needs input 'z' FP32[-1, 3]" in said(text, Known(more))
    other = replace(SIGNATURE, inputs={"w": wide.inputs["x"]})
    assert "shared://fraud takes no input 'x'; it takes w FP32[-1, 3]" in said(text, Known(other))
    may_lack = replace(SIGNATURE, optional_outputs=frozenset({"label"}))
    assert "may leave out label; say so in `optional_outputs`" in said(text, Known(may_lack))


def test_explainers_may_call_a_shared_model_and_not_copy_it() -> None:
    explainer = "{type: explainer, method: METHOD, explains: scorer, data: s.npy, MORE}"
    text = GRAPH.replace("  outputs:", f"    why: {explainer}\n  outputs:")
    copied = text.replace("METHOD", "kernel_shap").replace("MORE", "colocate: true")
    assert "scorer is a shared model, of which no copy is made; remove `colocate`" in said(copied)
    inside = text.replace("METHOD", "tree_shap").replace(", MORE", "")
    assert "scorer is a shared model" in said(inside) or "cannot explain" in said(inside)
