"""Explainers of predictors as explainer nodes.

``operator/controllers/seldondeployment_explainers.go``: a server of its own,
which calls the predictor.
"""

from __future__ import annotations

from typing import Any

from anabranch.importers.explainers import METHODS, WITHOUT, literal, method_arguments
from anabranch.importers.fields import Fields
from anabranch.importers.seldon_v1.pods.scaling import fixed
from anabranch.importers.seldon_v1.servers.model_uris import model_fields

_METHODS = {
    **METHODS,
    "KernelShap": "kernel_shap",
    "TreeShap": "tree_shap",
    "ALE": "ale",
}
_WITHOUT = {
    **WITHOUT,
    "IntegratedGradients": "`integrated_gradients` is for PyTorch here, and for TensorFlow there",
}
_FITTED = ("AnchorTabular", "KernelShap")
"""Types whose explainer is fitted: ``modelUri`` is the folder of one that Alibi has saved."""
_SAMPLED = ("ALE",)


def explainer_node(
    explainer: Fields, explained: str | None, reads_trees: bool
) -> dict[str, Any] | None:
    """Return the explainer node of a predictor; None where the method has no counterpart.

    ``explained`` is the only node of the graph, if there is one; ``reads_trees`` tells whether its
    runtime is one of trees.
    """
    kind = explainer.choice("type", {*_METHODS, *_WITHOUT})
    if not kind:
        if not explainer.has("type"):
            explainer.left_out("names no `type`: write an explainer node with your own component")
        return None
    if kind in _WITHOUT:
        explainer.left_out(_WITHOUT[kind], "type")
        return None
    if kind == "TreeShap" and not reads_trees:
        explainer.left_out("`tree_shap` reads the trees of a single scikit-learn or XGBoost model")
        return None
    explainer.same(f"`method: {_METHODS[kind]}`", "type")
    node: dict[str, Any] = {"type": "explainer", "method": _METHODS[kind]}
    node |= {"explains": explained} if explained else {}
    node |= _fitted(explainer, kind)
    args = _arguments(explainer, node["method"])
    node |= {"args": args} if args else {}
    scaling = fixed(explainer)
    if scaling is not None and "replicas" in scaling:
        node["scaling"] = scaling
        explainer.same("`scaling.replicas` of the explainer", "replicas")
    elif scaling is not None:
        explainer.left_out("an explainer has at least one replica", "replicas")
    _note_rest(explainer)
    return node


def _fitted(explainer: Fields, kind: str) -> dict[str, Any]:
    if kind in _FITTED and explainer.has("modelUri"):
        return model_fields(explainer, "")
    if kind in _FITTED or kind in _SAMPLED:
        explainer.to_do("put a sample of the training data beside the graph, and name it in `data`")
        return {"data": "sample.csv"}
    if explainer.has("modelUri"):
        explainer.text("modelUri")
        explainer.reworded("the method calls the model, and needs no file", "modelUri")
        for key in ("serviceAccountName", "envSecretRefName", "storageInitializerImage"):
            if explainer.text(key):
                explainer.reworded("no file is fetched", key)
    return {}


def _arguments(explainer: Fields, method: str) -> dict[str, Any]:
    """Return the arguments of the method among ``config`` and ``initParameters``."""
    config = explainer.within("config")
    given = {name: (config, literal(config.text(name)), (name,)) for name in config.data}
    text = explainer.text("initParameters")
    if text:
        value = literal(text)
        if not isinstance(value, dict):
            explainer.mistake("must be a JSON object as text", "initParameters")
            return {}
        given |= {name: (explainer, one, ("initParameters",)) for name, one in value.items()}
    return method_arguments(method, given)


def _note_rest(explainer: Fields) -> None:
    explainer.leave_out(
        {
            "containerSpec": "explainers run in the engine's processes, not from an image",
            "endpoint": "ask for explanations at /v2/models/<graph>/explain",
        }
    )
    explainer.finish()
