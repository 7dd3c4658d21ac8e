"""Models that are larger than the memory of their process are refused before anything starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from anabranch.errors import SpecError
from anabranch.graph.compile.loading import open_graph

KIB = 2**10
URI = "https://host/fruit.onnx"


def model(name: str = "m.onnx", **fields: Any) -> dict[str, Any]:
    return {"type": "predictor", "runtime": "onnx", "model": name, "inputs": {"x": "x"}, **fields}


def spec(folder: Path, **nodes: Any) -> Path:
    graph = {
        "apiVersion": "anabranch/v1",
        "kind": "InferenceGraph",
        "metadata": {"name": "g"},
        "spec": {
            "inputs": {"x": {"datatype": "FP32", "shape": [-1]}},
            "nodes": nodes,
            "outputs": {name: name for name in nodes},
        },
    }
    (folder / "graph.yaml").write_text(yaml.safe_dump(graph))
    (folder / "m.onnx").write_bytes(bytes(96 * KIB))
    return folder / "graph.yaml"


def problems(path: Path) -> list[str]:
    try:
        open_graph(path)
    except SpecError as error:
        return [problem.message for problem in error.problems]
    return []


def test_a_model_that_is_larger_than_its_node_s_memory(tmp_path: Path) -> None:
    assert problems(spec(tmp_path, a=model(resources={"memory": "96KiB"}))) == []
    path = spec(tmp_path, a=model(resources={"memory": "95KiB"}))
    with pytest.raises(SpecError) as caught:
        open_graph(path)
    (problem,) = caught.value.problems
    assert problem.path == ("spec", "nodes", "a", "resources", "memory")
    assert problem.message.startswith("m.onnx has 96KiB, more than the 95KiB that 'a' may take")
    assert problem.position is not None


def test_models_of_one_process_count_together(tmp_path: Path) -> None:
    small = {"memory": "90KiB"}
    other = model(resources={"memory": "60KiB"}, placement={"with": "a"})
    (message,) = problems(spec(tmp_path, a=model(resources=small), b=other))
    assert "m.onnx, m.onnx have 192KiB, more than the 150KiB that the process of a, b" in message
    assert problems(spec(tmp_path, a=model(resources={"memory": "140KiB"}), b=other)) == []


@pytest.mark.parametrize(
    "node",
    [
        model(),
        model(resources={"cpu": 1}),
        model(resources={"memory": "1KiB", "gpu": 1}),
        model("missing.onnx", resources={"memory": "1KiB"}),
        model(URI, resources={"memory": "1KiB"}),
        model("s3://bucket/a.onnx", resources={"memory": "1KiB"}),
        model("folder", resources={"memory": "1KiB"}),
        model("{model}.onnx", multiplex={}, resources={"memory": "1KiB"}),
    ],
)
def test_what_has_no_budget_or_no_known_size(tmp_path: Path, node: dict[str, Any]) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "m.onnx").write_bytes(bytes(96 * KIB))
    assert problems(spec(tmp_path, a=node)) == []


def test_a_model_that_the_bundle_has_brought_along(tmp_path: Path) -> None:
    artefact = {"name": "fruit.onnx", "sha256": "0" * 64, "size": 3 * 2**20}
    manifest = {"spec": "graph.yaml", "artefacts": {URI: artefact}}
    (tmp_path / "anabranch.json").write_text(json.dumps(manifest))
    (message,) = problems(spec(tmp_path, a=model(URI, resources={"memory": "2MiB"})))
    assert message.startswith(f"{URI} has 3.0MiB, more than the 2MiB that 'a' may take")
    assert problems(spec(tmp_path, a=model(URI, resources={"memory": "4MiB"}))) == []
