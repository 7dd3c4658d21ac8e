"""Base of explainers of matrices [rows, features]: their sample, and names of features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anabranch.components.contract import CannotLoad
from anabranch.errors import InvalidRequest
from anabranch.explainers import samples
from anabranch.explainers.base import ExplainerMethod
from anabranch.explainers.model import Array
from anabranch.explainers.predictions import scores
from anabranch.explainers.progress import ExplanationProgress
from anabranch.specs.excerpts import hint
from anabranch.specs.models import Explainer, NodeBase

Categories = dict[str, list[str]]
"""Names of the categories that a feature's numbers 0, 1, ... stand for, by the feature's name."""


class Tabular(ExplainerMethod):
    """A method over named features."""

    columns = True
    asks_while_fitting = True
    """Whether the model is asked for the sample's rows; nothing could go along with them."""
    names: tuple[str, ...] = ()
    """Of the features, from ``load`` on."""

    def __init__(
        self,
        node: Explainer,
        root: Path,
        *,
        feature_names: list[str] | None = None,
        label: str | None = None,
        **common: Any,
    ) -> None:
        super().__init__(node, root, **common)
        self._given_names = tuple(feature_names or ())
        self._label = label
        self.progress = ExplanationProgress()

    def read(self) -> samples.Sample:
        """Read the sample that the node names, and take the names of features from it.

        Numbers are what the explained input can hold, so that a request's row falls into the
        same bins as the sample's.
        """
        if self.function.others and self.asks_while_fitting:
            raise CannotLoad(
                f"{self.node.method} is fitted on one tensor, but the explained node has more "
                "inputs than the one that args.input names"
            )
        sample = samples.read(self.node, self.root, self._label)
        if sample.x.ndim != 2:
            raise CannotLoad(
                f"data has the shape {list(sample.x.shape)}, expected [rows, features]"
            )
        self.name(sample.x.shape[1], sample.names)
        return samples.Sample(self.function.rounded(sample.x), sample.y, sample.names)

    def name(self, count: int, known: Sequence[str] = ()) -> None:
        """Name the features by the args, else by the sample or the model, else x0, x1, ..."""
        numbered = [f"x{index}" for index in range(count)]
        self.names = tuple(self._given_names or known or self.function.columns or numbered)
        if len(self.names) != count:
            raise CannotLoad(f"there are {len(self.names)} names of features, but {count} features")

    def matrix(self, inputs: Mapping[str, Array]) -> Array:
        """Return the matrix of a request; raise InvalidRequest for other features."""
        rows = self.function.rows(inputs)
        if rows.ndim != 2 or rows.shape[1] != len(self.names) or rows.dtype.kind in "OSU":
            raise InvalidRequest(
                f"{self.node.method} explains numbers [-1, {len(self.names)}], "
                f"not {rows.dtype}{list(rows.shape)}"
            )
        return rows.astype(np.float64)

    def scores(self, rows: Array) -> Array:
        """Return the model's scores of rows, FP64 [rows, targets]."""
        return scores(self.function(rows))

    def indices(self, features: Sequence[str]) -> list[int]:
        """Return the indices of features by their names; raise CannotLoad for an unknown name."""
        for feature in features:
            if feature not in self.names:
                raise CannotLoad(f"there is no feature {feature!r}{hint(feature, self.names)}")
        return [self.names.index(feature) for feature in features]

    def categories(self, named: Categories | None) -> dict[int, list[str]]:
        """Return names of categories by the index of their feature."""
        return dict(zip(self.indices(list(named or ())), (named or {}).values(), strict=True))


def no_texts(explained: NodeBase | None, method: str) -> str | None:
    """Return why a method over numbers cannot explain a node; None unless it takes texts."""
    if getattr(explained, "runtime", None) == "huggingface":
        return f"{method} explains matrices of numbers, but the runtime huggingface takes texts"
    return None


def needs_data(node: NodeBase, instead: str = "") -> Iterable[tuple[tuple[str], str]]:
    """Find a missing sample."""
    explainer = node
    assert isinstance(explainer, Explainer)
    if explainer.data is None and (not instead or explainer.model is None):
        yield (
            ("data",),
            f"{explainer.method} needs data, a sample to fit on: .npy, .npz or .csv{instead}",
        )


def no_model(node: NodeBase) -> Iterable[tuple[tuple[str], str]]:
    """Find a fitted explainer, for a method that has none."""
    assert isinstance(node, Explainer)
    if node.model is not None:
        yield ("model",), f"{node.method} has nothing fitted that could be loaded; remove it"
