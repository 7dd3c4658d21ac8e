"""Examples of requests row by row, for protocols that take them so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from anabranch.router.http.openapi import plain_examples
from anabranch.router.inference.contract import ModelMetadata, TensorMetadata


def row_example(metadata: ModelMetadata, raw: Any) -> dict[str, Any] | None:
    """Return a value for each input in one row; None where an input has no rows.

    ``raw`` stands for each element of BYTES that are no text.
    """
    if not metadata.inputs or not all(map(has_rows, metadata.inputs)):
        return None
    rows = [replace(tensor, shape=tensor.shape[1:]) for tensor in metadata.inputs]
    return plain_examples(rows, raw)


def names_of_rows(tensors: Iterable[TensorMetadata]) -> list[str]:
    """Return the names of the tensors that have rows, of any number."""
    return [tensor.name for tensor in tensors if has_rows(tensor)]


def has_rows(tensor: TensorMetadata) -> bool:
    """Return whether a tensor has rows, of any number."""
    return tensor.shape[:1] == (-1,)
