"""Base of explainers of matrices [rows, features]: their sample, and names of features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from anabranch.components.contract import CannotLoad
from anabranch.components.runtimes.signatures import plain
from anabranch.errors import InvalidRequest
from anabranch.explainers import samples
from anabranch.explainers.base import ExplainerMethod
from anabranch.explainers.model import Array
from anabranch.explainers.predictions import scores
from anabranch.explainers.progress import ExplanationProgress
from anabranch.explainers.text_codes import TextCodes
from anabranch.specs.excerpts import hint, listing
from anabranch.specs.models import Explainer, NodeBase

Categories = dict[str, list[str]]
"""By a feature's name: the categories that its numbers 0, 1, ... stand for, or all its texts."""


class Tabular(ExplainerMethod):
    """A method over named features.

    Args:
        feature_names: Names of the features, in their order; those of the sample or the model if
            left out.
        label: Column of a ``.csv`` that holds the truth and is no feature.
    """

    columns = True
    asks_while_fitting = True
    """Whether the model is asked for the sample's rows; nothing could go along with them."""
    names: tuple[str, ...] = ()
    """Of the features, from ``load`` on."""
    named_categories: Categories | None = None
    """The argument ``categorical_names`` of the methods that have it."""
    codes: Mapping[int, TextCodes] = MappingProxyType({})
    """Of features that are texts, by index, from ``read`` on."""

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
        same bins as the sample's. Features that are inputs by name may be texts, which become
        codes.
        """
        if self.function.others and self.asks_while_fitting:
            raise CannotLoad(
                f"{self.node.method} is fitted on one tensor, but the explained node has more "
                "inputs than the one that args.input names"
            )
        texts = self.function.texts
        if texts and not self.function.columns:
            raise CannotLoad(
                f"{self.node.method} explains texts in inputs of one feature each, but input "
                f"{texts[0]!r} is one tensor of BYTES"
            )
        sample = samples.read(self.node, self.root, self._label, self._columns())
        if sample.x.ndim != 2:
            raise CannotLoad(
                f"data has the shape {list(sample.x.shape)}, expected [rows, features]"
            )
        self.name(sample.x.shape[1], sample.names)
        self.codes = sample.codes
        self.function.use_codes(sample.codes)
        return replace(sample, x=self.function.rounded(sample.x))

    def no_texts_when_fitted(self) -> None:
        """Raise CannotLoad where inputs are texts, whose codes a saved explainer does not have."""
        if self.function.texts:
            raise CannotLoad(
                f"a fitted explainer knows numbers only, but {listing(self.function.texts)} are "
                "BYTES: give it `data` instead, a .csv"
            )

    def _columns(self) -> list[samples.Column]:
        """Return the inputs of one feature each that are explained; none for a matrix."""
        named = {plain(name): tuple(texts) for name, texts in (self.named_categories or {}).items()}
        return [
            samples.Column(name, self.function.datatype(name), named.get(name, ()))
            for name in self.function.columns
        ]

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

    def categories(self) -> dict[int, list[str]]:
        """Return the categories that numbers stand for, by the index of their feature."""
        named = self.named_categories or {}
        categories = dict(zip(self.indices(list(named)), named.values(), strict=True))
        return {**categories, **{index: list(one.texts) for index, one in self.codes.items()}}


def no_texts(method: str, explained: NodeBase | None) -> str | None:
    """Return why a method over numbers cannot explain a node; None unless it takes texts."""
    if getattr(explained, "runtime", None) == "huggingface":
        return f"{method} explains matrices of numbers, but the runtime huggingface takes texts"
    return None


def needs_data(node: Explainer, instead: str = "") -> Iterable[tuple[tuple[str], str]]:
    """Find a missing sample."""
    if node.data is None and (not instead or node.model is None):
        yield (
            ("data",),
            f"{node.method} needs data, a sample to fit on: .npy, .npz or .csv{instead}",
        )


def no_model(node: Explainer) -> Iterable[tuple[tuple[str], str]]:
    """Find a fitted explainer, for a method that has none."""
    if node.model is not None:
        yield ("model",), f"{node.method} has nothing fitted that could be loaded; remove it"
