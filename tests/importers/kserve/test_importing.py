"""Imports of several manifests that belong together, and the manifests of the guide."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from anabranch.importers.importing import import_source
from tests.importers.kserve.manifests import imported, inference_graph, node
from tests.project.snippets import ROOT, blocks

GUIDE = ROOT / "docs" / "switching" / "kserve.md"
BLOCKS = [one.text for one in blocks(GUIDE) if one.kind == "yaml"]
PAIRS = [
    (manifest, yaml.safe_load(graph))
    for manifest, graph in pairwise(BLOCKS)
    if "serving.kserve.io" in manifest
]


def test_the_guide_has_manifests() -> None:
    assert len(PAIRS) == 2
    assert len(BLOCKS) == 2 * len(PAIRS)


@pytest.mark.parametrize(("manifest", "graph"), PAIRS)
def test_a_manifest_of_the_guide_becomes_the_graph_below_it(manifest: str, graph: Any) -> None:
    (found,) = import_source(Path("-"), manifest.encode())
    assert found.spec == graph


@pytest.mark.parametrize(
    ("mode", "spec", "host"),
    [
        ("", {}, "a"),
        ("Knative", {}, "a"),
        ("Standard", {}, "a-predictor"),
        ("RawDeployment", {"transformer": {"containers": [{"image": "i"}]}}, "a-transformer"),
    ],
)
def test_the_host_of_a_service_depends_on_the_mode(mode: str, spec: Any, host: str) -> None:
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "a", "annotations": {"serving.kserve.io/deploymentMode": mode}},
        "spec": {"predictor": {"lightgbm": {"storageUri": "gs://b/m"}}, **spec},
    }
    graph = inference_graph({"root": node("Sequence", {"serviceName": "a"})})
    (found,) = [one for one in imported(service, graph) if one.name == "g"]
    url = found.spec["spec"]["nodes"]["root_0"]["args"]["url"]
    assert url == f"http://{host}.default.svc.cluster.local/v1/models/a:predict"


def test_a_graph_and_its_services_are_graphs_in_folders_of_their_own() -> None:
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "a"},
        "spec": {"predictor": {"lightgbm": {"storageUri": "gs://b/m"}}},
    }
    graph = inference_graph({"root": node("Sequence", {"serviceName": "a"})})
    found = imported(service, graph)
    assert {one.folder: one.steps[0] for one in found} == {
        "a": "anabranch deploy a/graph.yaml",
        "g": "anabranch deploy g/graph.yaml",
    }
