"""Anchors of matrices: conditions on features, such as ``age > 30``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from anabranch.components.registry import register
from anabranch.errors import Mistake
from anabranch.explainers.alibi.anchors import Anchors
from anabranch.explainers.alibi.library import already_fitted, library
from anabranch.explainers.model import Array
from anabranch.explainers.tabular import Categories, Tabular, needs_data, no_texts
from anabranch.specs.models import Explainer, NodeBase

_FIXED = ("disc_perc", "feature_names", "categorical_names", "label")


@register("explainer", "anchor_tabular")
class AnchorTabular(Tabular, Anchors):
    """Conditions on features that keep the predicted class while they hold.

    ``precision`` is measured on ``precision_samples`` fresh rows (0: the precision that the search
    reports), and ``resample`` lets the search draw rows for each candidate (see ``search``). The
    other arguments are those of Alibi's ``AnchorTabular``; ``disc_perc`` are percentiles at which
    numbers are cut into bins. ``categorical_names`` names the categories for which a feature's
    numbers stand, or all texts of a feature.

    Args:
        disc_perc: Percentiles, 0 to 100, at which numbers are cut into bins; quartiles if left out.
        categorical_names: Categories of a feature, by its name: those that its numbers stand for,
            or all its texts.
    """

    cls = "AnchorTabular"
    asks_while_fitting = False

    def __init__(
        self,
        node: Explainer,
        root: Path,
        *,
        disc_perc: list[float] | None = None,
        categorical_names: Categories | None = None,
        **common: Any,
    ) -> None:
        super().__init__(node, root, **common)
        self._percentiles = tuple(disc_perc or (25, 50, 75))
        self._order: list[int] = []
        self.named_categories = categorical_names

    fits = staticmethod(partial(no_texts, "anchor_tabular"))

    @staticmethod
    def check(node: Explainer) -> Iterable[Mistake]:
        """Find a missing sample, and cuts that are no percentiles."""
        yield from needs_data(node, ", or a model: an explainer that was fitted and saved")
        yield from already_fitted(node, *_FIXED)
        if any(not 0 < cut < 100 for cut in _cuts(node)):
            yield ("args", "disc_perc"), "percentiles are above 0 and below 100"

    def load(self) -> None:
        """Fit on the sample, or load the fitted explainer."""
        super().load()
        if self.node.model is not None:
            self.name(len(self.explainer.feature_names), self.explainer.feature_names)

    def prepare(self) -> None:
        """Refuse a fitted explainer for a model that takes texts."""
        if self.node.model is not None:
            self.no_texts_when_fitted()

    def make(self) -> Any:
        """Return Alibi's explainer, fitted on the sample.

        Categories come first in it: after a number that is the same in all rows of the sample,
        Alibi loses them.
        """
        sample = self.read()
        categories = dict(sorted(self.categories().items()))
        numbers = [index for index in range(len(self.names)) if index not in categories]
        self._order = [*categories, *numbers]
        with self.progress.work(f"anchor_tabular is fitted on {len(sample.x)} rows"):
            explainer = library().AnchorTabular(
                self.progress.watched(self.predicted),
                [self.names[index] for index in self._order],
                categorical_names=dict(enumerate(categories[i] for i in sorted(categories)))
                or None,
                seed=self.node.seed,
            )
            return explainer.fit(sample.x[:, self._order], disc_perc=self._percentiles)

    def rows(self, inputs: Mapping[str, Array]) -> Array:
        """Return the matrix [rows, features] of a request."""
        return self.matrix(inputs)

    def to_library(self, row: Array) -> Array:
        """Return a row with its features in the order of Alibi's explainer."""
        return row[self._order] if self._order else row

    def from_library(self, rows: Any) -> Array:
        """Return rows as a matrix with the features in their own order."""
        matrix: Array = np.atleast_2d(rows)
        return matrix[:, np.argsort(self._order)] if self._order else matrix

    def raw(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return Alibi's raw values with the indices of the features themselves."""
        kept = super().raw(raw)
        order = self._order or range(len(self.names))
        return {**kept, "feature": [order[index] for index in kept["feature"]]}


def _cuts(node: NodeBase) -> Iterable[float]:
    args: Mapping[str, Any] = node.args
    return args.get("disc_perc") or ()
