"""Every built-in that ships: a module that registers some is listed here.

None of them imports a model library before a model is loaded.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

MODULES = (
    "anabranch.components.bandits",
    "anabranch.components.combiners",
    "anabranch.components.documents",
    "anabranch.components.features",
    "anabranch.components.routers",
    "anabranch.components.runtimes.catboost",
    "anabranch.components.runtimes.huggingface",
    "anabranch.components.runtimes.lightgbm",
    "anabranch.components.runtimes.mlflow",
    "anabranch.components.runtimes.onnx",
    "anabranch.components.runtimes.open_inference",
    "anabranch.components.runtimes.openai",
    "anabranch.components.runtimes.rest",
    "anabranch.components.runtimes.remote",
    "anabranch.components.runtimes.sklearn",
    "anabranch.components.runtimes.torch",
    "anabranch.components.runtimes.vllm",
    "anabranch.components.runtimes.xgboost",
    "anabranch.components.transformers",
    "anabranch.explainers.alibi.ale",
    "anabranch.explainers.alibi.anchor_image",
    "anabranch.explainers.alibi.anchor_tabular",
    "anabranch.explainers.alibi.anchor_text",
    "anabranch.explainers.alibi.kernel_shap",
    "anabranch.explainers.alibi.partial_dependence",
    "anabranch.explainers.alibi.permutation_importance",
    "anabranch.explainers.alibi.tree_shap",
    "anabranch.explainers.captum.methods",
    "anabranch.explainers.similarity",
    "anabranch.monitors.alibi_detect",
    "anabranch.monitors.distributions",
    "anabranch.monitors.outliers",
    "anabranch.monitors.sketch",
)


@cache
def import_all() -> None:
    """Import the modules once, which fills the registry."""
    for module in MODULES:
        import_module(module)
