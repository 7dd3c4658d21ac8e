"""The tensors of documents and of statuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.texts import filled
from anabranch.components.tensors.types import TypeConflict
from anabranch.specs.models import TensorSpec

STATUS = "status"
"""Name of the output, and of the input, with the status of an answer."""
DOCUMENT = TensorSpec(datatype="BYTES", shape=(1,))
"""Type of one document."""
STATUS_TYPE = TensorSpec(datatype="INT32", shape=(1,))
"""Type of the status of an answer."""


def check_document(name: str, spec: TensorSpec | None) -> None:
    """Raise TypeConflict where a tensor cannot be one document."""
    if spec is not None and (spec.datatype != "BYTES" or not _may_be_one(spec.shape)):
        raise TypeConflict(f"{name!r} must be one document, BYTES[1], not {spec}")


def check_status(name: str, spec: TensorSpec | None) -> None:
    """Raise TypeConflict where a tensor cannot be the status of an answer."""
    if spec is not None and (not spec.datatype.startswith("INT") or not _may_be_one(spec.shape)):
        raise TypeConflict(f"{name!r} must be a status, INT32[1], not {spec}")


def document_of(array: Array, name: str) -> bytes:
    """Return the only element of a tensor of BYTES. ValueError for several, or for numbers."""
    element = array.item(0) if array.size == 1 and array.dtype.kind in "OS" else None
    if isinstance(element, str):
        return element.encode()
    if isinstance(element, bytes):
        return element
    found = f"{array.dtype} of shape {list(array.shape)}"
    raise ValueError(
        f"{name!r} must be one document, a tensor of BYTES of one element, not {found}"
    )


def to_document(text: bytes) -> Array:
    """Return a document as a tensor; its element is ``str`` where the text is UTF-8."""
    element: str | bytes
    try:
        element = text.decode()
    except UnicodeDecodeError:
        element = text
    return filled([element], (1,))


def to_status(status: int) -> Array:
    """Return a status as a tensor."""
    return np.array([status], np.int32)


def _may_be_one(shape: Sequence[Any]) -> bool:
    return all(size in (1, -1) for size in shape)
