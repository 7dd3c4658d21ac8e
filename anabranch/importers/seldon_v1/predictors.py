"""From a predictor to the spec of a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from anabranch.importers.seldon_v1.pods.componentspecs import WITH, Pods, read_pods
from anabranch.importers.seldon_v1.pods.containers import Container, node_settings, note_elsewhere
from anabranch.importers.seldon_v1.pods.scaling import fixed, note_replicas
from anabranch.importers.seldon_v1.servers.calls import Calls, check_implementation
from anabranch.importers.seldon_v1.servers.endpoints import note_endpoint
from anabranch.importers.seldon_v1.servers.payloads import payload
from anabranch.importers.seldon_v1.servers.prepackaged import SERVERS
from anabranch.importers.seldon_v1.units.flattening import PARAMETER, Flattening, NodeFields
from anabranch.importers.seldon_v1.units.tree import BUILTINS, PredictiveUnit, read_units
from anabranch.specs.excerpts import quoted_all

_DEFAULT_TIMEOUT = 60_000
"""Longest time of a request where the spec has no ``timeout``, in milliseconds."""
_TREES = ("sklearn", "xgboost")
_OF_MODEL = ("modelUri", "serviceAccountName", "envSecretRefName", "storageInitializerImage")
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
    units = list(root.walk())
    separate = _has_separate_engine(deployment, fields, units)
    pods = read_pods(fields, deployment.spec, separate)
    calls = Calls(deployment.protocol, pods.containers, len(units) == 1)
    for unit in units:
        check_implementation(unit, pods.containers)
        _note_unit(unit, calls)
    timeout = call_timeout(_annotated(deployment, fields), deployment.transport)
    calls.settings = _settings(units, calls, pods)
    shape = payload(root, deployment.protocol, fields.within("explainer").text("type"))
    flattening = Flattening(calls)
    name = node_name(shape.name, [node_name(unit.name, ()) for unit in units])
    flattening.taken.add(name)
    answer = flattening.result(root, name)
    nodes = _tied(flattening, timeout)
    _note_names(units, flattening)
    spec: dict[str, Any] = {
        "inputs": {name: shape.tensor},
        "nodes": nodes | _explainers(fields, nodes, flattening.taken),
        "outputs": _outputs(shape.output, answer, nodes),
    }
    root.fields.reworded(shape.text)
    _add(spec, "timeout", _total(root, timeout))
    _add(spec, "scaling", pods.engine or _engine(fields, deployment.spec))
    telemetry = note_orchestrator(fields, separate)
    log = request_log(root)
    _add(spec, "telemetry", telemetry | ({"requests": log} if log else {}))
    _note_predictor(fields)
    return Imported(spec, calls.images.files(title))


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


def _has_separate_engine(
    deployment: Deployment, fields: Fields, units: Sequence[PredictiveUnit]
) -> bool:
    owners = _annotated(deployment, fields)
    if NO_ENGINE in fields.within("annotations").data and len(units) > 1:
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
    if unit.implementation not in SERVERS:
        reason = "no file is fetched for it: its code loads the model"
        fields.leave_out(dict.fromkeys(_OF_MODEL, reason))
    fields.asked.add("logger")
    fields.finish(_OF_UNIT)


def _note_own_image(unit: PredictiveUnit, container: Container | None) -> None:
    if container is not None and container.image:
        said = f"`{container.image}` stands for Seldon's own server: install what it adds, in "
        container.fields.to_do(f"{said}`requirements.txt` beside the graph", "image")


def _settings(units: Sequence[PredictiveUnit], calls: Calls, pods: Pods) -> dict[str, NodeFields]:
    """Return the fields that the containers of units give their nodes."""
    found: dict[str, NodeFields] = {}
    named = {unit.name: unit for unit in units}
    for name, container in pods.containers.items():
        unit = named.get(name)
        if unit is None or (unit.implementation in BUILTINS):
            container.fields.left_out("is no node of the graph: run it beside the engine")
        elif calls.is_elsewhere(unit):
            note_elsewhere(container)
        else:
            found[name] = node_settings(container)
    pods.add_scaling(found, [unit for unit in units if not calls.is_elsewhere(unit)])
    return _apart(found)


def _apart(settings: dict[str, NodeFields]) -> dict[str, NodeFields]:
    """Give nodes a process of their own whose variables have other values in another node."""
    values: dict[str, set[str]] = {}
    for own in settings.values():
        for kind in ("env", "secrets"):
            for name, value in own.get(kind, {}).items():
                values.setdefault(name, set()).add(f"{kind}:{value}")
    for own in settings.values():
        names = [*own.get("env", {}), *own.get("secrets", {})]
        if any(len(values[name]) > 1 for name in names) and "placement" not in own:
            own["placement"] = {"isolate": True}
    return settings


def _tied(flattening: Flattening, timeout: int | None) -> dict[str, NodeFields]:
    """Return the nodes; all of a unit run in the process of its first, as in one container."""
    for names in flattening.of_unit.values():
        first = flattening.nodes[names[0]]
        tied = first.get("placement", {}).get(WITH)
        if tied is not None:
            first["placement"] = {WITH: flattening.of_unit[tied][0]}
        for name in names[1:]:
            node = flattening.nodes[name]
            if "component" in node and {"resources", "scaling", "placement"} & set(first):
                kept = {key: value for key, value in node.items() if key not in _OF_PROCESS}
                flattening.nodes[name] = kept | {"placement": {WITH: names[0]}}
    if timeout is not None:
        for node in flattening.nodes.values():
            if "component" in node or "runtime" in node:
                node["timeout"] = f"{timeout}ms"
    return flattening.nodes


def _note_names(units: Sequence[PredictiveUnit], flattening: Flattening) -> None:
    for unit in units:
        names = flattening.of_unit.get(unit.name, ())
        said = f"node {quoted_all(names)}" if names else "no node"
        if list(names) == [unit.name]:
            unit.fields.same(said, "name")
        else:
            unit.fields.reworded(said, "name")


_OF_PROCESS = ("resources", "scaling", "placement")


def _total(root: PredictiveUnit, timeout: int | None) -> str | None:
    """Return the longest time of a request, where the calls may take longer than by default."""
    if timeout is None or timeout * root.hops() <= _DEFAULT_TIMEOUT:
        return None
    return f"{timeout * root.hops()}ms"


def _engine(fields: Fields, spec: Fields) -> dict[str, Any] | None:
    return fixed(fields) or fixed(spec)


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
