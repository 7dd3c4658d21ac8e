"""Labels of a graph's answers, row by row, and their agreement with the truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from anabranch.components.tensors.arrays import Array
from anabranch.router.inference.contract import OutputTensor
from anabranch.router.measure.scores import are_scores, classes

Label: TypeAlias = bool | int | float | str
Answer: TypeAlias = tuple[Label, ...]
"""The class or label of each row."""

MAX_ROWS = 16
"""Rows beyond which nobody remembers an answer."""
MAX_BYTES = 64 * 2**10
"""Size of an output beyond which nobody remembers an answer, in bytes."""
MAX_LABEL = 256
"""Longest label, in characters or bytes: what is longer is text, and no label."""


def is_small(output: OutputTensor) -> bool:
    """Return whether an output is small enough to find an answer in."""
    array = output.array
    return array.ndim > 0 and 0 < array.shape[0] <= MAX_ROWS and array.nbytes <= MAX_BYTES


def answer_of(outputs: Iterable[OutputTensor]) -> Answer | None:
    """Return the answer in small outputs; None where there is none.

    That is the first output of labels (integers, BOOL or BYTES, one per row), else the winners in
    the first one of class scores, which has a row of floats for each.
    """
    arrays = [output.array for output in outputs]
    for read in (_labels, _winners):
        for array in arrays:
            if (found := read(array)) is not None:
                return found
    return None


def _labels(array: Array) -> Answer | None:
    if array.dtype.kind not in "biuOUS" or array.size != len(array):
        return None
    found = tuple(map(_label, array.ravel().tolist()))
    return found if all(label is not None for label in found) else None  # type: ignore[return-value]


def _label(value: object) -> Label | None:
    """A label as text in UTF-8 or a number; None for what is none."""
    if isinstance(value, int):
        return value
    if isinstance(value, str | bytes) and len(value) <= MAX_LABEL:
        data = value.encode(errors="replace") if isinstance(value, str) else value
        return data.decode(errors="replace")
    return None


def _winners(array: Array) -> Answer | None:
    return tuple(classes(array).tolist()) if are_scores(array) and array.ndim == 2 else None


def agreeing(answer: Sequence[Label], truth: Sequence[Label]) -> int:
    """Return how many rows the truth agrees with: numbers by value, texts as they are."""
    return sum(one == other for one, other in zip(answer, truth, strict=True))
