"""Anchors of matrices: conditions on features, such as ``age > 30``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from anabranch.components.registry import Finding, register
from anabranch.explainers.alibi.anchors import Anchors, bad_search
from anabranch.explainers.alibi.library import already_fitted, library
from anabranch.explainers.model import Array
from anabranch.explainers.tabular import Categories, Tabular, needs_data, no_texts
from anabranch.specs.models import Explainer, NodeBase

_FIXED = ("disc_perc", "feature_names", "categorical_names", "label")


@register("explainer", "anchor_tabular")
class AnchorTabular(Tabular, Anchors):
    """Conditions on features of which, where they hold, the model predicts the same class.

    ``precision`` is measured on ``precision_samples`` fresh rows (0: what the search claims), and
    ``resample`` lets the search draw rows for each candidate (see ``search``). The other arguments
    are those of Alibi's ``AnchorTabular``; ``disc_perc`` are percentiles at which
    numbers are cut into bins. ``categorical_names`` names what the numbers of a feature stand for.
    """

    cls = "AnchorTabular"
    asks_while_fitting = False

    def __init__(
        self,
        node: Explainer,
        root: Path,
        *,
        threshold: float = 0.95,
        delta: float = 0.1,
        tau: float = 0.15,
        batch_size: int = 100,
        coverage_samples: int = 10_000,
        beam_size: int = 1,
        max_anchor_size: int | None = None,
        min_samples_start: int = 100,
        precision_samples: int = 2000,
        resample: bool = False,
        disc_perc: list[float] | None = None,
        feature_names: list[str] | None = None,
        categorical_names: Categories | None = None,
        label: str | None = None,
        input: str | None = None,
        output: str | None = None,
    ) -> None:
        super().__init__(
            node, root, input=input, output=output, feature_names=feature_names, label=label
        )
        self._percentiles = tuple(disc_perc or (25, 50, 75))
        self._categories = categorical_names
        self._precision_samples, self._resample = precision_samples, resample
        self._search = {
            "threshold": threshold,
            "delta": delta,
            "tau": tau,
            "batch_size": batch_size,
            "coverage_samples": coverage_samples,
            "beam_size": beam_size,
            "max_anchor_size": max_anchor_size,
            "min_samples_start": min_samples_start,
        }

    @staticmethod
    def fits(explained: NodeBase | None) -> str | None:
        """Tell why a node cannot be explained: all that take numbers can."""
        return no_texts(explained, "anchor_tabular")

    @staticmethod
    def check(node: NodeBase) -> Iterable[Finding]:
        """Find a missing sample, and numbers that no search can work with."""
        yield from needs_data(node, ", or a model: an explainer that was fitted and saved")
        yield from already_fitted(node, *_FIXED)
        yield from bad_search(node)
        if any(not 0 < cut < 100 for cut in _cuts(node)):
            yield ("args", "disc_perc"), "percentiles are above 0 and below 100"

    def load(self) -> None:
        """Fit on the sample, or load what was fitted."""
        super().load()
        if self.node.model is not None:
            self.name(len(self.explainer.feature_names), self.explainer.feature_names)

    def make(self) -> Any:
        """Return Alibi's explainer, fitted on the sample."""
        sample = self.read()
        with self.progress.work(f"anchor_tabular is fitted on {len(sample.x)} rows"):
            explainer = library().AnchorTabular(
                self.progress.watched(self.predicted),
                list(self.names),
                categorical_names=self.categories(self._categories) or None,
                seed=self.node.seed,
            )
            return explainer.fit(sample.x, disc_perc=self._percentiles)

    def rows(self, inputs: Mapping[str, Array]) -> Array:
        """Return the matrix of a request."""
        return self.matrix(inputs)

    def from_library(self, rows: Any) -> Array:
        """Return rows as a matrix."""
        matrix: Array = np.atleast_2d(rows)
        return matrix


def _cuts(node: NodeBase) -> Iterable[float]:
    args: Mapping[str, Any] = node.args
    return args.get("disc_perc") or ()
