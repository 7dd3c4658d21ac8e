"""A model's features, by name or as a matrix; and methods and SHAP values of boosted trees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from anabranch.components.contract import DEFAULT_OUTPUT, CannotLoad
from anabranch.components.runtimes import THREADS
from anabranch.components.runtimes.signatures import no_model, plain
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.datatypes import BF16, to_datatype
from anabranch.components.tensors.model_types import ModelTensor
from anabranch.components.tensors.texts import as_text
from anabranch.components.tensors.types import Args, Types
from anabranch.errors import InvalidRequest, Mistake
from anabranch.specs.excerpts import hint, listing
from anabranch.specs.models import Predictor


class Features:
    """Makes the model's rows from the node's inputs: a matrix [rows, features], or a data frame.

    A single input is the matrix. Several inputs are its columns, [rows] or [rows, 1] each, with the
    names of the model's features as ``plain`` writes them; and so is a single input that has the
    name of the model's only feature.
    """

    def __init__(
        self,
        node: Predictor,
        count: int,
        names: Sequence[str] | None,
        pandas: Any = None,
        categories: Mapping[int, np.dtype[Any] | None] = MappingProxyType({}),
        types: Mapping[int, ModelTensor] = MappingProxyType({}),
    ) -> None:
        """Raise CannotLoad where the inputs are not the model's features.

        With ``pandas`` columns become a frame, in which those numbered by ``categories`` are
        categories, of whole numbers of that dtype or, for None, of any values. ``types`` are those
        of columns, by number, as far as the model tells.
        """
        self.count = count
        self.names = tuple(names or ())
        """As the model has them; none where it has none."""
        self._input = next(iter(node.inputs))
        self._columns = _columns(node, names) if by_name(node, self.names) else None
        self._pandas = None if self._columns is None else pandas
        self._categories = categories
        self._types = types

    @property
    def input_types(self) -> dict[str, ModelTensor]:
        """The types of the model's inputs: as many features as it was fitted on, of any numbers."""
        if self._columns is not None:
            return {self._columns[index]: one for index, one in self._types.items()}
        return {self._input: ModelTensor(shape=(-1, self.count))}

    def matrix(self, inputs: Mapping[str, Array]) -> Array:
        """Return the inputs as one matrix; raise ValueError for other features than the model's."""
        if self._columns is not None:
            return np.column_stack([as_column(inputs[name], name) for name in self._columns])
        (array,) = inputs.values()
        check_width(array, self.count)
        return array

    def rows(self, inputs: Mapping[str, Array]) -> Any:
        """Return the matrix, of numbers, or where the features have a frame, several inputs as one.

        The frame has the model's names, in the model's order. BYTES are texts; ValueError for those
        that are not UTF-8, and for columns of other shapes or of unequal rows; InvalidRequest for
        numbers that cannot be a category.
        """
        if self._pandas is None:
            return numeric(self.matrix(inputs))
        columns = [as_column(inputs[name], name) for name in self._columns or ()]
        if len({len(column) for column in columns}) > 1:
            rows = listing(f"{name} {len(inputs[name])}" for name in self._columns or ())
            raise ValueError(f"the inputs have different numbers of rows: {rows}")
        values = [self._framed(index, column) for index, column in enumerate(columns)]
        frame = self._pandas.DataFrame(dict(zip(self.names, values, strict=True)))
        categories = {self.names[index]: "category" for index in self.categories(columns)}
        return frame.astype(categories, copy=False)

    def categories(self, columns: Sequence[Array]) -> Iterable[int]:
        """Return the numbers of the columns that are categories."""
        return self._categories

    def _framed(self, index: int, column: Array) -> Array:
        """Return a column as a frame holds it: texts as ``str``, BF16 as FP32."""
        dtype = self._categories.get(index)
        values = as_text(column if column.dtype != BF16 else numeric(column))
        return values if dtype is None else _whole(values, dtype, self.names[index])


class BoostedTrees:
    """The contract that the runtimes of boosted trees share; each names its ``methods``."""

    max_concurrency = THREADS
    methods: ClassVar[Sequence[str]]

    @staticmethod
    def infer(inputs: Types, args: Args) -> Types:
        """Return one output, whose type only the model knows."""
        return {DEFAULT_OUTPUT: None}

    @classmethod
    def check(cls, node: Predictor) -> Iterable[Mistake]:
        """Find a missing model, and an unknown method."""
        yield from no_model(node)
        if node.method is not None and node.method not in cls.methods:
            method, there = node.method, hint(node.method, cls.methods)
            yield ("method",), f"the runtime {node.runtime!r} has no method {method!r}{there}"

    def without_shap(self) -> str | None:
        """Return why the trees have no SHAP values; None if they have."""
        return None


@dataclass(frozen=True)
class ShapTrees:
    """Contributions of each feature to each raw score of a row: the library's own Tree SHAP.

    ``attributions`` are [rows, targets, features], ``base`` and ``scores`` [rows, targets], FP64.
    A binary classifier has one raw score, that of class 1; here that of class 0, its negative,
    comes before it.
    """

    attributions: Array
    base: Array
    scores: Array
    of_outputs: bool = False
    """Whether the targets are a regressor's outputs, and no classes."""

    @classmethod
    def of(
        cls, values: Any, scores: Any, *, is_binary: bool, of_outputs: bool = False
    ) -> ShapTrees:
        """Read values [rows, targets * (features + 1)], the base last, and scores of any rank."""
        raw = np.asarray(scores, np.float64).reshape(len(scores), -1)
        parts = np.asarray(values, np.float64).reshape(*raw.shape, -1)
        if is_binary and raw.shape[1] == 1:
            raw, parts = np.hstack([-raw, raw]), np.hstack([-parts, parts])
        return cls(parts[..., :-1], parts[..., -1], raw, of_outputs)


def by_name(node: Predictor, names: Sequence[str]) -> bool:
    """Return whether the node's inputs are columns: several, or one with the only column's name."""
    return len(node.inputs) > 1 or [plain(name) for name in names] == list(node.inputs)


def _columns(node: Predictor, names: Sequence[str] | None) -> list[str]:
    if not names:
        raise CannotLoad(f"{node.model} names no features, so it takes one input: concat them")
    wanted = [plain(name) for name in names]
    if sorted(wanted) != sorted(node.inputs):
        missing = [name for name in wanted if name not in node.inputs]
        unknown = [name for name in node.inputs if name not in wanted]
        wrong = [f"of these the node lacks {listing(missing)}"] if missing else []
        wrong += [f"the node's inputs {listing(unknown)} are unknown"] if unknown else []
        raise CannotLoad(
            f"{node.model} was fitted on the features {listing(wanted)}; {', and '.join(wrong)}"
        )
    return wanted


def check_width(matrix: Array, count: int) -> None:
    """Raise ValueError unless a matrix has a column for each of so many features."""
    if matrix.ndim != 2 or matrix.shape[1] != count:
        raise ValueError(
            f"shape {list(matrix.shape)}, expected {[-1, count]}: "
            f"the model was fitted on {count} features"
        )


def as_column(array: Array, name: str) -> Array:
    """Return an input [rows] or [rows, 1] as [rows]; ValueError for one of another shape."""
    if array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"input {name!r} has shape {list(array.shape)}, expected [-1] or [-1, 1]")
    return array


def _whole(column: Array, dtype: np.dtype[Any], name: str) -> Array:
    """Return whole numbers in the dtype of a column's categories, which libraries insist on."""
    with np.errstate(invalid="ignore"):
        whole = column.astype(dtype)
    wrong = np.flatnonzero(whole != column)
    if len(wrong):
        value = column[wrong[0]].item()
        raise InvalidRequest(f"input {plain(name)!r} has {value}, its categories are {dtype}")
    return whole


def numeric(matrix: Array) -> Array:
    """Return a matrix of numbers for a model library: BF16, which few libraries know, as FP32."""
    if matrix.dtype.kind in "OSU":
        raise ValueError("BYTES, but the model takes numbers")
    return matrix if matrix.dtype.kind in "fiub" else matrix.astype(np.float32)


def at_least_one_row(call: Callable[[Any], Any], rows: Any) -> Any:
    """Call a model with at least one row, so that the answer to no rows keeps its rank."""
    if len(rows):
        return call(rows)
    dtype = rows.dtype if isinstance(rows, np.ndarray) else np.float32
    return call(np.zeros((1, *rows.shape[1:]), dtype))[:0]


def answer_types(call: Callable[[Array], Any], count: int) -> dict[str, ModelTensor]:
    """Return the types of a model's outputs, found by a call with one row of so many features."""
    answer = np.asarray(call(np.zeros((1, count), np.float32)))
    return {DEFAULT_OUTPUT: ModelTensor(to_datatype(answer.dtype), (-1, *answer.shape[1:]))}


def both_classes(positive: Array) -> Array:
    """Return the probabilities of both classes, given those of the second."""
    return np.stack([1 - positive, positive], axis=1)
