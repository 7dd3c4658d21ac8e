"""Types of the columns that a scikit-learn estimator was fitted on, as far as its parts tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from anabranch.components.tensors.model_types import NUMBERS, TEXTS, ModelTensor

_OF_NUMBERS = ("scale_", "center_", "quantiles_", "bin_edges_", "coef_")
"""Fitted attributes that only estimators of numbers have."""


def fitted_types(estimator: Any, names: Sequence[str]) -> dict[int, ModelTensor]:
    """Return the types of columns, texts or numbers, by their number; unknown ones are left out.

    ``names`` are the columns of the frame that the estimator was fitted on. Encoders keep the
    categories that they have seen, imputers their stand-ins, and scalers take numbers.
    """
    first = _first(estimator)
    if not hasattr(first, "transformers_"):
        return dict(_types(first, range(len(names))))
    found: dict[int, ModelTensor] = {}
    for _, part, columns in first.transformers_:
        if not isinstance(part, str):
            found |= _types(_first(part), _places(columns, names))
    return found


def _first(estimator: Any) -> Any:
    """Return the step of a pipeline that takes its input; another estimator as it is."""
    while hasattr(estimator, "steps"):
        steps = [step for _, step in estimator.steps if step not in (None, "passthrough")]
        if not steps:
            return None
        estimator = steps[0]
    return estimator


def _types(part: Any, columns: Sequence[int]) -> Iterator[tuple[int, ModelTensor]]:
    seen = getattr(part, "categories_", None)
    if seen is None:
        seen = [[one] for one in getattr(part, "statistics_", ())]
    kinds = [_kind(values) for values in seen]
    if not kinds and any(hasattr(part, name) for name in _OF_NUMBERS):
        kinds = [NUMBERS] * len(columns)
    if len(kinds) == len(columns):
        yield from ((at, kind) for at, kind in zip(columns, kinds, strict=True) if kind is not None)


def _kind(values: Sequence[Any]) -> ModelTensor | None:
    array = np.asarray(values)
    if array.dtype.kind in "fiub":
        return NUMBERS
    texts = [isinstance(value, str) for value in array.tolist() if value == value]
    return TEXTS if texts and all(texts) else None


def _places(columns: Any, names: Sequence[str]) -> list[int]:
    """Return the numbers of columns that are given by names, numbers, a mask or a slice."""
    if isinstance(columns, slice):
        is_by_name = isinstance(columns.start or columns.stop, str)
        return [] if is_by_name else list(range(len(names)))[columns]
    chosen = np.atleast_1d(columns)
    if chosen.dtype.kind in "OU":
        return [names.index(str(name)) for name in chosen.tolist()]
    places: list[int] = np.arange(len(names))[chosen].tolist() if chosen.size else []
    return places
