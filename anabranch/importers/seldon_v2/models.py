"""Reads ``Model``: a predictor with one of our runtimes, or a model that goes on where it is.

Source: ``operator/apis/mlops/v1alpha1/model_types.go`` and
``scheduler/pkg/agent/repository/mlserver/settings.go`` of SeldonIO/seldon-core v2.6.0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anabranch.components import registry
from anabranch.components.runtimes.huggingface.tasks import TASKS
from anabranch.importers.fields import Fields, Source
from anabranch.importers.quantities import quantity
from anabranch.importers.seldon_v1.servers.model_uris import model_fields
from anabranch.specs.excerpts import listing
from anabranch.specs.models import TensorSpec

URL = "http://localhost:9000"
"""Address that stands for that of the user's Seldon mesh."""
HEADER = "seldon-model"
"""Header by which Seldon's mesh finds a model."""
MATRIX: Mapping[str, Any] = {"datatype": "FP32", "shape": [-1, -1]}
"""Type of an input of which nothing is known."""
_TEXTS: Mapping[str, Any] = {"datatype": "BYTES", "shape": [-1]}


@dataclass(frozen=True)
class _Server:
    """A runtime of MLServer that we have too, and the file that it loads in a folder."""

    runtime: str
    files: tuple[str, ...]
    """Endings of the file, in the order in which Seldon's agent looks for them."""
    name: str
    """Name of the file where the folder cannot be looked into; empty for the folder itself."""
    input: str = "predict"
    output: str = "predict"
    method: str = ""


_SERVERS: Mapping[str, _Server] = {
    "sklearn": _Server("sklearn", ("joblib", "pkl", "pickle"), "model.joblib", method="predict"),
    "xgboost": _Server("xgboost", ("json", "bst"), "model.json"),
    "lightgbm": _Server("lightgbm", ("bst",), "model.bst"),
    "mlflow": _Server("mlflow", (), "", "input", "output"),
}
_TASK = "task"
SETTINGS = "model-settings.json"


@dataclass
class PlacedModel:
    """The node of a model, without its inputs, and what is known of its tensors."""

    name: str
    node: dict[str, Any]
    input: str = "input"
    """Name of the only input, where no reference names any."""
    output: str = "output"
    outputs: tuple[str, ...] = ()
    """Names of several outputs that the node is known to have."""
    tensor: Mapping[str, Any] = field(default_factory=lambda: MATRIX)
    """Type of an input."""
    is_typed: bool = False
    """Whether the type is that of the model's own samples, and not one to be written."""
    source: Source | None = None
    """The manifest; None for a model that is not among those of the import."""
    explained: tuple[str, str, str] | None = None
    """Kind and name of what it explains, and the method; None for a model that explains nothing."""

    @property
    def is_remote(self) -> bool:
        """Whether the model goes on where it is."""
        return self.node.get("runtime") == "open_inference"


def remote_model(name: str, kind: str = "") -> PlacedModel:
    """Return the node of a model or pipeline that stays on Seldon's mesh."""
    target = f"{name}.{kind}" if kind else name
    args = {"url": URL, "model": name, "headers": {HEADER: target}}
    return PlacedModel(name, {"type": "predictor", "runtime": "open_inference", "args": args})


def read_model(source: Source, spec: Fields) -> PlacedModel:
    """Return the node of a manifest; mistakes are kept in ``source``."""
    name = source.manifest.name
    requirements = _requirements(spec)
    explainer = _explainer(spec)
    server = next((_SERVERS[one] for one in requirements if one in _SERVERS), None)
    onnx = _onnx_file(spec) if "onnx" in requirements else None
    _check_replicas(spec)
    if explainer is not None:
        found = remote_model(name)
        found.explained = explainer
    elif not spec.has("storageUri"):
        spec.mistake("is required", "storageUri")
        found = remote_model(name)
    elif server is not None:
        found = _local(spec, name, server)
    elif onnx is not None:
        node = {"type": "predictor", "runtime": "onnx", "model": onnx.as_uri()}
        spec.reworded(f"`model: {onnx.as_uri()}`", "storageUri")
        found = PlacedModel(name, node)
        _local_scaling(spec, node)
    elif requirements[:1] == ["huggingface"] and _parameter(spec, _TASK) in TASKS:
        found = _huggingface(spec, name)
    else:
        found = _remote(spec, name)
    found.source = source
    _note_rest(spec, found)
    return found


def _requirements(spec: Fields) -> list[str]:
    found = []
    for index, text in enumerate(spec.items("requirements")):
        if isinstance(text, str):
            found.append(text)
        else:
            spec.mistake("must be a text", "requirements", index)
    kind = spec.text("modelType")
    return [*found, kind] if kind else found


def _explainer(spec: Fields) -> tuple[str, str, str] | None:
    fields = spec.within("explainer")
    model, pipeline, method = (
        fields.text("modelRef"),
        fields.text("pipelineRef"),
        fields.text("type"),
    )
    fields.finish()
    if model and pipeline:
        fields.mistake("explains either a model or a pipeline; remove one", "pipelineRef")
    if not spec.has("explainer"):
        return None
    return ("pipeline", pipeline, method) if pipeline else ("model", model, method)


def _local(spec: Fields, name: str, server: _Server) -> PlacedModel:
    file = _file_in(spec, server)
    fields = model_fields(spec, file, "storageUri")
    if file.endswith(".bst") and server.runtime == "xgboost":
        said = (
            "XGBoost has given `.bst` up: save the model as `.json` or `.ubj`, and name that file"
        )
        spec.to_do(said, "storageUri")
    node: dict[str, Any] = {"type": "predictor", "runtime": server.runtime, **fields}
    if server.method:
        node["method"] = server.method
    spec.reworded(f"`runtime: {server.runtime}`", "requirements")
    _local_scaling(spec, node)
    typed = bool(server.files)
    return PlacedModel(name, node, server.input, server.output, (), MATRIX, is_typed=typed)


def _huggingface(spec: Fields, name: str) -> PlacedModel:
    fields = model_fields(spec, "", "storageUri")
    fields.pop("sha256", None)
    node = {"type": "predictor", "runtime": "huggingface", **fields}
    node["args"] = {"task": _parameter(spec, _TASK)}
    spec.reworded("`runtime: huggingface`", "requirements")
    _local_scaling(spec, node)
    kind = registry.get("predictor", "huggingface")
    outputs = tuple(kind.infer({"args": TensorSpec(**_TEXTS)}, node["args"]) or ())
    if len(outputs) > 1:
        said = f"outputs are called {listing(outputs)} here, where Seldon gives JSON as `output`"
        spec.to_do(said, "requirements")
    several = outputs if len(outputs) > 1 else ()
    return PlacedModel(name, node, "args", "output", several, _TEXTS, is_typed=True)


def _remote(spec: Fields, name: str) -> PlacedModel:
    for key in ("storageUri", "requirements", "modelType"):
        spec.asked.add(key)
        if spec.has(key):
            spec.same("stays with the server, which runs the model", key)
    spec.to_do(f"set `url` of node {name!r} to the address of your Seldon mesh or server")
    return remote_model(name)


def _file_in(spec: Fields, server: _Server) -> str:
    """Return the file that the server loads: found in a folder of this machine, or by custom."""
    folder = _folder(spec)
    if folder is None or not server.files:
        return server.name
    settings = _settings(folder)
    uri = str(settings.get("parameters", {}).get("uri", "")).removeprefix("./")
    if uri and (folder / uri).is_file():
        return uri
    for ending in server.files:
        found = sorted(one.name for one in folder.glob(f"*.{ending}") if one.is_file())
        if found:
            return found[0]
    return server.name


def _settings(folder: Path) -> dict[str, Any]:
    """Return MLServer's settings of a model; empty if there are none that can be read."""
    try:
        found = json.loads((folder / SETTINGS).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    is_plain = isinstance(found, dict) and isinstance(found.get("parameters", {}), dict)
    return found if is_plain else {}


def _folder(spec: Fields) -> Path | None:
    uri = spec.text("storageUri")
    if not uri.startswith(("/", "file:")):
        return None
    folder = Path(uri.removeprefix("file:").replace("//", "/", 1) if uri[0] != "/" else uri)
    return folder if folder.is_dir() else None


def _onnx_file(spec: Fields) -> Path | None:
    """Return the newest ``model.onnx`` of a folder of Triton's form on this machine."""
    folder = _folder(spec)
    found = list(folder.glob("*/model.onnx")) if folder is not None else []
    versions = [one for one in found if one.parent.name.isdecimal()]
    return max(versions, key=lambda one: int(one.parent.name), default=None)


def _parameter(spec: Fields, name: str) -> str:
    for one in spec.items("parameters"):
        if isinstance(one, Mapping) and one.get("name") == name:
            return str(one.get("value", ""))
    return ""


def _check_replicas(spec: Fields) -> None:
    """Keep the mistakes of ``AsSchedulerModel``."""
    replicas, least, most = (spec.whole(key) for key in ("replicas", "minReplicas", "maxReplicas"))
    count = replicas if replicas is not None else (least if least is not None else 1)
    for key, value in (("replicas", replicas), ("minReplicas", least), ("maxReplicas", most)):
        if value is not None and value < 0:
            spec.mistake("must be at least 0", key)
    if least is not None and count < least:
        spec.mistake(f"is {count}, but `minReplicas` is {least}", "replicas")
    if most is not None and count > most:
        spec.mistake(f"is {most}, but there are {count} replicas", "maxReplicas")


def _local_scaling(spec: Fields, node: dict[str, Any]) -> None:
    replicas, least, most = (spec.whole(key) for key in ("replicas", "minReplicas", "maxReplicas"))
    scaling: dict[str, Any] = {}
    if least or most:
        scaling = {"min": least or 1, "max": max(most or 1, least or 1, replicas or 1)}
    elif (replicas or 1) > 1:
        scaling = {"replicas": replicas}
    for key in ("replicas", "minReplicas", "maxReplicas"):
        if spec.has(key) or key in spec.data:
            spec.reworded("`scaling` of the node" if scaling else "one replica", key)
    if scaling:
        node["scaling"] = scaling


def _note_rest(spec: Fields, model: PlacedModel) -> None:
    stays = "stays with the server, which runs the model"
    for key in ("replicas", "minReplicas", "maxReplicas"):
        spec.asked.add(key)
        if model.is_remote and key in spec.data:
            spec.same(stays, key)
    _note_memory(spec, model)
    for key in ("server", "preloaded", "dedicated"):
        spec.asked.add(key)
        if spec.has(key):
            spec.same(stays, key) if model.is_remote else spec.left_out(
                "the engine places nodes: `placement` of the node says where", key
            )
    spec.asked |= {
        "storageUri",
        "artifactVersion",
        "parameters",
        "schemaUri",
        "secretName",
        "logger",
    }
    if spec.has("artifactVersion"):
        spec.whole("artifactVersion")
        if model.is_remote:
            spec.same(stays, "artifactVersion")
        else:
            spec.to_do("name the folder of the version in `model`", "artifactVersion")
    _note_parameters(spec, model, stays)
    if spec.has("schemaUri"):
        spec.left_out("types stand in the graph: `inputs`, and `outputs` of the node", "schemaUri")
    if spec.text("secretName"):
        said = "set the credentials of the store in the environment of `anabranch up`"
        spec.same(stays, "secretName") if model.is_remote else spec.to_do(said, "secretName")
    if "logger" in spec.data:
        spec.left_out("`telemetry.requests` of a graph logs its requests and replies", "logger")
    spec.leave_out(
        {
            "llm": "runtimes of Seldon's LLM module stay with Seldon",
            "dataflow": "there are no Kafka topics to clean up",
        }
    )
    spec.finish()


def _note_memory(spec: Fields, model: PlacedModel) -> None:
    spec.asked.add("memory")
    if not spec.has("memory"):
        return
    try:
        amount = int(quantity(spec.data["memory"]))
    except ValueError as error:
        spec.mistake(str(error), "memory")
        return
    if model.is_remote:
        spec.same("stays with the server, which runs the model", "memory")
    else:
        said = f"Seldon reserves {amount} bytes on a server: `resources.memory` of the node would "
        spec.left_out(said + "give it a process of its own", "memory")


def _note_parameters(spec: Fields, model: PlacedModel, stays: str) -> None:
    for one in spec.each("parameters"):
        name = one.required("name")
        one.text("value")
        if model.is_remote:
            one.same(stays)
        elif name == _TASK and model.node["runtime"] == "huggingface":
            one.reworded("`args.task`")
        else:
            one.left_out(f"the runtime has no parameter {name!r}")
        one.finish()
