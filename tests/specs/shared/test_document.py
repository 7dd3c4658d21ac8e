"""Documents of shared models: the graphs that they stand for, and their mistakes."""

from __future__ import annotations

from typing import Any

import pytest

from anabranch.errors import SpecError
from anabranch.graph.compile.loading import Loaded, load_text
from anabranch.specs.checks import check
from anabranch.specs.loader import parse
from anabranch.specs.models import ModelWatch, Predictor

MODEL = """\
apiVersion: anabranch/v1
kind: Model
metadata: {name: fraud}
spec:
  runtime: sklearn
  model: fraud.joblib
  sha256: DIGEST
  inputs: {x: {datatype: FP32, shape: [-1, 2]}}
  outputs: {output: {datatype: FP32, shape: [-1]}}
  batching: {max_size: 8}
  scaling: {replicas: 2}
  resources: {cpu: 2}
  traffic: {sticky: {header: x-user}}
  rollout: {steps: [10, 50], hold: 10s}
  protocols: [v1]
""".replace("DIGEST", "0" * 64)


def loaded(text: str) -> Loaded:
    return load_text(text, "f")


def said(text: str) -> list[str]:
    try:
        loaded(text)
    except SpecError as error:
        return str(error).splitlines()
    return []


def test_a_document_stands_for_a_graph_of_one_node_in_its_own_process() -> None:
    found = loaded(MODEL)
    plan = found.plan
    assert plan.is_model
    assert [(part.name, part.nodes) for part in plan.segments] == [
        ("head", ()),
        ("model", ("model",)),
    ]
    assert plan.segment("model").scaling == found.graph.spec.nodes["model"].scaling
    assert {name: str(ref) for name, ref in plan.outputs.items()} == {"output": "model.output"}
    assert found.graph.spec.rollout is not None
    assert plan.protocols == ("v1",)


def test_a_document_has_the_cache_and_the_watch_of_its_node() -> None:
    text = MODEL.replace("  model: fraud.joblib\n", "  model: models:/fraud@champion\n").replace(
        f"  sha256: {'0' * 64}\n", "  watch: {every: 5s}\n  deterministic: true\n"
    )
    node = loaded(text + "  cache: {ttl: 60s}\n").graph.spec.nodes["model"]
    assert isinstance(node, Predictor)
    assert isinstance(node.watch, ModelWatch)
    assert node.cache is not None


def test_a_document_without_outputs_has_one() -> None:
    lines = [line for line in MODEL.splitlines() if "outputs:" not in line]
    assert list(loaded("\n".join(lines)).plan.outputs) == ["output"]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("runtime: sklearn", "runtime: sklaern", "f:5:3: spec.runtime: unknown predictor runtime"),
        ("  runtime: sklearn\n", "", "f:4:1: spec: needs either `component`, your class, or"),
        ("batching: {max_size: 8}", "batching: {max: 8}", "f:10:14: spec.batching.max: unknown"),
        ("scaling: {replicas: 2}", "on_error: skip", "f:11:3: spec.on_error: unknown field"),
        ("scaling: {replicas: 2}", "retries: 2", "f:11:3: spec.retries: needs `idempotent: true`"),
        ("x: {datatype", "model: {datatype", "f:8:12: spec.inputs.model: no input can be called"),
        ("fraud.joblib", "shared://other", "f:6:3: spec.model: is a shared model already"),
        ("sticky: {header", "stickie: {header", "f:13:13: spec.traffic.stickie: unknown field"),
        ("resources: {cpu: 2}", "resources: {gpu: 1.5}", "f:12:15: spec.resources.gpu: model asks"),
    ],
)  # fmt: skip
def test_mistakes_are_told_where_they_are_written(before: str, after: str, expected: str) -> None:
    found = said(MODEL.replace(before, after))
    assert any(line.startswith(expected) for line in found), found


def test_data_that_are_nothing_like_a_document_are_refused() -> None:
    for text in ("kind: Model", "{kind: Model, spec: 1}", "{kind: Model, spec: {inputs: []}}"):
        checked = check(parse(text))
        assert checked.graph is None
        assert checked.problems


def test_what_is_written_stays_a_model() -> None:
    data: Any = parse(MODEL).data
    assert loaded(MODEL).plan.is_model
    assert data["kind"] == "Model"
