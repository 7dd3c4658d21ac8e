"""Prepackaged servers: models that our runtimes load, and servers that go on where they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from anabranch.importers.seldon_v1.servers.endpoints import OPEN_INFERENCE, TENSORFLOW, remote_node
from anabranch.importers.seldon_v1.servers.model_uris import model_fields
from anabranch.importers.seldon_v1.units.tree import PredictiveUnit


@dataclass(frozen=True)
class Setting:
    """Where a unit stands."""

    protocol: str
    """Protocol of the deployment; empty for Seldon's own."""
    is_alone: bool
    """Whether the unit is the only one of its predictor."""


Server: TypeAlias = Callable[[PredictiveUnit, Setting], dict[str, Any]]
"""Returns the fields of a unit's node."""
OWN_IMAGES = (
    "seldonio/sklearnserver:", "seldonio/xgboostserver:", "seldonio/mlflowserver:",
    "seldonio/mlserver:", "seldonio/tfserving-proxy:", "tensorflow/serving:",
    "nvcr.io/nvidia/tritonserver:",
)  # fmt: skip
"""Beginnings of the servers' own images, which Seldon's webhook writes into a deployment."""
_SKLEARN_METHODS = ("predict_proba", "decision_function", "predict")
_TASKS = {
    "text-classification": "text-classification",
    "sentiment-analysis": "text-classification",
    "token-classification": "token-classification",
    "ner": "token-classification",
    "fill-mask": "fill-mask",
    "zero-shot-classification": "zero-shot-classification",
    "text-generation": "text-generation",
    "feature-extraction": "feature-extraction",
}
"""Tasks of Hugging Face's pipelines, under all of their names, that the runtime serves."""
_HUGGINGFACE = (
    "task", "task_suffix", "pretrained_model", "pretrained_tokenizer", "framework", "device",
    "optimum_model", "batch_size", "model_kwargs", "inference_kwargs",
)  # fmt: skip
"""Settings of MLServer's ``mlserver_huggingface``."""
_TRITON = ("model_control_mode", "load_model", "strict_model_config")
_TENSORFLOW = (
    "signature_name", "model_name", "model_input", "model_output", "rest_endpoint", "grpc_endpoint",
)  # fmt: skip


def speaks_v2(protocol: str) -> bool:
    """Tell whether a protocol is the Open Inference Protocol, under either of its names."""
    return protocol in ("v2", "kfserving")


def _sklearn(unit: PredictiveUnit, setting: Setting) -> dict[str, Any]:
    """``servers/sklearnserver``: ``model.joblib``, and ``predict_proba`` unless told otherwise.

    MLServer's runtime, which answers over v2, calls ``predict``.
    """
    if speaks_v2(setting.protocol):
        _parameters_unread(unit, "MLServer's scikit-learn runtime")
        method = "predict"
    else:
        unit.parameters.refuse_others(("method",), "SKLEARN_SERVER")
        method = _sklearn_method(unit)
    return _model(unit, "sklearn", "model.joblib") | {"method": method}


def _sklearn_method(unit: PredictiveUnit) -> str:
    given = unit.parameters.values.get("method")
    if given is None:
        return "predict_proba"
    if given in _SKLEARN_METHODS:
        unit.parameters.same("method", f"`method: {given}`")
        return str(given)
    unit.parameters.reworded(
        "method", "`method: predict`: what the server calls for any other text"
    )
    return "predict"


def _xgboost(unit: PredictiveUnit, setting: Setting) -> dict[str, Any]:
    """``servers/xgboostserver``: a Booster in ``model.bst``, a format that XGBoost has given up."""
    if speaks_v2(setting.protocol):
        _parameters_unread(unit, "MLServer's XGBoost runtime")
    else:
        unit.parameters.refuse_others((), "XGBOOST_SERVER")
    unit.fields.to_do(
        "write `model.bst` once more as `model.ubj` beside it: "
        "`xgboost.Booster(model_file='model.bst').save_model('model.ubj')`",
        "modelUri",
    )
    return _model(unit, "xgboost", "model.ubj")


def _mlflow(unit: PredictiveUnit, setting: Setting) -> dict[str, Any]:
    """``servers/mlflowserver``: a folder that MLflow wrote."""
    if speaks_v2(setting.protocol):
        _parameters_unread(unit, "MLServer's MLflow runtime")
    else:
        unit.parameters.refuse_others(("xtype",), "MLFLOW_SERVER")
        if "xtype" in unit.parameters.values:
            said = "an array or a data frame, by the signature that MLflow has kept with the model"
            unit.parameters.reworded("xtype", said)
    return _model(unit, "mlflow", "")


def _huggingface(unit: PredictiveUnit, setting: Setting) -> dict[str, Any]:
    """Return our runtime, whose outputs have names, where no other node reads them."""
    unit.parameters.refuse_others(_HUGGINGFACE, "HUGGINGFACE_SERVER")
    task = str(unit.parameters.values.get("task", ""))
    place = _hub_or_folder(unit)
    if task not in _TASKS or not place or not setting.is_alone:
        for name in unit.parameters.values:
            unit.parameters.reworded(name, "the server that goes on has it")
        return remote_node(unit, OPEN_INFERENCE, "an MLServer with its Hugging Face runtime", 8080)
    unit.parameters.same("task", f"`args: {{task: {_TASKS[task]}}}`")
    for name in unit.parameters.values:
        if name not in ("task", "pretrained_model"):
            reason = "the runtime reads the folder as it is; `args.options` has keyword arguments"
            unit.parameters.left_out(name, reason)
    node = {"type": "predictor", "runtime": "huggingface"}
    return {**node, **place, "args": {"task": _TASKS[task]}}


def _hub_or_folder(unit: PredictiveUnit) -> dict[str, Any]:
    """Return ``model`` of the folder, or of the hub's repository; nothing where neither is told."""
    name = str(unit.parameters.values.get("pretrained_model", ""))
    if unit.fields.has("modelUri"):
        if name:
            unit.parameters.left_out("pretrained_model", "the model is that of `modelUri`")
        return {"model": model_fields(unit.fields, "")["model"]}
    if not name:
        return {}
    if "/" not in name:
        unit.parameters.fields["pretrained_model"].to_do(f"name the owner of `{name}` on the hub")
        name = f"owner/{name}"
    else:
        unit.parameters.same("pretrained_model", f"`model: hf://{name}`")
    return {"model": f"hf://{name}"}


def _triton(unit: PredictiveUnit, setting: Setting) -> dict[str, Any]:
    _for_server(unit, _TRITON, "TRITON_SERVER")
    return remote_node(unit, OPEN_INFERENCE, "a Triton with this repository", 8000)


def _tempo(unit: PredictiveUnit, setting: Setting) -> dict[str, Any]:
    _for_server(unit, tuple(unit.parameters.fields), "TEMPO_SERVER")
    return remote_node(unit, OPEN_INFERENCE, "an MLServer with Tempo and this model", 8080)


def _tensorflow(unit: PredictiveUnit, setting: Setting) -> dict[str, Any]:
    """``servers/tfserving_proxy``: TensorFlow Serving, asked by ``:predict`` over HTTP."""
    unit.parameters.refuse_others(_TENSORFLOW, "TENSORFLOW_SERVER")
    values = dict(unit.parameters.values)
    node = remote_node(unit, TENSORFLOW, "a TensorFlow Serving with this model", 8501, values)
    for name in values:
        if name in ("model_name", "signature_name", "rest_endpoint"):
            unit.parameters.same(name, "argument of the runtime `v1`")
        else:
            unit.parameters.reworded(name, "the server names its only input and output itself")
    return node


def _model(unit: PredictiveUnit, runtime: str, file: str) -> dict[str, Any]:
    return {"type": "predictor", "runtime": runtime, **model_fields(unit.fields, file)}


def _for_server(unit: PredictiveUnit, known: tuple[str, ...], server: str) -> None:
    """Note parameters that the server is started with."""
    unit.parameters.refuse_others(known, server)
    for name in unit.parameters.values:
        unit.parameters.reworded(name, f"an option of the server that goes on: --{name}")


def _parameters_unread(unit: PredictiveUnit, reader: str) -> None:
    for name in unit.parameters.values:
        unit.parameters.left_out(name, f"{reader} reads no parameters")


SERVERS: Mapping[str, Server] = {
    "SKLEARN_SERVER": _sklearn,
    "XGBOOST_SERVER": _xgboost,
    "MLFLOW_SERVER": _mlflow,
    "HUGGINGFACE_SERVER": _huggingface,
    "TENSORFLOW_SERVER": _tensorflow,
    "TRITON_SERVER": _triton,
    "TEMPO_SERVER": _tempo,
}
"""Servers of ``operator/config/manager/configmap.yaml``."""
