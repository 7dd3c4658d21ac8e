"""Payloads of Seldon's messages: what a component gets for a tensor, and what tensor it gives.

A message holds an array (``data``), a text (``strData``), bytes (``binData``) or a JSON document
(``jsonData``). A tensor with dimensions is an array; one of BYTES without, of shape ``[]``, is a
text, bytes, or a document where its text is a JSON object. A parameter of the node that has one of
the four names decides that by itself, whatever the shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import orjson

from anabranch.components.tensors.arrays import Array, to_array
from anabranch.components.tensors.given import flat
from anabranch.components.tensors.texts import filled
from anabranch.errors import InvalidRequest
from anabranch.specs.excerpts import shown

Payload: TypeAlias = Any
"""An array, a ``str``, ``bytes``, or a JSON value."""

_DOCUMENT_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def reader(parameter: str) -> Callable[[Array], Payload]:
    """Return how a tensor becomes the payload of a parameter.

    What it returns raises InvalidRequest for a tensor that cannot be this payload.
    """
    read = _BY_NAME.get(parameter)
    if read is None:
        return _payload
    return lambda tensor: read(parameter, tensor)


def _payload(tensor: Array) -> Payload:
    if tensor.ndim or tensor.dtype.kind != "O":
        return _array("", tensor)
    return document_in(tensor.item())


def document_in(content: str | bytes) -> Payload:
    """Return the JSON object that a text is; any other text, and bytes, as they are."""
    if isinstance(content, str) and content.lstrip()[:1] == "{":
        try:
            return orjson.loads(content)
        except (ValueError, RecursionError):
            return content
    return content


def _array(name: str, tensor: Array) -> Payload:
    """Return an array that the component may change; texts have NumPy's type for these."""
    if tensor.dtype.kind == "O" and all(isinstance(one, str) for one in tensor.flat):
        return np.array(tensor.tolist(), dtype=np.str_).reshape(tensor.shape)
    return tensor if tensor.flags.writeable else tensor.copy()


def _text(name: str, tensor: Array) -> str:
    content = _only(name, tensor)
    try:
        return content.decode() if isinstance(content, bytes) else content
    except UnicodeDecodeError:
        raise InvalidRequest(f"input {name!r} is not text in UTF-8") from None


def _bytes(name: str, tensor: Array) -> bytes:
    content = _only(name, tensor)
    return content.encode() if isinstance(content, str) else content


def _document(name: str, tensor: Array) -> Payload:
    try:
        return orjson.loads(_only(name, tensor))
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"input {name!r} is no JSON document: {error}") from None


def _only(name: str, tensor: Array) -> str | bytes:
    if tensor.dtype.kind != "O" or tensor.size != 1:
        raise InvalidRequest(
            f"input {name!r} takes one element of BYTES, and got {list(tensor.shape)} of "
            f"{'BYTES' if tensor.dtype.kind == 'O' else tensor.dtype}"
        )
    content: str | bytes = tensor.flat[0]
    return content


_BY_NAME: dict[str, Callable[[str, Array], Payload]] = {
    "data": _array,
    "strData": _text,
    "binData": _bytes,
    "jsonData": _document,
}


def tensor_of(payload: Payload) -> Array:
    """Return the tensor that a component's result is.

    Arrays, and lists that hold one datatype, have their shape. A text, bytes and a JSON document
    are BYTES of shape ``[]``; lists of anything else are documents. Raise TypeError for None and
    for objects that are none of these.
    """
    if isinstance(payload, str | bytes | bytearray):
        return _scalar(bytes(payload) if isinstance(payload, bytearray) else payload)
    if isinstance(payload, dict):
        return _scalar(_encoded(payload))
    if isinstance(payload, list):
        return _of_list(payload)
    if isinstance(payload, np.ndarray) and payload.dtype.kind == "O":
        return _of_list(payload.tolist())
    if payload is None:
        raise TypeError("it returned None; expected an array, a list, a dict, a str or bytes")
    return to_array(payload)


def _of_list(payload: list[Any]) -> Array:
    try:
        array = np.asarray(payload)
    except ValueError:  # ragged
        return _scalar(_encoded(payload))
    if array.dtype.kind in "biuf":
        return array
    elements = flat(payload)
    if array.dtype.kind in "OUS" and all(isinstance(one, str | bytes) for one in elements):
        return filled(elements, array.shape)
    return _scalar(_encoded(payload))


def _scalar(content: str | bytes) -> Array:
    return filled([content], ())


def _encoded(document: Any) -> str:
    try:
        return orjson.dumps(document, option=_DOCUMENT_OPTIONS).decode()
    except TypeError as error:
        raise TypeError(f"{shown(document)} is no JSON document: {error}") from None


def shape_of(payload: Payload, tensor: Array) -> tuple[int, ...]:
    """Return the shape of a result; of a list that is a document, its rows and columns."""
    rows = payload.tolist() if isinstance(payload, np.ndarray) else payload
    if tensor.ndim or not isinstance(rows, list):
        return tensor.shape
    return len(rows), len(rows[0]) if isinstance(rows[0], list) else 1


def shaped(tensor: Array, rank: int | None) -> Array:
    """Return a text, bytes or a document with as many dimensions as its output is declared with."""
    if rank is None or tensor.ndim or tensor.dtype.kind != "O":
        return tensor
    return tensor.reshape([1] * rank)
