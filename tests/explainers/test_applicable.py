from __future__ import annotations

from anabranch.explainers.applicable import fitting
from tests.explainers.local import node


def test_methods_that_fit_a_node():
    forest = fitting(node(type="predictor", runtime="xgboost", model="m"))
    assert {"tree_shap", "kernel_shap", "anchor_tabular", "ale"} <= set(forest)
    assert "anchor_text" not in forest
    outside = fitting(node(type="predictor", runtime="xgboost", model="m"), from_outside=True)
    assert "tree_shap" not in outside
    assert set(outside) < set(forest)
    assert "anchor_text" in fitting(None)
    assert "tree_shap" not in fitting(None)
