"""TrainedModel: a model of an InferenceService that serves several, as a graph of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from anabranch.importers.fields import Source
from anabranch.importers.graph_names import graph_name
from anabranch.importers.kserve.addresses import namespace_of, protocol_of
from anabranch.importers.kserve.graphs.reading import check_name
from anabranch.importers.kserve.metadata import import_metadata
from anabranch.importers.kserve.services.model import ServedModel
from anabranch.importers.kserve.services.predictors import FRAMEWORKS, Runtimes, model_node
from anabranch.importers.manifests import Manifest
from anabranch.importers.result import ImportedGraph, document

KIND = "TrainedModel"


def parents(models: Iterable[Manifest]) -> set[str]:
    """Return the names of the InferenceServices that TrainedModels belong to."""
    return {_parent(one) for one in models}


def import_trained_model(
    source: Source, services: Mapping[str, Manifest], runtimes: Runtimes
) -> list[ImportedGraph]:
    """Return the graph of a TrainedModel; none where it has mistakes.

    Its clients name it in place of the service: ``/v1/models/<trained model>:predict``.
    """
    root = source.fields()
    manifest = source.manifest
    check_name(root, KIND)
    labels = import_metadata(root)
    spec = root.within("spec")
    parent = spec.required("inferenceService")
    model = spec.within("model")
    framework = model.required("framework")
    model.required("storageUri")
    model.leave_out({"memory": "of its server; `resources.memory` of the node is for a model"})
    found = services.get(parent)
    if found is None:
        spec.to_do(f"the InferenceService {parent} is not part of this import: its settings, such "
                   "as `scaling` and `resources`, are missing", "inferenceService")  # fmt: skip
    else:
        said = f"{parent}, of whose server nothing is needed but its protocol"
        spec.reworded(said, "inferenceService")
    model.reworded("`runtime` of the node, or the server that goes on", "framework")
    protocol = _protocol(found, framework)
    served = ServedModel(manifest.name, namespace_of(manifest), framework, model, protocol, spec)
    made = model_node(served)
    spec.finish()
    root.finish()
    if source.problems:
        return []
    tensors = made.tensors
    node = {**made.node, "inputs": {tensors.parameter: next(iter(tensors.inputs))}}
    if made.is_remote and found is not None:
        node["args"] = {**node["args"], "url": replace(served, service=parent).url}
    outputs = tensors.sources("predictor")
    graph = {"inputs": tensors.inputs, "nodes": {"predictor": node}, "outputs": outputs} | (
        {"protocols": list(tensors.protocols)} if tensors.protocols else {}
    )
    whole = document(graph_name(manifest.name, manifest.namespace), graph, labels)
    steps = ("anabranch deploy graph.yaml",)
    return [ImportedGraph(whole, f"{KIND} {manifest.name}", notes=source.notes.found, steps=steps)]


def _parent(manifest: Manifest) -> str:
    spec = manifest.data.get("spec")
    found = spec.get("inferenceService") if isinstance(spec, Mapping) else None
    return found if isinstance(found, str) else ""


def _protocol(service: Manifest | None, framework: str) -> str:
    spec = service.data.get("spec") if service is not None else None
    predictor = spec.get("predictor") if isinstance(spec, Mapping) else None
    for key in (*FRAMEWORKS, "model"):
        fields = predictor.get(key) if isinstance(predictor, Mapping) else None
        if isinstance(fields, Mapping):
            return protocol_of(key, fields)
    return protocol_of(framework, {})
