"""CatBoost models: ``.cbm`` and ``.json`` files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np

from anabranch.components.arguments import AtLeastOne
from anabranch.components.artefacts.paths import model_file, reading
from anabranch.components.contract import CannotLoad
from anabranch.components.extras import require
from anabranch.components.registry import register
from anabranch.components.runtimes.features import (
    BoostedTrees,
    Features,
    ShapTrees,
    answer_types,
    at_least_one_row,
    numeric,
)
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.texts import as_text
from anabranch.specs.models import Predictor

_FORMATS = {".cbm": "cbm", ".json": "json"}
_CLASSIFIERS = frozenset({"Logloss", "CrossEntropy", "MultiClass", "MultiClassOneVsAll"})
_BINARY = frozenset({"Logloss", "CrossEntropy"})
_COUNTS = frozenset({"Poisson", "Tweedie"})
"""Losses of regressions whose raw value is the logarithm of the prediction."""


@register("predictor", "catboost")
class CatboostModel(BoostedTrees):
    """Serves a CatBoost model; ``predict`` returns a classifier's classes or a regressor's values.

    The other methods are ``predict_proba`` (a column for each class) and ``raw``, both FP64.
    Categories and texts are BYTES: in a matrix of BYTES, or with an input for each feature by
    name. ``threads`` (1) is the number of threads of a call. Neither format can run code.

    Args:
        threads: Threads of one call, at least 1.
    """

    methods = ("predict", "predict_proba", "raw")

    def __init__(self, node: Predictor, root: Path, *, threads: AtLeastOne = 1) -> None:
        self._catboost = require("catboost", "catboost")
        path = model_file(node, root)
        with reading(node, root):
            self._model = _load(self._catboost, path, node.model or "")
        names = self._model.feature_names_
        self.features = Features(node, len(names), names)
        self._categories = list(self._model.get_cat_feature_indices())
        self._texts = list(self._model.get_text_feature_indices())
        self._kind = _kind(node.method or "predict", _loss(self._model))
        self._threads = threads
        self.input_types = self.features.input_types
        if not self._categories and not self._texts:
            self.output_types = answer_types(self._call, self.features.count)

    def predict(self, /, **inputs: Array) -> Array:
        """Return the method's values [rows] or [rows, columns]."""
        matrix = self.features.matrix(inputs)
        if self._categories or self._texts:
            return self._call(self._pool(matrix) if len(matrix) else matrix)
        return cast(Array, at_least_one_row(self._call, numeric(matrix)))

    def tree_shap(self, /, **inputs: Array) -> ShapTrees:
        """Return each feature's contribution to the raw value of each row, by CatBoost."""
        pool = self._pool(self.features.matrix(inputs))
        return ShapTrees.of(
            self._model.get_feature_importance(pool, type="ShapValues", thread_count=self._threads),
            self._model.predict(pool, prediction_type="RawFormulaVal", thread_count=self._threads),
            is_binary=_loss(self._model) in _BINARY,
            of_outputs=not len(self._model.classes_),
        )

    def _pool(self, matrix: Array) -> Any:
        return self._catboost.Pool(
            _with_texts(matrix, [*self._categories, *self._texts]),
            cat_features=self._categories,
            text_features=self._texts,
        )

    def _call(self, rows: Any) -> Array:
        values = self._model.predict(rows, prediction_type=self._kind, thread_count=self._threads)
        return cast(
            Array, values[:, 0] if self._kind == "Class" and np.ndim(values) == 2 else values
        )


def _load(catboost: Any, path: Path, model: str) -> Any:
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        raise CannotLoad(f"{model} is neither .cbm nor .json: write it with save_model")
    found = catboost.CatBoost()
    found.load_model(path, format=form)
    return found


def _loss(model: Any) -> str:
    return str(model.get_all_params().get("loss_function", "")).partition(":")[0]


def _kind(method: str, loss: str) -> str:
    """Return CatBoost's name for the values of a method."""
    if method == "raw":
        return "RawFormulaVal"
    if loss in _CLASSIFIERS:
        return "Class" if method == "predict" else "Probability"
    if method == "predict_proba":
        raise CannotLoad(f"predict_proba needs a classifier, not the loss {loss or 'none'}")
    return "Exponent" if loss in _COUNTS else "RawFormulaVal"


def _with_texts(matrix: Array, columns: list[int]) -> Array:
    """Return the matrix with ``str`` in the columns of categories, numbers elsewhere."""
    mixed = as_text(matrix).astype(object)
    for index in range(mixed.shape[1]):
        convert = str if index in columns else float
        mixed[:, index] = [convert(value) for value in mixed[:, index]]
    return mixed
