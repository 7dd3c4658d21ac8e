"""Tree SHAP: each feature's exact contribution to the score of trees.

Lundberg, Erion and Lee: Consistent Individualized Feature Attribution for Tree Ensembles, 2018;
the path-dependent form, which needs no sample. For boosted trees the libraries XGBoost, LightGBM
and CatBoost compute the values themselves, as in SHAP.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from anabranch.components.contract import CannotLoad, Context
from anabranch.components.registry import register
from anabranch.components.runtimes.features import ShapTrees as Values
from anabranch.components.runtimes.features import numeric
from anabranch.errors import InvalidRequest, Mistake
from anabranch.explainers.alibi.library import library, quiet
from anabranch.explainers.applicable import fitting
from anabranch.explainers.explanation import Explanation
from anabranch.explainers.json_values import plain
from anabranch.explainers.model import Array
from anabranch.explainers.parameters import target_of
from anabranch.explainers.predictions import target
from anabranch.explainers.tabular import Tabular, no_model
from anabranch.specs.excerpts import listing
from anabranch.specs.models import Explainer, NodeBase

_RUNTIMES = ("sklearn", "xgboost", "lightgbm", "catboost")


@register("explainer", "tree_shap")
class TreeShap(Tabular):
    """SHAP values of the trees' raw score: log-odds of boosted classifiers, else the score itself.

    For forests of scikit-learn that is the probability. A binary classifier with one raw score
    has two targets, of which the first is the second's negative.

    Args:
        feature_names: Names of the features, in their order; those of the model if left out.
        output: Name of the explained output, where the explained node has several.
    """

    looks_inside = True

    def __init__(
        self,
        node: Explainer,
        root: Path,
        *,
        feature_names: list[str] | None = None,
        output: str | None = None,
    ) -> None:
        super().__init__(node, root, output=output, feature_names=feature_names)

    @staticmethod
    def fits(explained: NodeBase | None) -> str | None:
        """Return why a node cannot be explained; None for a predictor of trees."""
        if explained is None:
            return "tree_shap looks into one predictor, and the whole graph is more than that"
        runtime = getattr(explained, "runtime", None)
        if runtime not in _RUNTIMES or explained.component is not None:
            return f"tree_shap looks into trees: predictors of the runtimes {listing(_RUNTIMES)}"
        if getattr(explained, "multiplex", None) is not None:
            return "tree_shap looks into one model, and a multiplexed node has many"
        return None

    @staticmethod
    def check(node: Explainer) -> Iterable[Mistake]:
        """Find a sample or a saved explainer, which the method does not take."""
        yield from no_model(node)
        if node.data is not None:
            yield ("data",), "tree_shap is fitted on nothing, the trees know enough; remove it"

    def load(self) -> None:
        """Read the model's trees; raise CannotLoad for a model without trees."""
        super().load()
        instance = self.model.instance
        if hasattr(instance, "tree_shap"):
            reason = instance.without_shap()
            if reason is not None:
                raise self._misfit(reason)
            self._values = instance.tree_shap
            self.name(instance.features.count, instance.features.names)
        elif hasattr(instance, "estimator"):
            self._values = self._of_sklearn(instance)
        else:
            raise self._misfit(type(instance).__name__)

    def _of_sklearn(self, instance: Any) -> Any:
        alibi, estimator, columns = library(), instance.estimator, instance.columns
        try:
            with quiet():
                explainer = alibi.TreeShap(estimator, model_output="raw").fit()
        except Exception as error:
            reason = " ".join(str(error).split())
            raise self._misfit(f"{type(estimator).__name__} ({reason})") from None
        count = getattr(estimator, "n_features_in_", None)
        if count is not None:
            self.name(count, [str(name) for name in getattr(estimator, "feature_names_in_", ())])
        classes = len(getattr(estimator, "classes_", ()))

        def values(**inputs: Array) -> Values:
            matrix = self.matrix(inputs) if columns is None else numeric(columns.matrix(inputs))
            with quiet():
                found = explainer.explain(matrix)
            return _read(found.data, is_binary=classes == 2, of_outputs=not classes)

        return values

    def _misfit(self, what: str) -> CannotLoad:
        there = listing(fitting(self.model.node, from_outside=True))
        return CannotLoad(
            f"tree_shap explains trees, but the model is {what}; methods that can: {there}"
        )

    def explain(self, /, context: Context, **inputs: Array) -> list[Explanation]:
        """Return an explanation for each row: the features' contributions to the raw score."""
        if not all(len(array) for array in inputs.values()):
            return []
        try:
            values: Values = self._values(**inputs)
        except ValueError as error:
            raise InvalidRequest(f"tree_shap: {error}") from None
        wanted = target_of(context)
        return [self._of_row(context, values, row, wanted) for row in range(len(values.scores))]

    def _of_row(
        self, context: Context, values: Values, row: int, wanted: int | None
    ) -> Explanation:
        chosen = target(values.scores[row], wanted, of_outputs=values.of_outputs)
        several = values.scores.shape[1] > 1
        return self.explanation(
            context,
            target=chosen if several else self.function.output or None,
            feature_names=self.names,
            attributions=plain(values.attributions[row, chosen]),
            base_value=plain(values.base[row, chosen]),
            prediction=plain(values.scores[row, chosen]),
            library=plain(
                {
                    "shap_values": values.attributions[row],
                    "expected_value": values.base[row],
                    "raw": {"raw_prediction": values.scores[row]},
                }
            ),
        )


def _read(data: dict[str, Any], *, is_binary: bool, of_outputs: bool) -> Values:
    """Return Alibi's values in the form of the boosted trees'."""
    parts = np.stack(data["shap_values"], axis=1)
    base = np.broadcast_to(np.ravel(data["expected_value"])[: parts.shape[1]], parts.shape[:2])
    raw = np.asarray(data["raw"]["raw_prediction"]).reshape(len(parts), -1)
    whole = np.dstack([parts, base])
    return Values.of(whole, raw, is_binary=is_binary, of_outputs=of_outputs)
