"""scikit-learn estimators: joblib (``.joblib``, ``.pkl``) and skops (``.skops``) files."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from anabranch.components.artefacts.paths import model_file, reading
from anabranch.components.artefacts.uris import suffix
from anabranch.components.contract import DEFAULT_OUTPUT, CannotLoad
from anabranch.components.extras import require
from anabranch.components.registry import register
from anabranch.components.runtimes import THREADS
from anabranch.components.runtimes.features import Features, by_name, check_width
from anabranch.components.runtimes.fitted_types import fitted_types
from anabranch.components.runtimes.signatures import no_model, plain, refuse_no_rows
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.datatypes import BF16
from anabranch.components.tensors.texts import as_text
from anabranch.components.tensors.types import Args, Types
from anabranch.errors import InvalidRequest, Mistake
from anabranch.specs.excerpts import listing
from anabranch.specs.models import Predictor

_UNKNOWN = "Found unknown categories"
_METHODS = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "score_samples",
    "transform",
    "inverse_transform",
    "apply",
    "kneighbors",
)


@register("predictor", "sklearn")
class SklearnModel:
    """Serves a fitted estimator; ``method`` (``predict``) is called on the only input.

    Several inputs, [rows] or [rows, 1] each, are the columns of a data frame with the names that
    the estimator was fitted on, and so is one input with the name of the only column; BYTES are
    texts.

    skops files cannot run code: types that skops does not know must be listed in ``trusted``.
    joblib files can; by URI they need a digest. ``n_jobs`` (1 if left out) is set on the estimator
    and all its parts, since a pool of workers for each request costs more than it gains.

    Args:
        trusted: Full names of types in a ``.skops`` file that may be loaded although skops does not
            know them.
        n_jobs: Workers of a call, set on the estimator and all its parts; -1 for all processors.
    """

    max_concurrency = THREADS

    def __init__(
        self, node: Predictor, root: Path, *, trusted: list[str] | None = None, n_jobs: int = 1
    ) -> None:
        require("sklearn", "sklearn")
        path = model_file(node, root)
        with reading(node, root):
            self._model = _load(path, trusted or [])
        _set_jobs(self._model, n_jobs)
        self._call = _method(self._model, node.method or "predict")
        self._features: int | None = getattr(self._model, "n_features_in_", None)
        self.columns = _columns(self._model, node)
        """The columns by name that the inputs are; None for a matrix."""
        self.input_types = {} if self.columns is None else self.columns.input_types
        if self.columns is None:
            _check_matrix(self._model, self._call, node)
        # Models fitted on data frames would warn on every call that arrays carry no names.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")

    @property
    def estimator(self) -> Any:
        """The fitted estimator, for explainers that read it."""
        return self._model

    @staticmethod
    def executes_code(model: str) -> bool:
        """Tell whether loading the file may run code: all but skops may."""
        return suffix(model) != ".skops"

    @staticmethod
    def infer(inputs: Types, args: Args) -> Types:
        """Return one output, whose type only the model knows."""
        return {DEFAULT_OUTPUT: None}

    @staticmethod
    def check(node: Predictor) -> Iterable[Mistake]:
        """Find a missing model, private methods, and a node without inputs."""
        yield from no_model(node)
        if not node.inputs:
            yield ("inputs",), "the runtime 'sklearn' takes a matrix, or columns by name"
        if (node.method or "").startswith("_"):
            yield ("method",), "a method may not start with _"

    def predict(self, /, **inputs: Array) -> Any:
        """Return the result of the estimator's method for the matrix or the columns.

        InvalidRequest for no rows, where the estimator needs some, and for an unknown category.
        """
        rows = self._rows(inputs)
        return refuse_no_rows(lambda: self._answer(rows), inputs.values())

    def _rows(self, inputs: Mapping[str, Array]) -> Any:
        if self.columns is not None:
            return self.columns.rows(inputs)
        (array,) = inputs.values()
        if self._features is not None:
            check_width(array, self._features)
        # scikit-learn takes BF16 for texts; FP32 holds the same numbers.
        return array.astype(np.float32) if array.dtype == BF16 else as_text(array)

    def _answer(self, rows: Any) -> Any:
        """Call the method; InvalidRequest for a category that the estimator does not know."""
        try:
            return self._call(rows)
        except ValueError as error:
            if str(error).startswith(_UNKNOWN):
                raise InvalidRequest(str(error)) from None
            raise


def _columns(model: Any, node: Predictor) -> Features | None:
    """Return the inputs as columns; CannotLoad where they are not those of the estimator."""
    names = [str(name) for name in getattr(model, "feature_names_in_", ())]
    if not by_name(node, names):
        return None
    types = fitted_types(model, names)
    return Features(node, len(names), names, require("pandas", "sklearn"), types=types)


def _check_matrix(model: Any, call: Callable[[Any], Any], node: Predictor) -> None:
    """Raise CannotLoad for an estimator that picks columns by name, and so needs several inputs.

    It is asked about a row of zeros, which it may refuse for other reasons.
    """
    names = [str(name) for name in getattr(model, "feature_names_in_", ())]
    if not names:
        return
    try:
        with np.errstate(all="ignore"):
            call(np.zeros((1, len(names))))
    except Exception as error:
        by_name = isinstance(error, AttributeError | KeyError | IndexError)
        if by_name or "dataframe" in str(error).lower():
            raise CannotLoad(
                f"{node.model} picks columns by name, and a single input is a matrix without names"
                f": give the node an input for each column: {listing(map(plain, names))}"
            ) from None


def _load(path: Path, trusted: list[str]) -> Any:
    # By suffix first: a pickle that is called .skops must not be unpickled.
    if path.suffix.lower() == ".skops" or _is_skops(path):
        return _load_skops(path, trusted)
    return require("joblib", "sklearn").load(path)


def _is_skops(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return "schema.json" in archive.namelist()


def _load_skops(path: Path, trusted: list[str]) -> Any:
    skops = require("skops.io", "sklearn")
    untrusted = sorted(set(skops.get_untrusted_types(file=path)) - set(trusted))
    if untrusted:
        raise CannotLoad(
            f"{path.name} holds types that are not trusted: {listing(untrusted)}; "
            f"to allow them, list them in args: {{trusted: [{listing(untrusted)}]}}"
        )
    return skops.load(path, trusted=trusted)


def _set_jobs(model: Any, n_jobs: int) -> None:
    """Set n_jobs on the estimator and its parts, where they have it."""
    if hasattr(model, "get_params") and hasattr(model, "set_params"):
        keys = [key for key in model.get_params(deep=True) if key.rpartition("__")[2] == "n_jobs"]
        model.set_params(**dict.fromkeys(keys, n_jobs))


def _method(model: Any, name: str) -> Any:
    found = getattr(model, name, None)
    if not callable(found):
        there = [method for method in _METHODS if callable(getattr(model, method, None))]
        raise CannotLoad(
            f"{type(model).__name__} has no method {name!r} "
            f"(available: {listing(there) or 'none, is it an estimator?'})"
        )
    return found
