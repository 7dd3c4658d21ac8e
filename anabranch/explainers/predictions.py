"""Reads the outputs of a model for rows as classes, scores or labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from anabranch.errors import InvalidRequest
from anabranch.explainers.model import Array
from anabranch.specs.models import NodeBase


def scores(answers: Array) -> Array:
    """Return answers as FP64 [rows, targets]; one target for a model that gives a single number.

    ValueError where they are no numbers, or no vectors.
    """
    if answers.dtype.kind in "OSU":
        raise ValueError("the explained node gives BYTES, but this method explains numbers")
    if answers.ndim > 2:
        shape = list(answers.shape)
        raise ValueError(f"the explained node gives {shape}, expected [rows] or [rows, classes]")
    columns: Array = answers[:, None] if answers.ndim == 1 else answers
    return columns.astype(np.float64)


def gives_outputs(node: NodeBase | None) -> bool:
    """Return whether a node's columns are outputs of a regressor, and no scores of classes.

    Known where a runtime's ``predict`` gives a classifier's label, and so columns for several
    outputs only.
    """
    method, runtime = getattr(node, "method", None), getattr(node, "runtime", None)
    return runtime in ("sklearn", "catboost") and method in (None, "predict")


def target(row: Array, wanted: int | None, *, of_outputs: bool = False) -> int:
    """Return the column to explain: the wanted one, or else that with the highest score.

    Of a regressor's outputs it is the first one, so that all rows explain the same; the highest
    says nothing. InvalidRequest where there is no such column.
    """
    if wanted is None:
        return 0 if of_outputs else int(np.argmax(row))
    if wanted >= len(row):
        raise InvalidRequest(
            f"parameter 'target' is {wanted}, but the explained node gives {len(row)} "
            f"{'score' if len(row) == 1 else 'scores'}: 0 to {len(row) - 1}"
        )
    return wanted


def labels(answers: Array) -> Array:
    """Return the predicted class of each row [rows]: an index, a whole number, or BYTES.

    Scores [rows, classes] give the index of the highest. ValueError where there are no classes.
    """
    flat: Array = answers[:, 0] if answers.ndim == 2 and answers.shape[1] == 1 else answers
    if flat.ndim == 2 and flat.dtype.kind not in "OSU":
        best: Array = np.argmax(flat, axis=1)
        return best
    if flat.ndim != 1:
        raise ValueError(
            f"the explained node gives {list(answers.shape)}, expected [rows, classes]"
        )
    if flat.dtype.kind not in "iubOSU":
        raise ValueError(
            f"the explained node gives one {flat.dtype} for each row, but this method explains "
            "classes: give their probabilities (method: predict_proba) or labels"
        )
    return flat


def plain_label(label: Any) -> int | str:
    """Return a label as a JSON value."""
    value = label.item() if isinstance(label, np.generic) else label
    return value.decode(errors="replace") if isinstance(value, bytes) else value
