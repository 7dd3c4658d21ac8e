"""XGBoost models: ``.json`` and ``.ubj`` files, of a Booster or of a scikit-learn wrapper."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    both_classes,
    by_name,
)
from anabranch.components.runtimes.signatures import plain
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.model_types import NUMBERS, TEXTS
from anabranch.errors import InvalidRequest
from anabranch.specs.models import Predictor

_FORMATS = (".json", ".ubj")
_UNKNOWN = "Found a category not in the training set"
_WHERE = re.compile(r"for the (\d+)th \(0-based\) column: `(.*)`$")
_WHOLE = {9: "i1", 10: "u1", 11: "i2", 12: "u2", 13: "i4", 14: "u4", 15: "i8", 16: "u8"}
"""Datatypes of categories by their number in a model (``Value::ValueKind`` of XGBoost's JSON)."""
_BINARY, _MULTICLASS = "binary:logistic", "multi:softprob"
_METHODS: dict[str, Callable[[XgboostModel], Callable[[Array], Any]]] = {
    "predict": lambda model: model._values,
    "predict_proba": lambda model: model._probabilities(),
    "margin": lambda model: lambda matrix: model._values(matrix, "margin"),
    "contribs": lambda model: lambda matrix: model._details(matrix, pred_contribs=True),
    "leaf": lambda model: lambda matrix: model._details(matrix, pred_leaf=True),
}


@register("predictor", "xgboost")
class XgboostModel(BoostedTrees):
    """Serves a Booster; the method ``predict`` is the Booster's own, in FP32.

    Other methods are ``predict_proba`` (a column for each class), ``margin``, ``contribs`` (SHAP
    values, the last column is the bias) and ``leaf``. Where training stopped early, the best
    iteration counts, as in the scikit-learn wrapper. Where a model was fitted on a frame with
    categories, inputs by name hold their values, such as texts. ``threads`` (1) is the number of
    threads of a call. Neither format can run code.

    Args:
        threads: Threads of one call, at least 1.
    """

    methods = tuple(_METHODS)

    def __init__(self, node: Predictor, root: Path, *, threads: AtLeastOne = 1) -> None:
        self._xgboost = require("xgboost", "xgboost")
        path = model_file(node, root)
        with reading(node, root):
            self._booster = _load(self._xgboost, path, node.model or "", threads)
        self._trees = _best_trees(self._booster)
        self.features = _features(self._booster, node)
        self._call = _METHODS[node.method or "predict"](self)
        self.input_types = self.features.input_types
        self.output_types = answer_types(self._call, self.features.count)

    def predict(self, /, **inputs: Array) -> Array:
        """Return the method's values [rows] or [rows, columns]."""
        rows = self.features.rows(inputs)
        with self._errors():
            return cast(Array, at_least_one_row(self._call, rows))

    def without_shap(self) -> str | None:
        """Return why the trees have no SHAP values; None if they have."""
        try:
            # Only this tells: a model that was saved has forgotten how its trees were trained.
            self._details(np.zeros((1, self.features.count), np.float32), pred_contribs=True)
        except self._xgboost.core.XGBoostError as error:
            return f"one without SHAP values in XGBoost ({_first_line(error)})"
        return None

    def tree_shap(self, /, **inputs: Array) -> ShapTrees:
        """Return each feature's contribution to the margin of each row, by XGBoost."""
        rows = self.features.rows(inputs)
        with self._errors():
            values, scores = self._details(rows, pred_contribs=True), self._values(rows, "margin")
        objective = _objective(self._booster)
        return ShapTrees.of(
            values,
            scores,
            is_binary=objective.startswith("binary:"),
            of_outputs=not objective.startswith(("binary:", "multi:")),
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise XGBoost's errors as InvalidRequest for an unknown category, else as ValueError."""
        try:
            yield
        except self._xgboost.core.XGBoostError as error:
            text = _first_line(error)
            if _UNKNOWN in text:
                raise InvalidRequest(self._unknown(text)) from None
            raise ValueError(text) from None

    def _unknown(self, text: str) -> str:
        """Return XGBoost's message of an unknown category, with the column's name."""
        found = _WHERE.search(text)
        if found is None:
            return text.partition(": ")[2]
        name = plain(self.features.names[int(found[1])])
        return f"input {name!r} has {found[2]!r}, a category that the model was not trained on"

    def _values(self, rows: Any, kind: str = "value") -> Any:
        # Without a DMatrix, which copies: several times faster from some hundred rows on.
        return self._booster.inplace_predict(
            rows, iteration_range=self._trees, predict_type=kind, validate_features=False
        )

    def _details(self, rows: Any, **what: bool) -> Any:
        booster = self._booster
        types = booster.feature_types if isinstance(rows, np.ndarray) else None
        data = self._xgboost.DMatrix(rows, nthread=1, feature_types=types, enable_categorical=True)
        return booster.predict(data, iteration_range=self._trees, validate_features=False, **what)

    def _probabilities(self) -> Callable[[Array], Any]:
        objective = _objective(self._booster)
        if objective == _BINARY:
            return lambda matrix: both_classes(self._values(matrix))
        if objective == _MULTICLASS:
            return self._values
        raise CannotLoad(
            f"predict_proba needs the objective {_BINARY} or {_MULTICLASS}, not {objective}"
        )


def _load(xgboost: Any, path: Path, model: str, threads: int) -> Any:
    if path.suffix.lower() not in _FORMATS:
        raise CannotLoad(
            f"{model} is neither .json nor .ubj: write it with save_model (a pickled scikit-learn "
            "wrapper is for the runtime 'sklearn')"
        )
    try:
        booster = xgboost.Booster(model_file=path)
    except xgboost.core.XGBoostError as error:
        raise CannotLoad(f"cannot load {model}: {_first_line(error)}") from None
    booster.set_param({"nthread": threads})
    return booster


def _features(booster: Any, node: Predictor) -> Features:
    """Return the features; categories by value, where the file has their values (XGBoost 3.1)."""
    count, names = booster.num_features(), booster.feature_names
    known = booster.get_categories() if hasattr(booster, "get_categories") else None
    types = dict(enumerate([NUMBERS] * count))
    if not by_name(node, names or ()) or known is None or known.empty():
        return Features(node, count, names, types=types)
    kinds = _categories(booster)
    types |= {index: TEXTS for index, one in kinds.items() if "offsets" in one}
    values = {
        index: np.dtype(_WHOLE[one["type"]]) if one.get("type") in _WHOLE else None
        for index, one in kinds.items()
    }
    return Features(node, count, names, require("pandas", "xgboost"), values, types)


def _categories(booster: Any) -> dict[int, dict[str, Any]]:
    """Return the file's description of the values, by number, of features that are categories.

    Texts have ``offsets``, whole numbers a ``type``.
    """
    model = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]
    known = model.get("gbtree", model)["model"]["cats"]["enc"]
    kinds = booster.feature_types
    return {index: one for index, one in enumerate(known) if kinds[index] == "c"}


def _objective(booster: Any) -> str:
    return str(json.loads(booster.save_config())["learner"]["objective"]["name"])


def _first_line(error: Exception) -> str:
    """Return XGBoost's message without the stack trace, which names files of this machine."""
    text = str(error).partition("Stack trace:")[0].strip()
    return " ".join(text.rpartition("xgboost/")[2].split()) or type(error).__name__


def _best_trees(booster: Any) -> tuple[int, int]:
    """Return the range of iterations to use; (0, 0) means all."""
    best = booster.attributes().get("best_iteration")
    return (0, 0) if best is None else (0, int(best) + 1)
