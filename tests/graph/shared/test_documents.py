"""Graphs are compiled against the documents of shared models beside their specs."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.errors import SpecError
from anabranch.graph.compile.loading import Loaded, open_graph
from anabranch.graph.shared.documents import DocumentedModels

MODEL = """
apiVersion: anabranch/v1
kind: Model
metadata: {name: sum}
spec:
  component: parts.py:Sum
  inputs: {x: {datatype: FP32, shape: [-1, 2]}}
  outputs: {y: {datatype: FP32, shape: [-1]}}
"""
GRAPH = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: g}
spec:
  inputs: {x: {datatype: TYPE, shape: [-1, 2]}}
  nodes:
    one: {type: predictor, model: "shared://NAME", inputs: {x: x}}
  outputs: {y: one.y}
"""


def opened(folder: Path, name: str = "sum", datatype: str = "FP32", model: str = MODEL) -> Loaded:
    (folder / "model.yaml").write_text(model)
    (folder / "graph.yaml").write_text(GRAPH.replace("NAME", name).replace("TYPE", datatype))
    return open_graph(folder / "graph.yaml", models=DocumentedModels(folder))


def test_the_types_of_outputs_are_those_of_the_document(tmp_path: Path) -> None:
    assert str(opened(tmp_path).plan.output_types["y"]) == "FP32[-1]"


def test_a_graph_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"shared://sum takes FP32\[-1, 2\], but x is FP64"):
        opened(tmp_path, datatype="FP64")


@pytest.mark.parametrize(
    ("name", "model"), [("other", MODEL), ("sum@3", MODEL), ("sum", MODEL + "  runtim: onnx\n")]
)
def test_what_is_not_known_is_taken_for_right(tmp_path: Path, name: str, model: str) -> None:
    assert opened(tmp_path, name, "FP64", model).plan.output_types["y"] is None
