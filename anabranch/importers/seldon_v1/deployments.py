"""From ``SeldonDeployment`` to graphs: a revision for each predictor, all of them of one graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from anabranch.errors import Problem, SpecError
from anabranch.importers.fields import Fields, Source
from anabranch.importers.graph_names import folder_name, graph_name
from anabranch.importers.manifests import WRITTEN_BY_CLUSTERS, Manifest
from anabranch.importers.result import ImportedGraph, document
from anabranch.importers.revisions import revision_notes
from anabranch.importers.seldon_v1.annotations import SERVICE_NAME, note_annotations
from anabranch.importers.seldon_v1.pods.scaling import note_replicas
from anabranch.importers.seldon_v1.predictors import Deployment, import_predictor
from anabranch.importers.seldon_v1.traffic import (
    check_shares,
    in_order,
    note_share,
    read_share,
    steps,
)
from anabranch.names import DEFAULT_NAMESPACE
from anabranch.specs.excerpts import clean, hint, shown
from anabranch.specs.loader import MAX_DEPTH

GROUP, KIND = "machinelearning.seldon.io", "SeldonDeployment"
VERSIONS = ("v1", "v1alpha2", "v1alpha3")
_PROTOCOLS = ("seldon", "tensorflow", "kfserving", "v2")
_DOORS = {"seldon": "seldon", "tensorflow": "v1"}
"""The graph's protocol for that of a deployment; the Open Inference Protocol needs none."""
_KAFKA = ("KAFKA_BROKER", "KAFKA_INPUT_TOPIC", "KAFKA_OUTPUT_TOPIC")
_LABEL, _VALUE = 63, 253
"""Longest key and value of a graph's label."""


def import_deployments(manifests: Sequence[Manifest]) -> list[ImportedGraph]:
    """Return the graphs of ``SeldonDeployment`` manifests; raise SpecError for their mistakes."""
    problems: list[Problem] = []
    graphs: list[ImportedGraph] = []
    for manifest in manifests:
        source = Source.of(manifest)
        graphs += _graphs(source.fields())
        problems += source.problems
    if problems:
        raise SpecError(dict.fromkeys(problems))
    return graphs


def _graphs(root: Fields) -> list[ImportedGraph]:
    _note_version(root)
    metadata = root.within("metadata")
    name = _name(metadata)
    spec = root.within("spec")
    if not spec.has("predictors"):
        spec.mistake("needs at least one predictor", "predictors")
    deployment = _deployment(root, spec)
    labels = _labels(metadata)
    labels |= _labels_of(spec, note_annotations(spec))
    predictors = spec.each("predictors")
    names = _names(predictors)
    shares = [read_share(one, own) for one, own in zip(predictors, names, strict=True)]
    check_shares(spec, shares)
    note_replicas(spec, "replicas of each graph, where no predictor and no pod has its own")
    _note_spec(root, spec, predictors)
    if not shares:
        return []
    ordered = in_order(shares)
    folders = ["", *[share.name for share in ordered[1:]]]
    commands = steps(name, ordered, folders)
    title = f"{KIND} {root.source.manifest.name or name}"
    made = []
    for share, folder, run in zip(ordered, folders, commands, strict=True):
        note_share(share, share is ordered[0])
        own = {**labels, **_labels_of(share.fields, note_annotations(share.fields))}
        imported = import_predictor(deployment, share.fields, title)
        share.fields.finish()
        document = _document(name, own, deployment.protocol, imported.spec)
        said = title if len(ordered) == 1 else f"{title}, predictor {share.name}"
        made.append(ImportedGraph(document, said, folder, imported.files, (), run))
    root.finish(("metadata", "spec", "status"))
    places = [share.fields.path for share in ordered]
    return [
        replace(graph, notes=revision_notes(root.source, places, number))
        for number, graph in enumerate(made)
    ]


def _document(name: str, labels: dict[str, str], protocol: str, spec: dict[str, Any]) -> Any:
    door = _DOORS.get(protocol or "seldon")
    protocols = {"protocols": [door]} if door else {}
    return document(name, {**spec, **protocols}, labels)


def _note_version(root: Fields) -> None:
    version = root.source.manifest.api_version.rpartition("/")[2]
    root.asked |= {"apiVersion", "kind"}
    if version not in VERSIONS:
        said = f"{shown(version)} is no version of {KIND}{hint(version, VERSIONS)}"
        root.mistake(said, "apiVersion")
    root.reworded("`anabranch/v1`", "apiVersion")
    root.reworded("`InferenceGraph`", "kind")
    root.leave_out({"status": "the cluster's own: `anabranch status` has that of the engine"})


def _name(metadata: Fields) -> str:
    name, namespace = metadata.required("name"), metadata.text("namespace")
    ours = graph_name(name, namespace)
    plain = name if namespace in ("", DEFAULT_NAMESPACE) else f"{namespace}/{name}"
    if ours == plain:
        metadata.same(f"the graph `{ours}`", "name")
    else:
        metadata.to_do(f"the graph is called `{ours}`: clients ask for that name", "name")
    if metadata.has("namespace"):
        metadata.same(f"part of the graph's name `{ours}`", "namespace")
    for key in WRITTEN_BY_CLUSTERS:
        if key in metadata.data:
            metadata.asked.add(key)
            metadata.reworded("kept by Kubernetes; the engine has revisions and events", key)
    metadata.leave_out({"generateName": "a graph has the name that is written"})
    return ours


def _labels(metadata: Fields) -> dict[str, str]:
    found = _labels_of(metadata, note_annotations(metadata))
    metadata.finish()
    return found


def _labels_of(owner: Fields, annotations: Mapping[str, str]) -> dict[str, str]:
    """Return labels, and annotations of the user's own, that a graph's labels can hold."""
    labels = {}
    for key, pairs in (("annotations", annotations), ("labels", _own_labels(owner))):
        for name, value in pairs.items():
            if name and len(name) <= _LABEL and len(value) <= _VALUE:
                labels[name] = value
                owner.same(f"label `{clean(name)}` of the graph", key, name)
            else:
                said = f"a label has at most {_LABEL} characters, its value {_VALUE}"
                owner.left_out(said, key, name)
    return labels


def _own_labels(owner: Fields) -> dict[str, str]:
    """Return ``labels``, which the spec of a deployment has none of."""
    return {} if owner.path == ("spec",) else owner.texts("labels")


def _deployment(root: Fields, spec: Fields) -> Deployment:
    protocol = spec.choice("protocol", _PROTOCOLS)
    transport = spec.choice("transport", ("rest", "grpc"))
    return Deployment(root, spec, protocol, transport)


def _names(predictors: Sequence[Fields]) -> list[str]:
    """Return the names of predictors, which are those of folders too."""
    names: list[str] = []
    for predictor in predictors:
        name = predictor.required("name")
        if name and name in names:
            predictor.mistake(f"another predictor is called {shown(name)}", "name")
        if not predictor.has("graph"):
            predictor.mistake("is required", "graph")
        predictor.reworded("the revision's folder and title", "name")
        names.append(folder_name(name, names))
    return names


def _note_spec(root: Fields, spec: Fields, predictors: Sequence[Fields]) -> None:
    if spec.has("protocol"):
        door = _DOORS.get(spec.text("protocol"))
        said = f"`protocols: [{door}]`" if door else "the Open Inference Protocol, at /v2"
        spec.reworded(said, "protocol")
    if spec.has("name"):
        spec.asked.add("name")
        spec.reworded("Seldon reads it no more; the graph's name is that in `metadata`", "name")
    if spec.has("transport"):
        spec.reworded("graphs answer over HTTP and gRPC", "transport")
    if spec.choice("serverType", ("rpc", "kafka")) == "kafka":
        spec.left_out("graphs answer requests; no topic of Kafka is read", "serverType")
        _check_kafka(predictors)
    elif spec.has("serverType"):
        spec.same("graphs answer requests", "serverType")
    spec.leave_out(
        {
            "oauth_key": "`anabranch keys create` makes keys, which roles allow to ask",
            "oauth_secret": "`anabranch keys create` makes keys, which roles allow to ask",
        }
    )
    _check_service_names(predictors)
    _check_transports(spec, predictors)
    spec.finish(("serverType",))


def _check_kafka(predictors: Sequence[Fields]) -> None:
    for predictor in predictors:
        given = {entry.text("name") for entry in predictor.within("svcOrchSpec").each("env")}
        missing = [name for name in _KAFKA if name not in given]
        if missing:
            said = f"a deployment of the type kafka needs {', '.join(missing)}"
            predictor.mistake(said, "svcOrchSpec")


def _check_service_names(predictors: Sequence[Fields]) -> None:
    seen = set()
    for predictor in predictors:
        name = predictor.within("annotations").data.get(SERVICE_NAME)
        if name is not None and str(name) in seen:
            said = f"another predictor has the service name {shown(name)}"
            predictor.mistake(said, "annotations", SERVICE_NAME)
        seen.add(str(name))


def _check_transports(spec: Fields, predictors: Sequence[Fields]) -> None:
    """All endpoints of a deployment have one type, that of ``transport`` if there is one."""
    types = {str(kind) for one in predictors for kind in _endpoint_types(one.data.get("graph"), 0)}
    transport = str(spec.data.get("transport") or "").upper()
    if len(types) > 1:
        named = ", ".join(sorted(map(clean, types)))
        said = f"endpoints have {len(types)} types ({named}): all need one"
        spec.mistake(said, "predictors")
    elif types and transport and types != {transport}:
        said = f"endpoints have the type {clean(types.pop())}, which is not that of the transport"
        spec.mistake(said, "transport")


def _endpoint_types(unit: Any, depth: int) -> Iterator[Any]:
    if not isinstance(unit, Mapping) or depth > MAX_DEPTH:
        return
    endpoint = unit.get("endpoint")
    if isinstance(endpoint, Mapping) and endpoint.get("type"):
        yield endpoint["type"]
    children = unit.get("children")
    for child in children if isinstance(children, list) else ():
        yield from _endpoint_types(child, depth + 1)
