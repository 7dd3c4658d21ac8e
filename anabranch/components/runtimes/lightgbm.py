"""LightGBM models: the text files that ``save_model`` writes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

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
from anabranch.specs.excerpts import hint
from anabranch.specs.models import Predictor

_UNTOLD = (
    ", as with `categorical_feature` or categories that have an order, so which values are whose "
    "is not known: name the categories in args.categories, or give the node one input with codes"
)
_OPTIONS: dict[str, dict[str, bool]] = {
    "predict": {},
    "predict_proba": {},
    "raw": {"raw_score": True},
    "contribs": {"pred_contrib": True},
    "leaf": {"pred_leaf": True},
}
"""Method: how ``Booster.predict`` is called for it."""


@register("predictor", "lightgbm")
class LightgbmModel(BoostedTrees):
    """Serves a Booster; the method ``predict`` is the Booster's own, in FP64.

    Other methods are ``predict_proba`` (a column for each class), ``raw``, ``contribs`` (SHAP
    values, the last column is the bias) and ``leaf``. Where a model was fitted on a frame with
    categories, inputs by name hold their values, such as texts. ``threads`` (1) is the number of
    threads of a call. The format cannot run code.

    Args:
        categories: Names of the inputs that were categories in the frame, for models whose file
            does not tell: some of the values are numbers, and some categories have an order.
        threads: Threads of one call, at least 1.
    """

    methods = tuple(_OPTIONS)

    def __init__(
        self,
        node: Predictor,
        root: Path,
        *,
        categories: list[str] | None = None,
        threads: AtLeastOne = 1,
    ) -> None:
        lightgbm = require("lightgbm", "lightgbm")
        path = model_file(node, root)
        with reading(node, root):
            text = path.read_text(encoding="utf-8")
            _check_whole(text, node.model or "")
            self._booster = lightgbm.Booster(model_str=text)
        self.features = self._features(node, text, categories)
        self._options = {**_OPTIONS[node.method or "predict"], "num_threads": threads}
        self._objective = _objective(text)
        self._finish = _finish(node.method, self._objective)
        self.input_types = self.features.input_types
        self.output_types = answer_types(self._rows, self.features.count)

    def predict(self, /, **inputs: Array) -> Array:
        """Return the method's values [rows] or [rows, columns]."""
        return cast(Array, at_least_one_row(self._rows, self.features.rows(inputs)))

    def tree_shap(self, /, **inputs: Array) -> ShapTrees:
        """Return each feature's contribution to the raw score of each row, by LightGBM."""
        rows = self.features.rows(inputs)
        threads = {"num_threads": self._options["num_threads"]}
        return ShapTrees.of(
            self._booster.predict(rows, pred_contrib=True, **threads),
            self._booster.predict(rows, raw_score=True, **threads),
            is_binary=self._objective == "binary",
        )

    def _features(self, node: Predictor, text: str, named: list[str] | None) -> Features:
        """Return the features; categories by value, where the file has their values."""
        count, names = self._booster.num_feature(), self._booster.feature_name()
        values = self._booster.pandas_categorical
        if not by_name(node, names) or not values:
            if named is not None:
                raise CannotLoad(
                    "args.categories is for inputs by name, of a model that was fitted on a frame "
                    "with categories"
                )
            return Features(node, count, names, types=dict(enumerate([NUMBERS] * count)))
        pandas = require("pandas", "lightgbm")
        if named is None and all(map(_are_texts, values)):
            return TextCategories(node, count, names, pandas, len(values))
        told = _categories(text) if named is None else _numbers(names, named)
        if len(told) != len(values):
            what = f"features that are such{_UNTOLD}" if named is None else "are in args.categories"
            raise CannotLoad(
                f"{node.model} has the values of {len(values)} categories, some of them numbers, "
                f"and {len(told)} {what}"
            )
        of_texts = [at for at, one in zip(told, values, strict=True) if _are_texts(one)]
        types = dict(enumerate([NUMBERS] * count)) | dict.fromkeys(of_texts, TEXTS)
        return Features(node, count, names, pandas, dict.fromkeys(told), types)

    def _rows(self, rows: Any) -> Any:
        return self._finish(self._booster.predict(rows, **self._options))


class TextCategories(Features):
    """Features among which the columns of texts are the categories of which the file has values.

    The file does not say which features these are: ``categorical_feature`` may name others, and
    categories that have an order are not among them.
    """

    def __init__(
        self, node: Predictor, count: int, names: Sequence[str], pandas: Any, texts: int
    ) -> None:
        super().__init__(node, count, names, pandas)
        self._count = texts

    def categories(self, columns: Sequence[Array]) -> Iterable[int]:
        """Return the columns of texts; ValueError where these are not all that the model has."""
        texts = [index for index, one in enumerate(columns) if one.dtype.kind in "OSU"]
        if len(texts) != self._count:
            raise ValueError(
                f"{len(texts)} inputs are BYTES, but the model has {self._count} categories of "
                "texts"
            )
        return texts


def _check_whole(text: str, model: str) -> None:
    """Raise CannotLoad for a truncated file: LightGBM reads past the end of such a file."""
    sizes = re.search(r"^tree_sizes=([0-9 ]*)$", text, re.MULTILINE)
    start, end = text.find("\nTree=0\n") + 1, text.find("\nend of trees\n") + 1
    if not text.startswith("tree\n") or sizes is None:
        raise CannotLoad(f"{model} is no text model of LightGBM: write it with save_model")
    if end - start != sum(map(int, sizes[1].split())) or not end:
        raise CannotLoad(f"{model} is not whole: its trees are not as long as it says")


def _categories(text: str) -> list[int]:
    """Return the numbers of the features that are categories."""
    found = re.search(r"^\[categorical_feature: ([0-9,]*)\]$", text, re.MULTILINE)
    return [int(number) for number in found[1].split(",") if number] if found is not None else []


def _numbers(names: Sequence[str], named: Sequence[str]) -> list[int]:
    """Return the numbers of features that were named; CannotLoad for one that there is not."""
    numbers = {plain(name): number for number, name in enumerate(names)}
    unknown = [name for name in named if name not in numbers]
    if unknown:
        raise CannotLoad(
            f"args.categories: the model has no feature {unknown[0]!r}{hint(unknown[0], numbers)}"
        )
    return sorted({numbers[name] for name in named})


def _are_texts(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _objective(text: str) -> str:
    found = re.search(r"^objective=(\S*)", text, re.MULTILINE)
    return found[1] if found is not None else "none"


def _finish(method: str | None, objective: str) -> Callable[[Any], Any]:
    """Return the conversion of the values of ``Booster.predict``."""
    if method != "predict_proba":
        return lambda values: values
    if objective == "binary":
        return both_classes
    if objective in ("multiclass", "multiclassova"):
        return lambda values: values
    raise CannotLoad(f"predict_proba needs a classifier, not the objective {objective}")
