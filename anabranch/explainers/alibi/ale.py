"""Accumulated local effects: how the score changes with a feature, where the sample has rows.

Apley and Zhu: Visualizing the Effects of Predictor Variables in Black Box Supervised Learning
Models, JRSS B 2020.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from anabranch.components.arguments import AtLeastOne
from anabranch.components.contract import CannotLoad
from anabranch.components.registry import register
from anabranch.explainers.alibi.global_methods import Curves
from anabranch.explainers.alibi.library import library
from anabranch.explainers.explanation import Curve
from anabranch.explainers.tabular import no_texts
from anabranch.specs.excerpts import listing
from anabranch.specs.models import Explainer


@register("explainer", "ale")
class Ale(Curves):
    """A curve for each feature, centred at 0; arguments are those of Alibi's ``ALE``.

    Args:
        min_bin_points: Fewest rows in each bin of a feature, at least 1.
        check_feature_resolution: Whether a feature of few values gets a bin for each.
        low_resolution_threshold: Number of values up to which a feature has few.
        extrapolate_constant: Whether a feature with a single value gets a curve, from made-up
            values around it.
        extrapolate_constant_perc: Percentage of the value by which they are away from it.
        extrapolate_constant_min: Least distance by which they are away from it.
    """

    def __init__(
        self,
        node: Explainer,
        root: Path,
        *,
        min_bin_points: AtLeastOne = 4,
        check_feature_resolution: bool = True,
        low_resolution_threshold: int = 10,
        extrapolate_constant: bool = True,
        extrapolate_constant_perc: float = 10.0,
        extrapolate_constant_min: float = 0.1,
        **common: Any,
    ) -> None:
        super().__init__(node, root, **common)
        self._min_bin_points = min_bin_points
        self._options = {
            "check_feature_resolution": check_feature_resolution,
            "low_resolution_threshold": low_resolution_threshold,
            "extrapolate_constant": extrapolate_constant,
            "extrapolate_constant_perc": extrapolate_constant_perc,
            "extrapolate_constant_min": extrapolate_constant_min,
        }

    fits = staticmethod(partial(no_texts, "ale"))

    def compute(self) -> Any:
        """Return Alibi's explanation; CannotLoad for features that are texts."""
        texts = [self.names[index] for index in self.chosen if index in self.codes]
        if texts:
            others = [name for index, name in enumerate(self.names) if index not in self.codes]
            raise CannotLoad(
                f"ale follows the order of a feature's values, but {listing(texts)} are texts; "
                f"explain other features: args: {{features: [{listing(others)}]}}"
            )
        explainer = library().ALE(
            self.progress.watched(self.scores), feature_names=list(self.names), **self._options
        )
        return explainer.explain(
            self.sample.x, features=self.chosen, min_bin_points=self._min_bin_points
        )

    def of_target(self, chosen: int) -> dict[str, Any]:
        """Return the curves of a target, one for each feature."""
        found = zip(
            self.chosen_names, self.data["feature_values"], self.data["ale_values"], strict=True
        )
        curves = [
            Curve(feature=name, grid=tuple(grid.tolist()), values=tuple(values[:, chosen].tolist()))
            for name, grid, values in found
        ]
        return {"feature_names": self.chosen_names, "curves": tuple(curves)}
