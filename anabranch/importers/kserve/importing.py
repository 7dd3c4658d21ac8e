"""From manifests of KServe to graphs: all of them together, for they refer to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anabranch.errors import Problem, SpecError
from anabranch.importers.fields import Source
from anabranch.importers.kserve.addresses import addresses
from anabranch.importers.kserve.graphs.importing import import_graph
from anabranch.importers.kserve.services.importing import import_service
from anabranch.importers.kserve.services.trained_models import import_trained_model, parents
from anabranch.importers.manifests import Manifest
from anabranch.importers.result import ImportedGraph

GROUP, OLD_GROUP = "serving.kserve.io", "serving.kubeflow.org"
GRAPH, SERVICE, TRAINED_MODEL = "InferenceGraph", "InferenceService", "TrainedModel"
RUNTIMES = ("ServingRuntime", "ClusterServingRuntime")
KINDS = (GRAPH, SERVICE, TRAINED_MODEL, *RUNTIMES)
"""Kinds that ``import_kserve`` reads."""

_CACHED = "is about copies of models on machines: the engine keeps copies of its own"
NO_GRAPHS: Mapping[str, str] = {
    "LLMInferenceService": "describes servers of a language model over many machines: keep it "
    "running, and call it by a node of the runtime `openai`",
    "LLMInferenceServiceConfig": "is a part of LLMInferenceServices, which stay where they are",
    "Predictor": "is ModelMesh's: write it as an InferenceService, with `modelType` as "
    "`predictor.model.modelFormat`, and `path` and the bucket as its `storageUri`",
    "ClusterStorageContainer": "says how KServe fetches models: the engine fetches them itself",
    "LocalModelCache": _CACHED,
    "LocalModelNamespaceCache": _CACHED,
    "LocalModelNode": _CACHED,
    "LocalModelNodeGroup": _CACHED,
}
"""Kinds that are no graphs, and the reason of each."""


def import_kserve(manifests: Sequence[Manifest]) -> list[ImportedGraph]:
    """Return the graphs of manifests of KServe; raise SpecError with all mistakes in them."""
    problems: list[Problem] = []
    found: list[ImportedGraph] = []
    known = addresses(manifests)
    runtimes = {one.name: one for one in manifests if one.kind in RUNTIMES}
    trained = [one for one in manifests if one.kind == TRAINED_MODEL]
    with_models = parents(trained)
    services = {one.name: one for one in manifests if one.kind == SERVICE}
    for manifest in manifests:
        source = Source.of(manifest)
        if manifest.kind == GRAPH:
            graph = import_graph(source, known)
            found += [graph] if graph is not None else []
        elif manifest.kind == SERVICE and manifest.name not in with_models:
            found += import_service(source, runtimes)
        elif manifest.kind == TRAINED_MODEL:
            found += import_trained_model(source, services, runtimes)
        problems += source.problems
    if not found and not problems:
        said = (
            "describes a server of models, which the engine does not need; import the "
            f"{SERVICE} or {TRAINED_MODEL} that it serves"
        )
        problems = [one.problem(("kind",), f"{one.kind} {said}") for one in manifests]
    if problems:
        raise SpecError(dict.fromkeys(problems))
    return found
