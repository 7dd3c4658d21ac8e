"""Names, datatypes and shapes of the tensors of Triton's models, as our language has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from anabranch.importers.triton.messages import ENUMS

WILDCARD = -1
_TYPES = ENUMS["DataType"].split()
_STRING = {"STRING": "BYTES"}


def datatype(number: int) -> str:
    """Return the datatype of the Open Inference Protocol; empty for ``TYPE_INVALID``."""
    name = _TYPES[number]
    return "" if name == "INVALID" else _STRING.get(name, name)


def type_name(number: int) -> str:
    """Return Triton's word for a datatype, such as ``TYPE_FP32``."""
    return f"TYPE_{_TYPES[number]}"


def batches(message: Any) -> bool:
    """Return whether a model's tensors begin with a batch dimension that ``dims`` leaves out."""
    return bool(message.max_batch_size > 0)


def full_shape(sizes: Iterable[int], message: Any) -> list[int]:
    """Return a shape with the batch dimension, where the model has one."""
    return [*([WILDCARD] if batches(message) else []), *sizes]


def inner_sizes(tensor: Any) -> Iterable[int]:
    """Return the sizes that a model reads, where ``reshape`` says others than clients send."""
    sizes: Iterable[int] = tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims
    return sizes


def typed(tensor: Any, message: Any) -> dict[str, Any] | None:
    """Return the declaration of a tensor; None where the backend is to complete it."""
    if not tensor.data_type or not tensor.dims:
        return None
    return {"datatype": datatype(tensor.data_type), "shape": full_shape(tensor.dims, message)}


def agree(one: list[int], other: list[int]) -> bool:
    """Return whether shapes are equal but for sizes that one of them leaves open."""
    pairs = zip(one, other, strict=False)
    return len(one) == len(other) and all(
        left == right or WILDCARD in (left, right) for left, right in pairs
    )
