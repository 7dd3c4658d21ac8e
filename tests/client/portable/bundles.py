"""Portable bundles that tests make of parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from anabranch.client.bundle.packing import digest
from anabranch.client.portable.bundle import BundleManifest
from anabranch.client.portable.making import (
    Artefacts,
    BundleDraft,
    artefact_of,
    assemble,
    with_manifest,
)

SPEC = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: fruit}
spec:
  inputs: {x: {datatype: FP32, shape: [-1, 4]}}
  nodes:
    tree: {type: predictor, runtime: onnx, model: "https://host/fruit.onnx", inputs: {x: x}}
  outputs: {label: tree}
"""
MODEL = b"the bytes of a model"
URI = "https://host/fruit.onnx"


def artefacts(folder: Path, contents: Mapping[str, Path]) -> Artefacts:
    """Return files or folders as artefacts by URI; tars of folders go to ``folder``."""
    folder.mkdir(exist_ok=True)
    found = {uri: artefact_of(path, folder / f"{path.name}.tar") for uri, path in contents.items()}
    return Artefacts(
        {uri: one for uri, (one, _) in found.items()},
        {one.sha256: path for one, path in found.values()},
    )


def drafted(folder: Path, files: Mapping[str, bytes] | None = None) -> BundleDraft:
    """Return a bundle of a spec and a model by URI, which lies in ``folder``."""
    folder.mkdir(exist_ok=True)
    (folder / "fruit.onnx").write_bytes(MODEL)
    models = artefacts(folder / "packed", {URI: folder / "fruit.onnx"})
    return of_parts({"graph.yaml": SPEC.encode(), **(files or {})}, models)


def of_parts(files: Mapping[str, bytes], models: Artefacts, version: str = "1.2.0") -> BundleDraft:
    """Return a bundle of files, among them ``graph.yaml``, and models by URI."""
    code = with_manifest(files, "graph.yaml", models)
    manifest = BundleManifest(
        "fruit", "graph.yaml", digest(code), models.by_uri, "0.1.0", "anabranch/v1", version
    )
    return assemble(code, manifest, models, {})
