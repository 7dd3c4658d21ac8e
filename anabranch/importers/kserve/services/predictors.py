"""Predictors: which one of its implementations a predictor has, and the node of its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anabranch.importers.containers import NO_COUNTERPART, environment, resources
from anabranch.importers.fields import Fields
from anabranch.importers.kserve.addresses import container_protocol, protocol_of
from anabranch.importers.kserve.services.formats import FORMATS, served_elsewhere
from anabranch.importers.kserve.services.model import V1, V2, ModelNode, ServedModel
from anabranch.importers.manifests import Manifest
from anabranch.specs.excerpts import hint, listing

FRAMEWORKS = (
    "sklearn", "xgboost", "lightgbm", "pytorch", "tensorflow", "triton", "onnx", "pmml", "paddle",
    "huggingface",
)  # fmt: skip
"""Fields of a predictor for one framework each, which say less than ``model``."""
MODEL, CONTAINERS = "model", "containers"
KSERVE_CONTAINER = "kserve-container"
_PROTOCOLS = ("v1", "v2", "grpc-v1", "grpc-v2", "openai")
_KNOWN_FORMATS = (
    *FRAMEWORKS, "mlflow", "autogluon", "openvino", "openvino_ir", "vllm", "keras", "predictive",
    "llama", "catboost", "spark", "mllib", "mms", "tensorrt", "python", "mleap",
)  # fmt: skip
_MODEL_FIELDS = {
    "runtimeVersion": "the version of an image; the runtime is the engine's own",
    "confidential": "models are read as they are: decrypt it before",
    "name": "nodes run in the engine's processes, not in containers",
    "image": "nodes run in the engine's processes, not from an image",
}

Runtimes = Mapping[str, Manifest]
"""ServingRuntimes and ClusterServingRuntimes of the import, by name."""


@dataclass(frozen=True)
class ServiceNames:
    """The names of an InferenceService."""

    name: str
    namespace: str
    runtimes: Runtimes


def read_model(service: ServiceNames, predictor: Fields) -> ServedModel | None:
    """Return the model of a predictor; None, with a mistake, where it has not exactly one."""
    given = [key for key in (*FRAMEWORKS, MODEL) if predictor.has(key)]
    given += [key for key in (*FRAMEWORKS, MODEL) if predictor.data.get(key) == {}]
    containers = containers_of(predictor)
    custom = _custom(containers, bool(given))
    if len(given) + (custom is not None) != 1:
        known = listing((*FRAMEWORKS, MODEL, CONTAINERS))
        found = listing([*given, *([CONTAINERS] if custom is not None else [])]) or "none"
        predictor.mistake(f"needs exactly one of {known}, not {found}")
        return None
    for one in containers:
        if one is not custom:
            one.left_out("a container beside the model server; make it a node, if it is a step")
    if custom is not None:
        protocol = container_protocol(custom.data) or V1
        name, space = service.name, service.namespace
        return ServedModel(name, space, "custom", custom, protocol, predictor, is_custom=True)
    (key,) = given
    return _framework(service, key, predictor, predictor.within(key))


def model_node(model: ServedModel) -> ModelNode:
    """Return the node of a model, and note all its fields."""
    make = FORMATS.get(model.format)
    made = served_elsewhere(model) if make is None or model.is_custom else make(model)
    _note_protocol(model)
    fields = model.fields
    if made.is_remote:
        for key in (*NO_COUNTERPART, *_MODEL_FIELDS, "env", "envFrom", "resources"):
            if fields.has(key):
                fields.asked.add(key)
                fields.reworded("belongs to the server that goes on", key)
    else:
        made.node |= {**environment(fields), **resources(fields)}
        fields.leave_out({**_MODEL_FIELDS, **NO_COUNTERPART})
    fields.finish((*NO_COUNTERPART, *_MODEL_FIELDS))
    return made


def containers_of(part: Fields) -> list[Fields]:
    """Return the containers of a component, also that of ``custom``, its field in v1alpha2."""
    found = part.each(CONTAINERS)
    if part.has("custom"):
        custom = part.within("custom")
        custom.reworded("`containers` of v1beta1", "container")
        found.append(custom.within("container"))
        custom.finish()
    return found


def _framework(service: ServiceNames, key: str, predictor: Fields, fields: Fields) -> ServedModel:
    protocol = protocol_of(key, fields.data)
    fields.choice("protocolVersion", _PROTOCOLS)
    name = key
    if key == MODEL:
        named = fields.within("modelFormat")
        name = named.required("name").lower() if fields.has("modelFormat") else ""
        if not fields.has("modelFormat"):
            fields.mistake("is required", "modelFormat")
        elif name not in _KNOWN_FORMATS:
            known = hint(name, _KNOWN_FORMATS)
            named.reworded(f"no format that KServe brings a server for{known}", "name")
        else:
            named.reworded("`runtime` of the node, or the server that goes on", "name")
        if named.text("version"):
            named.reworded("the runtime is the engine's own, of any version", "version")
        named.finish()
        protocol = _runtime(service, fields, protocol)
    elif fields.text("name"):
        fields.mistake("is not allowed in a predictor of a framework", "name")
    return ServedModel(service.name, service.namespace, name, fields, protocol, predictor)


def _runtime(service: ServiceNames, fields: Fields, protocol: str) -> str:
    """Note the runtime of a model; return the protocol that clients speak to it."""
    name = fields.text("runtime")
    if not name:
        return protocol
    manifest = service.runtimes.get(name)
    if manifest is None:
        fields.reworded("the server of KServe; the runtime is the engine's own", "runtime")
        is_mlserver = "mlserver" in name or "triton" in name
        return V2 if is_mlserver and not fields.has("protocolVersion") else protocol
    fields.reworded(f"the {manifest.kind} of this import, whose image is not needed", "runtime")
    spec = manifest.data.get("spec")
    versions = spec.get("protocolVersions") if isinstance(spec, Mapping) else None
    if fields.has("protocolVersion") or not isinstance(versions, list):
        return protocol
    return next((str(one) for one in versions if one in (V1, V2)), protocol)


def _custom(containers: Sequence[Fields], has_model: bool) -> Fields | None:
    """Return the container that is the model server (``PredictorSpec.GetImplementations``)."""
    for one in containers:
        if one.data.get("name") == KSERVE_CONTAINER:
            return one
    return containers[0] if containers and not has_model else None


def _note_protocol(model: ServedModel) -> None:
    if not model.fields.has("protocolVersion"):
        return
    if model.protocol == V1:
        model.fields.same("`protocols: [v1]`", "protocolVersion")
    elif model.protocol in (V2, "grpc-v2"):
        model.fields.same("every graph answers over V2, by HTTP and gRPC", "protocolVersion")
    elif model.protocol == "openai":
        model.fields.reworded("`protocols: [openai]`, where texts are answered", "protocolVersion")
    else:
        model.fields.left_out("V1 over gRPC, which TensorFlow Serving speaks alone",
                              "protocolVersion")  # fmt: skip
