"""Entity keys: one for each row of a node's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.texts import as_text
from anabranch.components.tensors.types import TypeConflict, Types, dtype_of, unify
from anabranch.errors import InvalidRequest
from anabranch.specs.models import TensorSpec

Key: TypeAlias = tuple[str | int, ...]
"""The values of one entity's keys, in the order of the node's inputs."""


def keys_of(inputs: Mapping[str, Array]) -> list[Key]:
    """Return the key of each row; inputs are [rows] or [rows, 1] of BYTES or whole numbers.

    InvalidRequest where the inputs have different numbers of rows, or BYTES are not UTF-8.
    """
    columns = {name: _column(name, array) for name, array in inputs.items()}
    if len({len(column) for column in columns.values()}) > 1:
        sizes = ", ".join(f"{name} {len(column)}" for name, column in columns.items())
        raise InvalidRequest(f"entity keys have different numbers of rows: {sizes}")
    return list(zip(*columns.values(), strict=True))


def check_keys(inputs: Types) -> None:
    """Raise TypeConflict where an input is no column of keys, or their rows cannot agree."""
    known = {name: spec for name, spec in inputs.items() if spec is not None}
    for name, spec in known.items():
        _check_key(name, spec)
    if known:
        unify([spec.shape[:1] for spec in known.values()])


def _check_key(name: str, spec: TensorSpec) -> None:
    shape = spec.shape
    if len(shape) != 1 and (len(shape) != 2 or shape[1] not in (1, -1)):
        raise TypeConflict(f"entity key {name!r} is [rows] or [rows, 1], not {list(spec.shape)}")
    if dtype_of(spec).kind not in "iuO":
        raise TypeConflict(f"entity key {name!r} is BYTES or a whole number, not {spec.datatype}")


def _column(name: str, array: Array) -> list[Any]:
    if array.ndim != 1 and array.shape[1:] != (1,):
        raise InvalidRequest(
            f"entity key {name!r} must be [rows] or [rows, 1], got {list(array.shape)}"
        )
    if array.dtype.kind not in "iuOS":
        raise InvalidRequest(f"entity key {name!r} must be BYTES or whole numbers")
    try:
        found: list[Any] = as_text(array).ravel().tolist()
    except ValueError as error:
        raise InvalidRequest(f"entity key {name!r}: {error}") from None
    return found


def shown_key(entities: Sequence[str], key: Key) -> str:
    """Return a key for a message, such as ``user_id='7'``."""
    pairs = zip(entities, key, strict=True)
    return ", ".join(f"{name}={value!r:.80}" for name, value in pairs)
