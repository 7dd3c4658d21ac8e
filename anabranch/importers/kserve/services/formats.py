"""Model formats of KServe: those that a runtime here loads, and those whose server goes on.

What each server loads: ``sklearnserver``, ``xgbserver``, ``lgbserver`` and ``huggingfaceserver`` in
``python``, and the manifests in ``config/runtimes``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from anabranch.importers.kserve.services.arguments import arguments
from anabranch.importers.kserve.services.model import (
    OPENAI,
    V1,
    V2,
    ModelNode,
    ServedModel,
    Tensors,
    matrix,
    node_of,
    texts,
)
from anabranch.importers.kserve.services.storage import (
    has_place,
    hub_model,
    model_fields,
    note_elsewhere,
)

Format: TypeAlias = Callable[[ServedModel], ModelNode]

_TASKS = {
    "sequence_classification": ("text-classification", {"labels": "labels", "scores": "scores"}),
    "token_classification": ("token-classification", {"entities": ""}),
    "fill_mask": ("fill-mask", {"tokens": "tokens", "scores": "scores"}),
    "text_embedding": ("feature-extraction", {"embeddings": ""}),
    "text_generation": ("chat", {"text": "text"}),
}
"""Tasks of KServe's Hugging Face server: ours, and the outputs of the graph."""
_CHAT_OUTPUTS = ("finish_reason", "prompt_tokens", "completion_tokens")


def _sklearn(model: ServedModel) -> ModelNode:
    suffixes = (".joblib", ".pkl", ".pickle", ".skops")
    place = _placed(model, "model.joblib", suffixes, runs_code=True)
    method = "predict_proba" if _is_set(model, "PREDICT_PROBA") else "predict"
    return ModelNode(node_of("sklearn", **place, method=method), matrix(model.protocol))


def _xgboost(model: ServedModel) -> ModelNode:
    place = _placed(model, "model.ubj", (".json", ".ubj", ".bst"))
    if place["model"].endswith(".bst"):
        place["model"] = place["model"].removesuffix(".bst") + ".ubj"
    if not place["model"].endswith(".json"):
        said = (
            "if the file is a `model.bst`, write it once more as `model.ubj` beside it: "
            "`xgboost.Booster(model_file='model.bst').save_model('model.ubj')`"
        )
        model.fields.to_do(said)
    return ModelNode(node_of("xgboost", **place), matrix(model.protocol))


def _lightgbm(model: ServedModel) -> ModelNode:
    place = _placed(model, "model.bst", (".bst", ".txt"))
    return ModelNode(node_of("lightgbm", **place), matrix(model.protocol))


def _onnx(model: ServedModel) -> ModelNode:
    place = _placed(model, "model.onnx", (".onnx",))
    _unknown_tensors(model, "the model")
    return ModelNode(node_of("onnx", **place), matrix(model.protocol))


def _mlflow(model: ServedModel) -> ModelNode:
    place = _placed(model, "", runs_code=True)
    _unknown_tensors(model, "the signature that MLflow has kept with the model")
    return ModelNode(node_of("mlflow", **place), matrix(model.protocol))


def _huggingface(model: ServedModel) -> ModelNode:
    given = arguments(model.fields)
    task = given.get("task", "text_generation").replace("-", "_").lower()
    if task not in _TASKS or not (has_place(model.fields, model.part) or given.get("model_id")):
        return served_elsewhere(model)
    ours, outputs = _TASKS[task]
    if has_place(model.fields, model.part):
        place = _placed(model, "")
    else:
        place = hub_model(model.fields, given["model_id"])
    if "task" in given:
        model.fields.reworded(f"`args: {{task: {ours}}}` of the node", "args")
    else:
        said = (
            "the server takes the task from the model; here `chat`: write another into `args.task`"
        )
        model.fields.to_do(said)
    node = node_of("huggingface", **place, args={"task": ours})
    if ours == "chat":
        chat = {**outputs, **{name: name for name in _CHAT_OUTPUTS}}
        inputs = {"messages": {"datatype": "BYTES", "shape": [1]}}
        return ModelNode(node, Tensors(inputs, chat, (OPENAI,)))
    doors = (OPENAI,) if ours == "feature-extraction" else ()
    tensors = texts(model.protocol, outputs)
    return ModelNode(node, Tensors(tensors.inputs, outputs, (*tensors.protocols, *doors)))


def served_elsewhere(model: ServedModel) -> ModelNode:
    """Return a node that goes on calling the predictor of the service, over its protocol."""
    note_elsewhere(model.fields, model.part)
    where = "the predictor of the InferenceService" if not model.is_custom else "the image"
    said = (
        f"no runtime of the engine loads it, so the node calls {where} at {model.url}: keep it "
        "running, or run its image elsewhere and change `args.url`"
    )
    model.fields.to_do(said)
    _unknown_tensors(model, "the model")
    if model.protocol == V2:
        node = node_of("open_inference", args={"url": model.url, "model": model.service})
    else:
        node = node_of("v1", args={"url": model.url, "model": model.service})
    return ModelNode(node, matrix(model.protocol if model.protocol == V2 else V1), is_remote=True)


FORMATS: Mapping[str, Format] = {
    "sklearn": _sklearn,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "onnx": _onnx,
    "mlflow": _mlflow,
    "huggingface": _huggingface,
}
"""Formats that a runtime here loads; the predictors of all others go on."""


def _placed(
    model: ServedModel, file: str, suffixes: Sequence[str] = (), runs_code: bool = False
) -> dict[str, Any]:
    return model_fields(model.fields, file, suffixes, runs_code, model.part)


def _unknown_tensors(model: ServedModel, owner: str) -> None:
    said = f"`inputs` of the graph take a matrix of numbers: write what {owner} takes"
    model.fields.to_do(said)


def _is_set(model: ServedModel, variable: str) -> bool:
    found = model.fields.data.get("env")
    return any(
        isinstance(one, Mapping)
        and one.get("name") == variable
        and str(one.get("value")).lower() == "true"
        for one in (found if isinstance(found, list) else ())
    )
