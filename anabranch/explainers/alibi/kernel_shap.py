"""Kernel SHAP: each feature's contribution to the score of any model.

Lundberg and Lee: A Unified Approach to Interpreting Model Predictions, NeurIPS 2017.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from anabranch.components.arguments import AtLeastOne
from anabranch.components.contract import Context
from anabranch.components.registry import register
from anabranch.errors import Mistake
from anabranch.explainers.alibi.library import already_fitted, library, quiet, saved
from anabranch.explainers.explanation import Explanation
from anabranch.explainers.global_seed import seeded
from anabranch.explainers.json_values import plain
from anabranch.explainers.model import Array
from anabranch.explainers.parameters import target_of
from anabranch.explainers.predictions import gives_outputs, target
from anabranch.explainers.tabular import Categories, Tabular, needs_data, no_texts
from anabranch.specs.models import Explainer

_SURE = 1e-9
"""Least distance of a probability from 0 and 1, for finite log-odds."""
_FIXED = (
    "link",
    "summarise_background",
    "n_background_samples",
    "groups",
    "feature_names",
    "categorical_names",
    "label",
)


@register("explainer", "kernel_shap")
class KernelShap(Tabular):
    """SHAP values by sampled sets of known features; rows of ``data`` replace unknown features.

    ``link`` is the unit: that of the score, or its log-odds (``logit``); probabilities of 0 and 1,
    whose log-odds are infinite, are taken for 1e-9 and 1 - 1e-9. ``groups`` (name:
    features) are added as one. The other arguments are those of Alibi's ``KernelShap``.

    Args:
        link: Unit of the values: ``identity`` that of the score, ``logit`` its log-odds.
        nsamples: Sets of features that are drawn for a row; 2 times the features plus 2048 if left
            out.
        l1_reg: Selection of features by an L1 penalty, as Alibi has it.
        summarise_background: Whether the sample is reduced to ``n_background_samples`` rows;
            ``auto`` reduces a sample of more than 300 rows.
        n_background_samples: Rows of a reduced sample.
        groups: Features that count as one, by the name of the group.
        categorical_names: Categories of a feature, by its name: those that its numbers stand for,
            or all its texts.
    """

    def __init__(
        self,
        node: Explainer,
        root: Path,
        *,
        link: Literal["identity", "logit"] = "identity",
        nsamples: AtLeastOne | None = None,
        l1_reg: str | float = "auto",
        summarise_background: bool | Literal["auto"] = False,
        n_background_samples: AtLeastOne = 300,
        groups: dict[str, list[str]] | None = None,
        categorical_names: Categories | None = None,
        **common: Any,
    ) -> None:
        super().__init__(node, root, **common)
        self._link = link
        self.named_categories = categorical_names
        self._groups = groups
        self._group_names = tuple(groups or ())
        self._background = {
            "summarise_background": summarise_background,
            "n_background_samples": n_background_samples,
        }
        self._sampling = {"nsamples": "auto" if nsamples is None else nsamples, "l1_reg": l1_reg}

    fits = staticmethod(partial(no_texts, "kernel_shap"))

    @staticmethod
    def executes_code(model: str) -> bool:
        """Return True: a saved explainer is pickled, so loading it runs code."""
        return True

    @staticmethod
    def check(node: Explainer) -> Iterable[Mistake]:
        """Find a missing sample."""
        yield from needs_data(node, ", or a model: an explainer that was fitted and saved")
        yield from already_fitted(node, *_FIXED)

    def load(self) -> None:
        """Fit on the sample, which calls the model for its rows, or load the fitted explainer."""
        super().load()
        if self.node.model is not None:
            self.no_texts_when_fitted()
            predictor = self.progress.watched(self._linked)
            self._explainer = saved(self.node, self.root, "KernelShap", predictor)
            self._link = self._explainer.link
            background = self._explainer.background_data
            rows = background if isinstance(background, np.ndarray) else background.data
            names = tuple(self._explainer.feature_names or ())
            self._group_names = names if self._explainer.use_groups else ()
            self.name(rows.shape[1], () if self._group_names else names)
            return
        sample = self.read()
        with self.progress.work(f"kernel_shap is fitted on {len(sample.x)} rows"), quiet():
            self._explainer = self._fitted(sample.x)

    def _linked(self, rows: Array) -> Array:
        """Return the model's scores; for log-odds, probabilities whose log-odds are finite.

        ValueError for scores that are no probabilities.
        """
        found = self.scores(rows)
        if self._link == "identity":
            return found
        if not np.all((found >= 0) & (found <= 1)):
            raise ValueError(
                "link: logit takes probabilities, and the explained node gives scores from "
                f"{found.min():g} to {found.max():g}"
            )
        return np.clip(found, _SURE, 1 - _SURE)

    def _fitted(self, x: Array) -> Any:
        explainer = library().KernelShap(
            self.progress.watched(self._linked),
            link=self._link,
            feature_names=list(self.names),
            categorical_names=self.categories() or None,
            seed=self.node.seed,
        )
        grouped: dict[str, Any] = {}
        if self._groups is not None:
            grouped["group_names"] = list(self._group_names)
            grouped["groups"] = [self.indices(names) for names in self._groups.values()]
        with seeded(self.node.seed):
            return explainer.fit(x, **self._background, **grouped)

    def explain(self, /, context: Context, **inputs: Array) -> list[Explanation]:
        """Return an explanation for each row: the features' contributions to the target's score."""
        rows = self.matrix(inputs)
        if not len(rows):
            return []
        with seeded(self.seed(context)), quiet():
            found = self._explainer.explain(rows, silent=True, **self._sampling)
        data, wanted = found.data, target_of(context)
        return [self._of_row(context, data, index, wanted) for index in range(len(rows))]

    def _of_row(
        self, context: Context, data: Mapping[str, Any], index: int, wanted: int | None
    ) -> Explanation:
        scores = np.asarray(data["raw"]["raw_prediction"]).reshape(-1, len(data["shap_values"]))
        chosen = target(scores[index], wanted, of_outputs=gives_outputs(self.model.node))
        values = [one[index] for one in data["shap_values"]]
        return self.explanation(
            context,
            target=chosen if len(values) > 1 else self.function.output,
            feature_names=self._group_names or self.names,
            attributions=plain(values[chosen]),
            base_value=plain(np.ravel(data["expected_value"])[chosen]),
            prediction=plain(scores[index, chosen]),
            library=plain(
                {**data, "shap_values": values, "raw": {"raw_prediction": scores[index]}}
            ),
        )
