"""Partial dependence, and its variance as a measure of importance.

Friedman: Greedy Function Approximation, Annals of Statistics 2001; Greenwell, Boehmke and McCarthy:
A Simple and Effective Model-Based Variable Importance Measure, 2018.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from anabranch.components.contract import CannotLoad
from anabranch.components.registry import register
from anabranch.errors import Mistake
from anabranch.explainers.alibi.global_methods import Curves, together
from anabranch.explainers.alibi.library import library
from anabranch.explainers.explanation import Curve
from anabranch.explainers.json_values import plain
from anabranch.explainers.model import Array
from anabranch.explainers.tabular import Categories, no_texts
from anabranch.specs.models import Explainer


class _Grids(Curves):
    """Base class of both methods: a grid for each feature.

    Args:
        percentiles: Lowest and highest share, 0 to 1, of the sample between which the grid lies.
        grid_resolution: Points of the grid of a feature, at least 2.
        categorical_names: Categories of a feature, by its name: those that its numbers stand for,
            or all its texts.
    """

    def __init__(
        self,
        node: Explainer,
        root: Path,
        *,
        percentiles: list[float] | None = None,
        grid_resolution: Annotated[int, Field(ge=2)] = 100,
        categorical_names: Categories | None = None,
        **common: Any,
    ) -> None:
        super().__init__(node, root, **common)
        self.named_categories = categorical_names
        self._grid = {
            "percentiles": tuple(percentiles or (0.0, 1.0)),
            "grid_resolution": grid_resolution,
        }

    @staticmethod
    def check(node: Explainer) -> Iterable[Mistake]:
        """Find a missing sample, and percentiles that are no range."""
        yield from Curves.check(node)
        args: Mapping[str, Any] = node.args
        cuts = args.get("percentiles") or [0.0, 1.0]
        if len(cuts) != 2 or not 0 <= cuts[0] < cuts[1] <= 1:
            yield ("args", "percentiles"), "must be two numbers from 0 to 1, the lower one first"

    def grids(self, cls: Any) -> Any:
        """Return Alibi's explainer of that class."""
        return cls(
            self.progress.watched(self.scores),
            feature_names=list(self.names),
            categorical_names=self.categories() or None,
        )

    def asked(self, explain: Any, **options: Any) -> Any:
        """Return Alibi's explanation; CannotLoad where it cannot make a grid."""
        try:
            return explain(self.sample.x, **self._grid, **options)
        except ValueError as error:
            raise CannotLoad(f"{self.node.method}: {' '.join(str(error).split())}") from None

    def curves(self, chosen: int) -> tuple[Curve, ...]:
        """Return the curve of each feature for a target."""
        found = zip(self.chosen, self.data["feature_values"], self.data["pd_values"], strict=True)
        return tuple(self._curve(feature, grid, values[chosen]) for feature, grid, values in found)

    def _curve(self, feature: int, grid: Array, values: Array) -> Curve:
        """Return the curve of a feature, over the names of its categories where it has some."""
        names = self.categories().get(feature)
        points = grid.tolist() if names is None else [names[int(index)] for index in grid]
        return Curve(feature=self.names[feature], grid=tuple(points), values=tuple(values.tolist()))


@register("explainer", "partial_dependence")
class PartialDependence(_Grids):
    """A curve for each feature: the mean score where all rows of the sample have that value.

    ``kind`` ``both`` adds each row's own curve to ``library``. The other arguments are those of
    Alibi's ``PartialDependence``.

    Args:
        kind: ``average``, or ``both`` for each row's own curve too.
    """

    def __init__(
        self,
        node: Explainer,
        root: Path,
        *,
        kind: Literal["average", "both"] = "average",
        **common: Any,
    ) -> None:
        super().__init__(node, root, **common)
        self._kind = kind

    fits = staticmethod(partial(no_texts, "partial_dependence"))

    def compute(self) -> Any:
        """Return Alibi's explanation."""
        explainer = self.grids(library().PartialDependence)
        explainer._compute_pd = lambda grid, features, X: together(
            explainer.predictor, grid, features, X
        )
        return self.asked(explainer.explain, features=self.chosen, kind=self._kind)

    def of_target(self, chosen: int) -> dict[str, Any]:
        """Return a curve for each feature."""
        return {"feature_names": self.chosen_names, "curves": self.curves(chosen)}


@register("explainer", "partial_dependence_variance")
class PartialDependenceVariance(_Grids):
    """The variance of the partial dependence on each feature, or on each pair.

    ``method`` is ``importance`` (features) or ``interaction`` (pairs). The other arguments are
    those of Alibi's ``PartialDependenceVariance``.

    Args:
        method: ``importance`` of features, or ``interaction`` of pairs of features.
    """

    def __init__(
        self,
        node: Explainer,
        root: Path,
        *,
        method: Literal["importance", "interaction"] = "importance",
        **common: Any,
    ) -> None:
        super().__init__(node, root, **common)
        self._method = method

    fits = staticmethod(partial(no_texts, "partial_dependence_variance"))

    def compute(self) -> Any:
        """Return Alibi's explanation."""
        explainer = self.grids(library().PartialDependenceVariance)
        inner = explainer.pd_explainer
        inner._compute_pd = lambda grid, features, X: together(inner.predictor, grid, features, X)
        pairs = self._method == "interaction"
        if pairs and len(self.chosen) < 2:
            raise CannotLoad("an interaction is one of at least two features")
        features = list(combinations(self.chosen, 2)) if pairs else self.chosen
        return self.asked(explainer.explain, features=features, method=self._method)

    def of_target(self, chosen: int) -> dict[str, Any]:
        """Return the importance of each feature with its curve, or the importance of each pair."""
        if self._method == "interaction":
            pairs = tuple(" × ".join(pair) for pair in combinations(self.chosen_names, 2))
            values = np.asarray(self.data["feature_interaction"])[chosen]
            return {"feature_names": pairs, "attributions": plain(values)}
        return {
            "feature_names": self.chosen_names,
            "attributions": plain(np.asarray(self.data["feature_importance"])[chosen]),
            "curves": self.curves(chosen),
        }
