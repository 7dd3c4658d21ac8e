"""Answers of ``/explain`` with all that can be drawn of them."""

from __future__ import annotations

from typing import Any


def answer(method: str, *explanations: dict[str, Any]) -> dict[str, Any]:
    return {
        "model_name": "digits",
        "model_version": "3",
        "explainer": "why",
        "method": method,
        "explanations": [{"method": method, "seed": 0, **one} for one in explanations],
        "timing": {"seconds": 0.25, "model_calls": 2, "model_rows": 100, "cached": False},
    }


TABULAR = answer(
    "kernel_shap",
    {
        "target": 1, "prediction": 0.93, "base_value": 0.61,
        "feature_names": ["mean <radius>", "$texture$", "area & more"],
        "attributions": [0.5, -0.25, 0.07],
    },
)  # fmt: skip
IMAGE = answer(
    "saliency",
    {"target": 3, "attributions": [[[0.0, 1.0], [0.5, -2.0]]]},
    {"target": 4, "attributions": [[0.0, 0.0], [0.0, 0.0]]},
)
RULE = answer(
    "anchor_tabular",
    {"rule": ["radius > 13.4", "texture <= 25"], "precision": 0.97, "coverage": 0.25},
    {"rule": [], "precision": 1.0, "coverage": 1.0},
)
CURVES = answer(
    "ale",
    {
        "target": 0,
        "curves": [
            {"feature": "age", "grid": [0.0, 1.0, 4.0], "values": [0.0, 0.5, 0.25]},
            {"feature": "colour", "grid": ["red", "green"], "values": [0.1, -0.3]},
        ],
    },
)
EXAMPLES = answer(
    "similarity",
    {"target": 2, "examples": [{"index": 7, "score": 3.0}, {"index": 12, "score": -1.0}]},
)
OWN = answer("parts.py:Why", {"library": {"because": "<script>alert(1)</script>"}})
MANY = answer("saliency", *({"attributions": [float(row), -1.0]} for row in range(40)))
WIDE = answer("saliency", {"attributions": [float(value - 50) for value in range(100)]})
NOTHING = answer("saliency")
ALL = {
    "tabular": TABULAR, "image": IMAGE, "rule": RULE, "curves": CURVES, "examples": EXAMPLES,
    "own": OWN, "many": MANY, "wide": WIDE, "nothing": NOTHING,
}  # fmt: skip
