"""Tensors as values in plain JSON, whole or row by row.

NaN and the infinities have no JSON and become ``null``. BYTES are texts.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import orjson

from anabranch.components.tensors.datatypes import BF16
from anabranch.components.tensors.unwarned import unwarned
from anabranch.router.errors import UnencodableOutput
from anabranch.router.inference.contract import Array, OutputTensor
from anabranch.router.oip.plain_inputs import B64

Element: TypeAlias = Callable[[OutputTensor, object], Any]
"""Makes a value in JSON of an element of BYTES; raises UnencodableOutput."""


def dumped(document: Mapping[str, Any]) -> bytes:
    """Return a document that may hold arrays as JSON; NaN and the infinities are ``null``."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def value_of(output: OutputTensor, element: Element) -> Any:
    """Return a tensor as a scalar where it has one element, else as nested lists.

    Elements of BYTES are as ``element`` makes them, and as it raises errors of them.
    """
    array = _encodable(output, element)
    return array.item() if array.size == 1 else _listed(array)


def nested(output: OutputTensor, element: Element) -> Any:
    """Return a tensor as lists that are nested as its shape says."""
    array = _encodable(output, element)
    return _listed(array) if array.ndim else array.item()


def column_of(output: OutputTensor, element: Element) -> Any:
    """Return a tensor as nested lists, in which a row of one element is a scalar."""
    array = _encodable(output, element)
    if array.ndim and array.size == array.shape[0]:
        array = array.reshape(-1)
    return _listed(array) if array.ndim else array.item()


def rows_of(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a record for each row of columns of one length."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def without_rows(outputs: Sequence[OutputTensor], rows: int) -> OutputTensor | None:
    """Return the first output that has not so many rows; None where all have."""
    return next((one for one in outputs if one.array.shape[:1] != (rows,)), None)


def text_of(output: OutputTensor, item: object) -> str:
    """Return an element of BYTES as text; raise UnencodableOutput for other bytes."""
    found = utf8_text(item)
    if found is not None:
        return found
    raise UnencodableOutput(
        f"output {output.name!r} holds what is not text in UTF-8; JSON cannot carry it"
    )


def text_or_tagged(output: OutputTensor, item: object) -> str | dict[str, str]:
    """Return an element of BYTES as text, other bytes as ``{"b64": "…"}``."""
    found = utf8_text(item)
    return found if found is not None else tagged(output, item)


def tagged(output: OutputTensor, item: object) -> dict[str, str]:
    """Return an element of BYTES as ``{"b64": "…"}``; raise UnencodableOutput for what is none."""
    if isinstance(item, bytes):
        return {B64: b64encode(item).decode()}
    return {B64: b64encode(text_of(output, item).encode()).decode()}


def utf8_text(item: object) -> str | None:
    """Return an element of BYTES as text; None where it is none in UTF-8."""
    try:
        text = item.decode() if isinstance(item, bytes) else item
        if isinstance(text, str):
            text.encode()
            return text
    except UnicodeError:
        pass
    return None


def _encodable(output: OutputTensor, element: Element) -> Array:
    """Return a tensor as orjson takes it: numbers, or objects of JSON."""
    if output.datatype != "BYTES":
        return _numbers(output.array)
    array = np.empty(output.array.size, object)
    array[:] = [element(output, item) for item in output.array.ravel().tolist()]
    return array.reshape(output.array.shape)


def _numbers(array: Array) -> Array:
    if array.dtype == BF16:
        with unwarned():  # some bits that are no number
            array = array.astype(np.float32)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)


def _listed(array: Array) -> Any:
    return array.tolist() if array.dtype.hasobject else array
