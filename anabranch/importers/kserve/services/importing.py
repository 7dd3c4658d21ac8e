"""From the manifest of an InferenceService to graphs: the service's, and one for each canary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from anabranch.importers.fields import Fields, Source
from anabranch.importers.graph_names import folder_name, graph_name
from anabranch.importers.kserve.addresses import namespace_of
from anabranch.importers.kserve.graphs.reading import check_name
from anabranch.importers.kserve.metadata import import_metadata
from anabranch.importers.kserve.services.explainers import explainer_node, inputs_for
from anabranch.importers.kserve.services.extensions import (
    canary_percent,
    component_fields,
    request_log,
)
from anabranch.importers.kserve.services.model import ModelNode, Tensors
from anabranch.importers.kserve.services.predictors import (
    Runtimes,
    ServiceNames,
    model_node,
    read_model,
)
from anabranch.importers.kserve.services.storage import credentials
from anabranch.importers.kserve.services.transformers import TransformerNodes, transformer_nodes
from anabranch.importers.result import ImportedGraph, document
from anabranch.importers.revisions import RevisionShare, deploy_commands, revision_notes

KIND = "InferenceService"
PREDICTOR, BEFORE, AFTER, EXPLAINER = "predictor", "preprocess", "postprocess", "explainer"
_TIMEOUT = 60
"""Longest time of a request in seconds, where a graph says nothing."""


@dataclass(frozen=True)
class _Arm:
    """A predictor of a service: the stable one, or a canary with its share of the requests."""

    fields: Fields
    folder: str
    percent: int | None


def import_service(source: Source, runtimes: Runtimes) -> list[ImportedGraph]:
    """Return the graphs of a manifest; none where it has mistakes, which the source holds then."""
    root = source.fields()
    manifest = source.manifest
    check_name(root, KIND)
    labels = import_metadata(root)
    spec = root.within("spec")
    stable = spec.within("default") if "default" in spec.data else spec
    service = ServiceNames(manifest.name, namespace_of(manifest), runtimes)
    arms = _arms(spec, stable)
    around = transformer_nodes(stable.within("transformer"), manifest.name) if (
        "transformer" in stable.data
    ) else None  # fmt: skip
    log = _log(stable)
    explainer = explainer_node(stable.within("explainer")) if "explainer" in stable.data else None
    specs = [_spec(service, arm, around, explainer, log) for arm in arms]
    _finish(root, spec, stable)
    if source.problems:
        return []
    name = graph_name(manifest.name, manifest.namespace)
    title = f"{KIND} {manifest.name}"
    places = [arm.fields.path[:-1] for arm in arms]
    commands = _commands(name, arms)
    return [
        ImportedGraph(
            document(name, made[0], labels),
            title if arm is arms[0] else f"{title}, canary {arm.folder}",
            arm.folder,
            made[1],
            revision_notes(source, places, number),
            commands[number],
        )
        for number, (arm, made) in enumerate(zip(arms, specs, strict=True))
        if made is not None
    ]


def _arms(spec: Fields, stable: Fields) -> list[_Arm]:
    """Return the stable predictor and the canaries, of both versions of the language."""
    if "predictor" not in stable.data:
        stable.mistake("an InferenceService needs a predictor", "predictor")
    predictor = stable.within("predictor")
    percent = canary_percent(predictor)
    found = [_Arm(predictor, "", percent)]
    if stable is not spec:
        share = spec.whole("canaryTrafficPercent")
        if "canary" in spec.data:
            canary = spec.within("canary")
            found.append(_Arm(canary.within("predictor"), "canary", share or 0))
            spec.reworded("`anabranch deploy --canary`", "canaryTrafficPercent")
            canary.leave_out({"transformer": "the canary has the transformer of `default`"})
            canary.finish(("predictor",))
        return found
    if percent is not None and "canary" in spec.data:
        predictor.mistake("excludes spec.canary", "canaryTrafficPercent")
    for one in spec.each("canary"):
        found.append(_canary(one, found))
    total = sum(arm.percent or 0 for arm in found[1:])
    if total > 100:
        spec.mistake(f"the shares of all canaries must be at most 100 together, not {total}",
                     "canary")  # fmt: skip
    return found


def _canary(canary: Fields, before: Sequence[_Arm]) -> _Arm:
    predictor = canary.within("predictor")
    name = predictor.required("name")
    if name and any(arm.fields.data.get("name") == name for arm in before):
        predictor.mistake(f"{name!r} names another predictor, too", "name")
    share = canary.whole("trafficPercent")
    if share is None:
        canary.mistake("is required", "trafficPercent")
    elif not 0 <= share <= 100:
        canary.mistake(f"must be from 0 to 100, not {share}", "trafficPercent")
    else:
        canary.same("the share of the revision", "trafficPercent")
    canary.finish(("predictor", "trafficPercent"))
    folder = folder_name(name or "canary", [arm.folder for arm in before])
    return _Arm(predictor, folder, share or 0)


def _spec(
    service: ServiceNames,
    arm: _Arm,
    around: TransformerNodes | None,
    explainer: dict[str, Any] | None,
    log: dict[str, Any] | None,
) -> tuple[dict[str, Any], dict[str, str]] | None:
    """Return the spec of a revision and its files; None where its predictor has a mistake."""
    predictor = arm.fields
    model = read_model(service, predictor)
    if model is None:
        return None
    made = model_node(model)
    own = component_fields(predictor, is_remote=made.is_remote)
    credentials(predictor, made.node.get("model", ""))
    if predictor.text("name"):
        predictor.reworded("the folder of the revision", "name")
    predictor.asked.add("logger")
    predictor.finish()
    tensors = _tensors(predictor, made, around, explainer)
    nodes, outputs = _nodes(made, {**made.node, **own}, tensors, around)
    if explainer is not None:
        nodes[EXPLAINER] = dict(explainer)
    spec: dict[str, Any] = {"inputs": tensors.inputs, "nodes": nodes, "outputs": outputs}
    spec |= _timeout(nodes)
    if tensors.protocols:
        spec["protocols"] = list(tensors.protocols)
    if log is not None:
        spec["telemetry"] = {"requests": log}
    return spec, (around.files if around is not None else {})


def _tensors(
    predictor: Fields,
    made: ModelNode,
    around: TransformerNodes | None,
    explainer: dict[str, Any] | None,
) -> Tensors:
    """Return the tensors of the graph, by what reads the request first, and note them."""
    tensors = made.tensors
    (name,) = tensors.inputs
    found = inputs_for(explainer) if explainer is not None else None
    if around is not None:
        found = {"datatype": "BYTES", "shape": [-1]}
        said = "the transformer reads the request: write into `inputs` what its clients send"
        predictor.to_do(said)
    if found is not None:
        tensors = Tensors({name: found}, tensors.outputs, tensors.protocols)
    shape = tensors.inputs[name]
    said = (
        f"KServe does not type tensors: the graph takes `{name}`, {shape['datatype']} of shape "
        f"{shape['shape']}, and gives {', '.join(f'`{one}`' for one in tensors.outputs)}"
    )
    predictor.reworded(said)
    return tensors


def _nodes(
    made: ModelNode,
    predictor: dict[str, Any],
    tensors: Tensors,
    around: TransformerNodes | None,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the nodes, joined, and the outputs of the graph."""
    (name,) = tensors.inputs
    sources, parameter = tensors.sources(PREDICTOR), tensors.parameter
    if around is None:
        return {PREDICTOR: {**predictor, "inputs": {parameter: name}}}, sources
    renamed = {f"y{index}" if len(sources) > 1 else "y": one
               for index, one in enumerate(sources.values())}  # fmt: skip
    nodes = {
        BEFORE: {**around.before, "inputs": {"x": name}},
        PREDICTOR: {**predictor, "inputs": {parameter: BEFORE}},
        AFTER: {**around.after, "inputs": renamed},
    }
    return nodes, {next(iter(tensors.outputs)): AFTER}


def _timeout(nodes: dict[str, Any]) -> dict[str, str]:
    """Return the time of a request, where those of its nodes need more than there is by default."""
    total = sum(int(str(node.get("timeout", "0s")).rstrip("s")) for node in nodes.values())
    return {"timeout": f"{total}s"} if total > _TIMEOUT else {}


def _log(stable: Fields) -> dict[str, Any] | None:
    """Return the request log: the transformer's logger sees what clients send, else the model's."""
    found = None
    for part in ("predictor", "transformer", "explainer"):
        if part in stable.data:
            found = request_log(stable.within(part)) or found
    return found


def _finish(root: Fields, spec: Fields, stable: Fields) -> None:
    for part in ("predictor", "transformer", "explainer"):
        stable.asked.add(part)
    if stable is not spec:
        stable.finish(("predictor", "transformer", "explainer"))
    spec.finish(("predictor", "transformer", "explainer", "canary"))
    root.finish()


def _commands(name: str, arms: Sequence[_Arm]) -> list[list[str]]:
    """Return the commands that bring each revision into service, in the order of the revisions."""
    others = [arm.percent or 0 for arm in arms[1:]]
    shares = map(RevisionShare, [arm.folder for arm in arms], [100 - sum(others), *others])
    found = deploy_commands(name, list(shares))
    if arms[0].percent:
        found[0] = [f"{found[0][0]} --canary {arms[0].percent}"]
    return found
