"""Built-in transformers: each input becomes an output of its own, but for ``stack`` and ``split``.

A single input gives the output ``output``; several inputs give an output each, with the parameter's
name. ``stack`` makes one matrix of named columns, and ``split`` turns it into them again. Inputs
are never changed in place. Where a calculation gives floats, inputs of FP16, FP32, FP64 and BF16
keep their datatype; whole numbers and BOOL give FP64.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from anabranch.components.contract import DEFAULT_OUTPUT
from anabranch.components.registry import register
from anabranch.components.tensors.arrays import Array, to_bf16
from anabranch.components.tensors.datatypes import BF16, kind_of, to_datatype, to_dtype
from anabranch.components.tensors.types import (
    Args,
    TypeConflict,
    Types,
    axis_of,
    common,
    dtype_of,
    floating,
    typed,
    unify,
    wide,
)
from anabranch.components.tensors.unwarned import unwarned
from anabranch.errors import Mistake
from anabranch.specs.excerpts import hint, shown
from anabranch.specs.models import TENSOR_NAME, Datatype, NodeBase, TensorSpec, Transformer


class _PerInput:
    """A transformer that computes each output from one input."""

    @classmethod
    def output(cls, spec: TensorSpec, args: Args) -> TensorSpec | None:
        """Return the output's type for an input's type; raise TypeConflict if it is invalid."""
        raise NotImplementedError

    @classmethod
    def infer(cls, inputs: Types, args: Args) -> Types:
        """Return the types of the outputs."""
        found = {key: cls.output(spec, args) if spec else None for key, spec in inputs.items()}
        return {DEFAULT_OUTPUT: found.popitem()[1]} if len(found) == 1 else found

    def apply(self, array: Array) -> Array:
        """Return the output for one input array; raise TypeConflict for one that does not suit."""
        raise NotImplementedError

    def transform(self, /, **inputs: Array) -> Array | dict[str, Array]:
        """Return one array for one input, a dict for several."""
        try:
            if len(inputs) == 1:
                (array,) = inputs.values()
                return self.apply(array)
            return {name: self.apply(array) for name, array in inputs.items()}
        except TypeConflict as conflict:
            raise ValueError(str(conflict)) from None


Factor = float | Annotated[list[float], Field(min_length=1)]
_STEPS: Mapping[str, np.ufunc] = {
    "subtract": np.subtract,
    "divide_by": np.divide,
    "multiply_by": np.multiply,
    "add": np.add,
}


@register("transformer", "scale")
class Scale(_PerInput):
    """Computes ``(x - subtract) / divide_by * multiply_by + add``, in this order.

    At least one argument is needed. Each is a number, or a list with one number for each element
    of the last axis. A standard scaler is ``{subtract: means, divide_by: deviations}``. Takes
    numbers or BOOL of any shape; gives floats of the same shape.

    Args:
        subtract: Number that is subtracted, or a list with one for each element of the last axis.
        divide_by: Number by which the difference is divided, or such a list; never 0.
        multiply_by: Number by which the quotient is multiplied, or such a list.
        add: Number that is added last, or such a list.
    """

    def __init__(
        self,
        *,
        subtract: Factor | None = None,
        divide_by: Factor | None = None,
        multiply_by: Factor | None = None,
        add: Factor | None = None,
    ) -> None:
        given = zip(_STEPS.values(), (subtract, divide_by, multiply_by, add), strict=True)
        self._steps = [
            (step, np.asarray(value, dtype=np.float64))
            for step, value in given
            if value is not None
        ]

    @staticmethod
    def check(node: NodeBase) -> Iterable[Mistake]:
        """Find a division by 0, and a scale that does nothing."""
        given = {name: value for name, value in node.args.items() if value is not None}
        if not given:
            yield ("args",), f"scale needs at least one of {', '.join(_STEPS)}"
        divisor = given.get("divide_by", 1)
        if 0 in (divisor if isinstance(divisor, list) else [divisor]):
            yield ("args", "divide_by"), "cannot divide by 0"

    @classmethod
    def output(cls, spec: TensorSpec, args: Args) -> TensorSpec | None:
        """Return a float of the same shape."""
        for name, value in args.items():
            if isinstance(value, list):
                _check_factors(name, len(value), spec.shape)
        return typed(floating([dtype_of(spec)], "scale"), spec.shape)

    def apply(self, array: Array) -> Array:
        """Return the scaled array."""
        dtype = floating([array.dtype], "scale")
        result = np.array(array, dtype=wide(dtype))
        with unwarned():
            for step, factor in self._steps:
                _check_shape(step.__name__, factor, array)
                step(result, factor.astype(result.dtype), out=result)
            return result.astype(dtype, copy=False)


def _check_factors(name: str, count: int, shape: Sequence[int]) -> None:
    if not shape or shape[-1] not in (-1, count):
        raise TypeConflict(f"{name} has {count} numbers, but the shape is {list(shape)}")


def _check_shape(name: str, factor: Array, array: Array) -> None:
    if factor.ndim and (not array.ndim or array.shape[-1] != factor.size):
        raise ValueError(f"{name} has {factor.size} numbers, but the shape is {list(array.shape)}")


@register("transformer", "cast")
class Cast(_PerInput):
    """Converts a tensor of any shape to another ``datatype``.

    The fraction of floats is cut off for whole numbers. A value that the datatype cannot hold (NaN
    or 300 as UINT8) raises ValueError; floats too large for a smaller float become infinite. BYTES
    are read as numbers, and numbers written as BYTES; BYTES do not become BOOL.

    Args:
        datatype: Datatype of the output.
    """

    def __init__(self, *, datatype: Datatype) -> None:
        self._dtype = to_dtype(datatype)

    @classmethod
    def output(cls, spec: TensorSpec, args: Args) -> TensorSpec | None:
        """Return the same shape in the new datatype."""
        dtype = to_dtype(args["datatype"])
        if dtype_of(spec).kind == "O" and dtype.kind == "b":
            raise TypeConflict("cast cannot turn BYTES into BOOL")
        return typed(dtype, spec.shape)

    def apply(self, array: Array) -> Array:
        """Return the array in the new datatype; the array itself if it already has the datatype."""
        if array.dtype == self._dtype:
            return array
        if self._dtype.kind == "O":
            return _to_texts(array)
        if array.dtype.kind in "OUS":
            array = _from_texts(array, self._dtype)
        if self._dtype.kind in "iu" and not np.can_cast(array.dtype, self._dtype):
            _check_fits(array, self._dtype)
        with unwarned():
            if self._dtype == BF16:
                return to_bf16(array.astype(np.float64))
            return array.astype(self._dtype)


def _to_texts(array: Array) -> Array:
    if array.dtype.kind in "US":
        return array.astype(object)
    numbers = array.astype(np.float32) if array.dtype == BF16 else array
    return numbers.astype(str).astype(object)


def _from_texts(array: Array, dtype: np.dtype[Any]) -> Array:
    """Return texts as numbers; whole numbers are exact, since Python's ``int`` reads them."""
    if dtype.kind == "b":
        raise ValueError("cast cannot turn BYTES into BOOL")
    read: Callable[[Any], Any] = float if kind_of(dtype) == "f" else int
    try:
        numbers = [read(text) for text in array.flat]
    except ValueError as error:
        raise ValueError(f"cast to {to_datatype(dtype)}: {error}") from None
    if kind_of(dtype) == "f":
        return np.array(numbers, dtype=np.float64).reshape(array.shape)
    return np.array([_fitting(number, dtype) for number in numbers], dtype=dtype).reshape(
        array.shape
    )


def _fitting(number: int, dtype: np.dtype[Any]) -> int:
    limits = np.iinfo(dtype)
    if not limits.min <= number <= limits.max:
        raise ValueError(_does_not_fit(number, dtype))
    return number


def _check_fits(array: Array, dtype: np.dtype[Any]) -> None:
    """Raise ValueError for the first value that a whole-number dtype cannot hold."""
    limits = np.iinfo(dtype)
    if kind_of(array.dtype) == "f":
        # The limit above is a power of two, which a float holds exactly; the maximum it may not.
        whole = np.trunc(array).astype(np.float64)
        wrong = ~((whole >= float(limits.min)) & (whole < float(limits.max + 1)))
    else:
        wrong = (array < limits.min) | (array > limits.max)
    if wrong.any():
        raise ValueError(_does_not_fit(array[wrong].flat[0], dtype))


def _does_not_fit(value: object, dtype: np.dtype[Any]) -> str:
    limits = np.iinfo(dtype)
    return f"cast: {value} does not fit {to_datatype(dtype)} ({limits.min} to {limits.max})"


@register("transformer", "rename")
class Rename:
    """Returns the inputs unchanged under the output names in ``names`` (parameter: output).

    Inputs without an entry keep the name of their parameter. Takes tensors of any type.

    Args:
        names: Name of the output for each parameter that is renamed.
    """

    def __init__(self, *, names: dict[str, str]) -> None:
        self._names = names

    @staticmethod
    def check(node: Transformer) -> Iterable[Mistake]:
        """Find names of unknown inputs, and equal names of outputs."""
        names: Any = node.args["names"]
        for name, output in names.items():
            if name not in node.inputs:
                yield (
                    ("args", "names", name),
                    f"there is no input {shown(name)}{hint(name, node.inputs)}",
                )
            if re.fullmatch(TENSOR_NAME, output) is None:
                yield ("args", "names", name), f"{shown(output)} is no name of a tensor"
        counts = Counter(names.get(name, name) for name in node.inputs)
        for name, count in counts.items():
            if count > 1:
                yield ("args", "names"), f"{count} outputs would be called {shown(name)}"

    @staticmethod
    def infer(inputs: Types, args: Args) -> Types:
        """Return the types of the inputs under the new names."""
        return {args["names"].get(name, name): spec for name, spec in inputs.items()}

    def transform(self, /, **inputs: Array) -> dict[str, Array]:
        """Return the arrays under the new names."""
        return {self._names.get(name, name): array for name, array in inputs.items()}


@register("transformer", "select")
class Select(_PerInput):
    """Selects the elements ``indices`` along ``axis`` (the last if left out), in that order.

    A list keeps the axis; a single number drops it. Negative numbers count from the end. Takes
    tensors of any datatype with at least one dimension; an index out of range raises ValueError.

    Args:
        indices: Places along the axis from 0 on, negative ones from the end: a list, or a single
            number.
        axis: Number of the dimension; negative numbers count from the last.
    """

    def __init__(self, *, indices: int | list[int], axis: int = -1) -> None:
        self._indices, self._axis = indices, axis

    @classmethod
    def output(cls, spec: TensorSpec, args: Args) -> TensorSpec | None:
        """Return the type with the axis as long as ``indices``, or without the axis."""
        axis = axis_of(args.get("axis", -1), len(spec.shape))
        indices = args["indices"]
        _check_indices(indices, spec.shape[axis])
        kept = (len(indices),) if isinstance(indices, list) else ()
        return typed(dtype_of(spec), (*spec.shape[:axis], *kept, *spec.shape[axis + 1 :]))

    def apply(self, array: Array) -> Array:
        """Return the selected elements as a new array."""
        axis = axis_of(self._axis, array.ndim)
        _check_indices(self._indices, array.shape[axis])
        indices = np.asarray(self._indices, dtype=np.intp)
        # NumPy takes a bare scalar out of an array of one dimension.
        return np.asarray(np.take(array, indices, axis=axis), array.dtype)


def _check_indices(indices: int | list[int], size: int) -> None:
    for index in [indices] if isinstance(indices, int) else indices:
        if size != -1 and not -size <= index < size:
            raise TypeConflict(f"select: index {shown(index)} is out of range for size {size}")


@register("transformer", "stack")
class Stack:
    """Puts named columns side by side: each input is a column, the output is a matrix.

    Takes tensors [rows] or [rows, 1] of any datatype; gives [rows, columns] of their common
    datatype, for a model that takes one matrix. BYTES and numbers do not mix: a model of mixed
    columns takes them as inputs by name. Inputs that do not fit raise ValueError.

    Args:
        columns: Every input, in the order of the matrix.
    """

    def __init__(self, *, columns: list[str]) -> None:
        self._columns = columns

    @staticmethod
    def check(node: Transformer) -> Iterable[Mistake]:
        """Find columns that are no inputs, inputs that are no columns, and what is there twice."""
        columns: Any = node.args["columns"]
        for name in dict.fromkeys(columns):
            if name not in node.inputs:
                yield (
                    ("args", "columns"),
                    f"there is no input {shown(name)}{hint(name, node.inputs)}",
                )
            if columns.count(name) > 1:
                yield ("args", "columns"), f"{shown(name)} stands there {columns.count(name)} times"
        for name in node.inputs:
            if name not in columns:
                yield ("args", "columns"), f"the input {shown(name)} has no place in the matrix"

    @staticmethod
    def infer(inputs: Types, args: Args) -> Types:
        """Return the type of the matrix: rows agree, and each input is one column."""
        known = [spec for spec in inputs.values() if spec is not None]
        if not known:
            return {DEFAULT_OUTPUT: None}
        rows = unify([_column(spec.shape) for spec in known])
        dtype = common([dtype_of(spec) for spec in known], "stack", texts=True)
        is_whole = len(known) == len(inputs)
        return {DEFAULT_OUTPUT: typed(dtype, (*rows, len(inputs))) if is_whole else None}

    def transform(self, /, **inputs: Array) -> Array:
        """Return the matrix; raise ValueError where the inputs do not fit."""
        arrays = [inputs[name] for name in self._columns]
        try:
            dtype = common([array.dtype for array in arrays], "stack", texts=True)
            unify([_column(array.shape) for array in arrays])
        except TypeConflict as conflict:
            raise ValueError(str(conflict)) from None
        return np.stack([one.reshape(-1).astype(dtype, copy=False) for one in arrays], axis=1)


def _column(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of a column without its second dimension, which is 1."""
    if len(shape) == 1 or (len(shape) == 2 and shape[1] in (1, -1)):
        return tuple(shape[:1])
    raise TypeConflict(f"a column is [rows] or [rows, 1], not {list(shape)}")


@register("transformer", "split")
class Split:
    """Takes a matrix apart: each of its columns becomes an output of its own.

    Takes one tensor [rows, columns] of any datatype; gives tensors [rows]. A matrix with another
    number of columns raises ValueError.

    Args:
        columns: Name of the output for each column.
    """

    def __init__(self, *, columns: Annotated[list[str], Field(min_length=1)]) -> None:
        self._columns = columns

    @staticmethod
    def check(node: Transformer) -> Iterable[Mistake]:
        """Find several inputs, and names that are none or are there twice."""
        if len(node.inputs) > 1:
            yield ("inputs",), f"split takes one matrix, not {len(node.inputs)} inputs"
        columns: Any = node.args["columns"]
        for name, count in Counter(columns).items():
            if re.fullmatch(TENSOR_NAME, name) is None:
                yield ("args", "columns"), f"{shown(name)} is no name of a tensor"
            if count > 1:
                yield ("args", "columns"), f"{count} outputs would be called {shown(name)}"

    @staticmethod
    def infer(inputs: Types, args: Args) -> Types:
        """Return the type of each column."""
        (spec,) = inputs.values()
        if spec is not None:
            _check_columns(spec.shape, args["columns"])
        column = typed(dtype_of(spec), spec.shape[:1]) if spec is not None else None
        return dict.fromkeys(args["columns"], column)

    def transform(self, /, **inputs: Array) -> dict[str, Array]:
        """Return the columns; raise ValueError where there are more or fewer."""
        (array,) = inputs.values()
        try:
            _check_columns(array.shape, self._columns)
        except TypeConflict as conflict:
            raise ValueError(str(conflict)) from None
        return dict(zip(self._columns, np.ascontiguousarray(array.T), strict=True))


def _check_columns(shape: Sequence[int], columns: Sequence[str]) -> None:
    if len(shape) != 2 or shape[1] not in (-1, len(columns)):
        raise TypeConflict(f"split needs [rows, {len(columns)}], but the shape is {list(shape)}")


@register("transformer", "softmax")
class Softmax(_PerInput):
    """Computes exponentials that sum to 1 along ``axis`` (the last if left out).

    Takes numbers or BOOL with at least one dimension; gives floats of the same shape. Values are
    shifted by the maximum, so large values do not overflow. NaN makes its whole row NaN.

    Args:
        axis: Number of the dimension along which values sum to 1.
    """

    def __init__(self, *, axis: int = -1) -> None:
        self._axis = axis

    @classmethod
    def output(cls, spec: TensorSpec, args: Args) -> TensorSpec | None:
        """Return a float of the same shape."""
        axis_of(args.get("axis", -1), len(spec.shape))
        return typed(floating([dtype_of(spec)], "softmax"), spec.shape)

    def apply(self, array: Array) -> Array:
        """Return the softmax of the array."""
        dtype, axis = floating([array.dtype], "softmax"), axis_of(self._axis, array.ndim)
        if array.size == 0:
            return np.empty(array.shape, dtype=dtype)
        with unwarned():
            result = np.array(array, dtype=wide(dtype))
            result -= result.max(axis=axis, keepdims=True)
            np.exp(result, out=result)
            result /= result.sum(axis=axis, keepdims=True)
            return result.astype(dtype, copy=False)


@register("transformer", "argmax")
class Argmax(_PerInput):
    """Computes the index of the largest value along ``axis`` (the last if left out).

    Takes numbers or BOOL with at least one dimension; gives INT64 without the axis. The first of
    several equal values wins; NaN counts as the largest. An empty axis raises ValueError.

    Args:
        axis: Number of the dimension that is searched, and dropped.
    """

    def __init__(self, *, axis: int = -1) -> None:
        self._axis = axis

    @classmethod
    def output(cls, spec: TensorSpec, args: Args) -> TensorSpec | None:
        """Return INT64 without the axis."""
        floating([dtype_of(spec)], "argmax")
        axis = axis_of(args.get("axis", -1), len(spec.shape))
        if spec.shape[axis] == 0:
            raise TypeConflict(f"argmax: axis {axis} has size 0")
        return typed(np.dtype(np.int64), (*spec.shape[:axis], *spec.shape[axis + 1 :]))

    def apply(self, array: Array) -> Array:
        """Return the indices; raise ValueError where the axis is empty."""
        floating([array.dtype], "argmax")
        axis = axis_of(self._axis, array.ndim)
        if array.shape[axis] == 0:
            raise ValueError(f"argmax: axis {axis} has size 0")
        return np.asarray(np.argmax(array, axis=axis), dtype=np.int64)


@register("transformer", "threshold")
class Threshold(_PerInput):
    """Compares each value with ``at``: BOOL, true where the value is ``at`` or more.

    Takes numbers or BOOL of any shape; gives BOOL of the same shape. NaN gives false.

    Args:
        at: Smallest value that gives true.
    """

    def __init__(self, *, at: float) -> None:
        self._at = float(at)

    @classmethod
    def output(cls, spec: TensorSpec, args: Args) -> TensorSpec | None:
        """Return BOOL of the same shape."""
        floating([dtype_of(spec)], "threshold")
        return typed(np.dtype(np.bool_), spec.shape)

    def apply(self, array: Array) -> Array:
        """Return the comparison, made in the array's own precision."""
        floating([array.dtype], "threshold")
        with unwarned():
            at = BF16.type(self._at) if array.dtype == BF16 else self._at
            return np.asarray(array >= at)
