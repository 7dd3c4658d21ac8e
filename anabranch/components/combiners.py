"""Built-in combiners: several tensors in, one tensor out, as the output ``output``.

All combiners take a list of arrays and never change them in place. ``mean``, ``weighted_mean``,
``vote`` and ``max`` work element by element on tensors of one shape, without broadcasting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, reduce
from typing import Any, ClassVar

import numpy as np

from anabranch.components.contract import DEFAULT_OUTPUT
from anabranch.components.registry import register
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.datatypes import kind_of
from anabranch.components.tensors.texts import as_raw
from anabranch.components.tensors.types import (
    Args,
    TypeConflict,
    Types,
    axis_of,
    both,
    check_ranks,
    common,
    dtype_of,
    floating,
    typed,
    unify,
    wide,
)
from anabranch.components.tensors.unwarned import unwarned
from anabranch.errors import Mistake
from anabranch.specs.excerpts import listing, shown
from anabranch.specs.models import Combiner, TensorSpec


class _Elementwise:
    """A combiner of tensors of one shape; ``result`` returns the dtype of the result."""

    name: ClassVar[str]

    @classmethod
    def result(cls, dtypes: Sequence[np.dtype[Any]]) -> np.dtype[Any]:
        """Return the dtype of the result; raise TypeConflict for dtypes that do not go together."""
        return common(dtypes, cls.name)

    @classmethod
    def infer(cls, inputs: Types, args: Args) -> Types:
        """Return the type of the output: the shape of all inputs, the dtype of ``result``."""
        known = [spec for spec in inputs.values() if spec is not None]
        if not known:
            return {DEFAULT_OUTPUT: None}
        shape, dtype = both(
            lambda: unify([spec.shape for spec in known]),
            lambda: cls.result([dtype_of(spec) for spec in known]),
        )
        return {DEFAULT_OUTPUT: typed(dtype, shape) if len(known) == len(inputs) else None}

    def agreed(self, inputs: Sequence[Array]) -> np.dtype[Any]:
        """Return the dtype of the result; raise ValueError for shapes or dtypes at odds."""
        first = inputs[0].shape
        if any(array.shape != first for array in inputs):
            shapes = listing(str(list(array.shape)) for array in inputs)
            raise ValueError(f"{self.name} needs inputs of one shape, got {shapes}")
        try:
            return _result(self.result, tuple([array.dtype for array in inputs]))
        except TypeConflict as conflict:
            raise ValueError(str(conflict)) from None


@lru_cache(maxsize=256)
def _result(
    rule: Callable[[Sequence[np.dtype[Any]]], np.dtype[Any]], dtypes: tuple[np.dtype[Any], ...]
) -> np.dtype[Any]:
    """Return the result of ``rule``, cached for later requests."""
    return rule(dtypes)


@register("combiner", "mean")
class Mean(_Elementwise):
    """Computes the arithmetic mean of each element.

    Takes numbers or BOOL of one shape. Floats keep their datatype; whole numbers and BOOL give
    FP64.
    """

    name = "mean"

    @classmethod
    def result(cls, dtypes: Sequence[np.dtype[Any]]) -> np.dtype[Any]:
        """Return the widest float of the inputs, FP64 for whole numbers."""
        return floating(dtypes, cls.name)

    def combine(self, inputs: Sequence[Array]) -> Array:
        """Return the mean of arrays of one shape; an element is NaN where an input is NaN."""
        dtype = self.agreed(inputs)
        with unwarned():
            total = np.array(inputs[0], dtype=wide(dtype))
            for array in inputs[1:]:
                total += array
            total /= len(inputs)
            return total.astype(dtype, copy=False)


@register("combiner", "weighted_mean")
class WeightedMean(_Elementwise):
    """Computes the weighted mean of each element; weights need not sum to 1.

    Takes and gives the datatypes of ``mean``. ``weights`` is a list in the order of the inputs, or
    a map: from parameters for inputs that are a map, from sources for inputs that are a list. A
    weight of 0 does not hide a NaN.

    Args:
        weights: Weight of each input, at least 0: a list in their order, or a map by parameter or
            source.
    """

    name = "weighted_mean"

    def __init__(self, node: Combiner, *, weights: list[float] | dict[str, float]) -> None:
        ordered = [weights[key] for key in node.inputs] if isinstance(weights, dict) else weights
        self._shares = [weight / sum(ordered) for weight in ordered]

    @classmethod
    def result(cls, dtypes: Sequence[np.dtype[Any]]) -> np.dtype[Any]:
        """Return the widest float of the inputs, FP64 for whole numbers."""
        return floating(dtypes, cls.name)

    @staticmethod
    def check(node: Combiner) -> Iterable[Mistake]:
        """Find weights that do not fit the inputs, are negative, or sum to 0."""
        weights: Any = node.args["weights"]
        keys = list(node.inputs)
        path = ("args", "weights")
        if isinstance(weights, dict) and set(weights) != set(keys):
            yield path, f"the weights are for {_names(weights)}, the inputs are {_names(keys)}"
        if isinstance(weights, list) and len(weights) != len(keys):
            yield path, f"{len(weights)} weights for {len(keys)} inputs ({_names(keys)})"
        values = list(weights.values()) if isinstance(weights, dict) else weights
        negative = [value for value in values if value < 0]
        if negative:
            yield path, f"a weight may not be negative, such as {shown(negative[0])}"
        elif not 0 < sum(values) < float("inf"):
            yield path, "the sum of the weights must be above 0 and finite"

    def combine(self, inputs: Sequence[Array]) -> Array:
        """Return the weighted mean of arrays of one shape."""
        return self._combine(inputs, self._shares)

    def combine_some(self, inputs: Mapping[int, Array]) -> Array:
        """Return the weighted mean of the remaining inputs, which are given by their places.

        Their weights are scaled to sum to 1. Raise ValueError where these weights sum to 0.
        """
        left = [self._shares[place] for place in inputs]
        if not sum(left) > 0:
            raise ValueError("the weights of the inputs that are left sum to 0")
        return self._combine(list(inputs.values()), [share / sum(left) for share in left])

    def _combine(self, inputs: Sequence[Array], shares: Sequence[float]) -> Array:
        dtype = self.agreed(inputs)
        working = wide(dtype)
        with unwarned():
            total = np.zeros(inputs[0].shape, dtype=working)
            for array, share in zip(inputs, shares, strict=True):
                total += np.multiply(array, working.type(share), dtype=working)
            return total.astype(dtype, copy=False)


def _names(names: Iterable[str]) -> str:
    return listing(names) or "none"


@register("combiner", "vote")
class Vote(_Elementwise):
    """Computes the most frequent label of each element.

    Takes whole numbers, BOOL or BYTES of one shape; gives the inputs' common datatype. ``str`` and
    its UTF-8 are the same label. Where labels tie, the first one in the order of the inputs wins.
    """

    name = "vote"

    @classmethod
    def result(cls, dtypes: Sequence[np.dtype[Any]]) -> np.dtype[Any]:
        """Return the dtype of the labels."""
        dtype = common(dtypes, cls.name, texts=True)
        if kind_of(dtype) == "f":
            raise TypeConflict("vote counts labels, not floats: use argmax first, or mean")
        return dtype

    def combine(self, inputs: Sequence[Array]) -> Array:
        """Return the most frequent label of each element."""
        dtype = self.agreed(inputs)
        stacked = np.stack([array.astype(dtype, copy=False) for array in inputs])
        labels = as_raw(stacked) if dtype.kind == "O" else stacked
        votes = np.stack([(labels == one).sum(axis=0) for one in labels])
        chosen = np.expand_dims(votes.argmax(axis=0), 0)
        return np.take_along_axis(stacked, chosen, axis=0)[0, ...]


@register("combiner", "max")
class Max(_Elementwise):
    """Computes the largest value of each element; NaN where an input is NaN.

    Takes numbers or BOOL of one shape; gives their common datatype.
    """

    name = "max"

    def combine(self, inputs: Sequence[Array]) -> Array:
        """Return the element-wise maximum of arrays of one shape."""
        dtype = self.agreed(inputs)
        with unwarned():
            arrays = [array.astype(dtype, copy=len(inputs) == 1) for array in inputs]
            return np.asarray(reduce(np.maximum, arrays), dtype)


def no_quorum(node: Combiner) -> Iterable[Mistake]:
    """Find a quorum of a combiner that needs all its inputs."""
    if node.quorum is not None:
        said = "cannot skip inputs: give each input that may fail `on_error: {value: …}` or"
        yield ("quorum",), f"{node.strategy} {said} `on_error: {{use: …}}`, and remove `quorum`"


@register("combiner", "concat")
class Concat:
    """Joins the inputs side by side along ``axis``, the last if left out.

    Takes tensors of any datatype with equal sizes in all other dimensions; gives their common
    datatype. Inputs that do not fit raise ValueError.

    Args:
        axis: Number of the dimension along which the inputs are joined.
    """

    def __init__(self, *, axis: int = -1) -> None:
        self._axis = axis

    @staticmethod
    def check(node: Combiner) -> Iterable[Mistake]:
        """Find a quorum: without one of its inputs the result would have another shape."""
        yield from no_quorum(node)

    @staticmethod
    def infer(inputs: Types, args: Args) -> Types:
        """Return the type of the output: sizes add up along the axis and agree elsewhere."""
        known = [spec for spec in inputs.values() if spec is not None]
        if not known:
            return {DEFAULT_OUTPUT: None}
        shape, dtype = both(
            lambda: _joined(known, args.get("axis", -1)),
            lambda: common([dtype_of(spec) for spec in known], "concat", texts=True),
        )
        return {DEFAULT_OUTPUT: typed(dtype, shape) if len(known) == len(inputs) else None}

    def combine(self, inputs: Sequence[Array]) -> Array:
        """Return the arrays joined along the axis; raise ValueError where they do not fit."""
        try:
            axis = axis_of(self._axis, inputs[0].ndim)
            dtype = common([array.dtype for array in inputs], "concat", texts=True)
        except TypeConflict as conflict:
            raise ValueError(str(conflict)) from None
        rest = {(*array.shape[:axis], *array.shape[axis + 1 :]) for array in inputs}
        if len(rest) > 1 or len({array.ndim for array in inputs}) > 1:
            shapes = listing(str(list(array.shape)) for array in inputs)
            raise ValueError(f"concat along axis {axis} needs equal sizes elsewhere, got {shapes}")
        return np.concatenate([array.astype(dtype, copy=False) for array in inputs], axis=axis)


def _joined(specs: Sequence[TensorSpec], axis: int) -> tuple[int, ...]:
    position = axis_of(axis, len(specs[0].shape))
    check_ranks([spec.shape for spec in specs])
    sizes = [spec.shape[position] for spec in specs]
    shape = list(unify([(*s.shape[:position], *s.shape[position + 1 :]) for s in specs]))
    shape.insert(position, -1 if -1 in sizes else sum(sizes))
    return tuple(shape)


@register("combiner", "first")
class First:
    """Returns the first input, of any type; with a quorum, the first remaining input."""

    @staticmethod
    def infer(inputs: Types, args: Args) -> Types:
        """Return the type of the first input."""
        return {DEFAULT_OUTPUT: next(iter(inputs.values()))}

    def combine(self, inputs: Sequence[Array]) -> Array:
        """Return the first array."""
        return inputs[0]
