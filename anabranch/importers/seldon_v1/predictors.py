"""From a predictor to the spec of a graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from anabranch.components import registry
from anabranch.importers.fields import Fields
from anabranch.importers.graph_names import node_name
from anabranch.importers.seldon_v1.annotations import (
    NO_ENGINE,
    SEPARATE_ENGINE,
    call_timeout,
    is_true,
)
from anabranch.importers.seldon_v1.explaining import explainer_node
from anabranch.importers.seldon_v1.logs import request_log
from anabranch.importers.seldon_v1.orchestrator import note_orchestrator
from anabranch.importers.seldon_v1.pods.componentspecs import Pods, read_pods
from anabranch.importers.seldon_v1.pods.containers import Container
from anabranch.importers.seldon_v1.pods.scaling import fixed, note_replicas
from anabranch.importers.seldon_v1.processes import settings_of, tie
from anabranch.importers.seldon_v1.servers.calls import Calls, check_implementation
from anabranch.importers.seldon_v1.servers.endpoints import note_endpoint
from anabranch.importers.seldon_v1.servers.payloads import payload
from anabranch.importers.seldon_v1.servers.prepackaged import OWN_IMAGES, SERVERS
from anabranch.importers.seldon_v1.units.flattening import PARAMETER, Flattening, NodeFields
from anabranch.importers.seldon_v1.units.tree import BUILTINS, PredictiveUnit, read_units
from anabranch.specs.excerpts import quoted_all

_DEFAULT_TIMEOUT = 60_000
"""Longest time of a request where the spec has no ``timeout``, in milliseconds."""
_TREES = ("sklearn", "xgboost")
_OF_MODEL = ("modelUri", "serviceAccountName", "envSecretRefName", "storageInitializerImage")
_NO_MODEL = "no file is fetched for it: its code loads the model"
_OF_UNIT = (
    "name", "children", "type", "implementation", "methods", "endpoint", "parameters", "logger",
    *_OF_MODEL,
)  # fmt: skip


@dataclass(frozen=True)
class Deployment:
    """What holds for all predictors of a deployment."""

    root: Fields
    spec: Fields
    protocol: str
    transport: str


@dataclass
class Imported:
    """A predictor as ``spec``, and the files beside it."""

    spec: dict[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)


def import_predictor(deployment: Deployment, fields: Fields, title: str) -> Imported:
    """Return the spec of a predictor; mistakes are kept in the fields' source."""
    root = read_units(fields.within("graph"))
    separate = _has_separate_engine(deployment, fields, root)
    pods = read_pods(fields, deployment.spec, separate)
    timeout = call_timeout(_annotated(deployment, fields), deployment.transport)
    calls = _calls(deployment, root, pods)
    spec = _tree(deployment, fields, root, calls, timeout)
    _add(spec, "timeout", _total(root, timeout))
    _add(spec, "scaling", pods.engine or fixed(fields) or fixed(deployment.spec))
    _add(spec, "telemetry", _telemetry(fields, root, separate))
    _note_predictor(fields)
    return Imported(spec, calls.images.files(title))


def _calls(deployment: Deployment, root: PredictiveUnit, pods: Pods) -> Calls:
    units = list(root.walk())
    calls = Calls(deployment.protocol, pods.containers, len(units) == 1)
    for unit in units:
        check_implementation(unit, pods.containers)
        _note_unit(unit, calls)
    calls.settings = settings_of(units, calls, pods)
    return calls


def _tree(
    deployment: Deployment,
    fields: Fields,
    root: PredictiveUnit,
    calls: Calls,
    timeout: int | None,
) -> dict[str, Any]:
    """Return ``inputs``, ``nodes`` and ``outputs`` of a predictor's tree."""
    shape = payload(root, deployment.protocol, fields.within("explainer").text("type"))
    root.fields.reworded(shape.text)
    name = node_name(shape.name, [node_name(unit.name, ()) for unit in root.walk()])
    flattening = Flattening(calls)
    flattening.taken.add(name)
    answer = flattening.result(root, name)
    tie(flattening)
    _limit(flattening.nodes, timeout)
    _note_names(root, flattening)
    return {
        "inputs": {name: shape.tensor},
        "nodes": flattening.nodes | _explainers(fields, flattening.nodes, flattening.taken),
        "outputs": _outputs(shape.output, answer, flattening.nodes),
    }


def _telemetry(fields: Fields, root: PredictiveUnit, separate: bool) -> dict[str, Any]:
    log = request_log(root)
    return note_orchestrator(fields, separate) | ({"requests": log} if log else {})


def _outputs(name: str, answer: str, nodes: Mapping[str, NodeFields]) -> dict[str, str]:
    """Return the graph's outputs: one, or those of a runtime that has several, by their names."""
    node = nodes.get(answer, {})
    if "runtime" not in node:
        return {name: answer}
    kind = registry.get("predictor", node["runtime"])
    found = kind.infer({PARAMETER: None}, node.get("args", {})) or {}
    return {one: f"{answer}.{one}" for one in found} if len(found) > 1 else {name: answer}


def _add(spec: dict[str, Any], key: str, value: Any) -> None:
    if value:
        spec[key] = value


def _annotated(deployment: Deployment, fields: Fields) -> list[Fields]:
    return [fields, deployment.spec, deployment.root.within("metadata")]


def _has_separate_engine(deployment: Deployment, fields: Fields, root: PredictiveUnit) -> bool:
    owners = _annotated(deployment, fields)
    if NO_ENGINE in fields.within("annotations").data and root.children:
        said = "only a graph of one node can do without the engine"
        fields.mistake(said, "annotations", NO_ENGINE)
    is_true(owners, NO_ENGINE)
    return is_true(owners, SEPARATE_ENGINE)


def _note_unit(unit: PredictiveUnit, calls: Calls) -> None:
    """Note the fields of a unit that no other module has noted."""
    fields = unit.fields
    note_endpoint(unit)
    if unit.implementation in SERVERS:
        runtime = calls(unit, unit.before).fields.get("runtime")
        fields.same(f"`runtime: {runtime}`", "implementation")
        _note_own_image(unit, calls.containers.get(unit.name))
    elif unit.implementation and unit.implementation not in BUILTINS:
        fields.reworded("the code is that of the container's image", "implementation")
        fields.leave_out(dict.fromkeys(_OF_MODEL[1:], _NO_MODEL))
    if unit.implementation in ("", *BUILTINS):
        fields.leave_out(dict.fromkeys(_OF_MODEL, _NO_MODEL))
    fields.asked.add("logger")
    fields.finish(_OF_UNIT)


def _note_own_image(unit: PredictiveUnit, container: Container | None) -> None:
    if container is None or not container.image:
        return
    if container.image.startswith(OWN_IMAGES):
        container.fields.reworded(f"the image of {unit.implementation} itself", "image")
    else:
        said = f"`{container.image}` stands for Seldon's own server: install what it adds, in "
        container.fields.to_do(f"{said}`requirements.txt` beside the graph", "image")


def _limit(nodes: Mapping[str, NodeFields], timeout: int | None) -> None:
    """Give the nodes that Seldon calls over the network the longest time of a call."""
    for node in nodes.values():
        if timeout is not None and {"component", "runtime"} & set(node):
            node["timeout"] = f"{timeout}ms"


def _note_names(root: PredictiveUnit, flattening: Flattening) -> None:
    for unit in root.walk():
        names = flattening.of_unit.get(unit.name, ())
        said = f"node {quoted_all(names)}" if names else "no node"
        if list(names) == [unit.name]:
            unit.fields.same(said, "name")
        else:
            unit.fields.reworded(said, "name")


def _total(root: PredictiveUnit, timeout: int | None) -> str | None:
    """Return the longest time of a request, where the calls may take longer than by default."""
    if timeout is None or timeout * root.hops() <= _DEFAULT_TIMEOUT:
        return None
    return f"{timeout * root.hops()}ms"


def _explainers(
    fields: Fields, nodes: Mapping[str, NodeFields], taken: set[str]
) -> dict[str, NodeFields]:
    if not fields.has("explainer"):
        return {}
    only = next(iter(nodes)) if len(nodes) == 1 else None
    reads_trees = only is not None and nodes[only].get("runtime") in _TREES
    node = explainer_node(fields.within("explainer"), only, reads_trees)
    return {} if node is None else {node_name("explainer", taken): node}


def _note_predictor(fields: Fields) -> None:
    note_replicas(fields, "replicas of the graph, where no pod has its own")
    fields.leave_out(
        {
            "ssl": "TLS ends at the engine's edge: start it with ANABRANCH_TLS_CERT and _KEY",
            "progressDeadlineSeconds": "`anabranch deploy --timeout` is the longest wait",
            "engineResources": "routers share the machine; `scaling` says how many there are",
        }
    )
