"""The key that keeps a caller on one arm: what a request has in a header, cookie or parameter.

The key of a router node may be in one of its inputs, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.types import TypeConflict, Types
from anabranch.errors import InvalidRequest
from anabranch.specs.excerpts import shown
from anabranch.specs.models import Sticky

Reader: TypeAlias = Callable[[Mapping[str, str], Mapping[str, Any]], str]


def key_reader(sticky: Sticky) -> Reader:
    """Return what finds the key of a request in its headers and parameters.

    Names of headers are in lower case. The key is empty text where the request has none.
    """
    said = sticky.model_dump(exclude_none=True)
    return next(partial(read, said[field]) for field, read in _READERS.items() if field in said)


def _header(name: str, headers: Mapping[str, str], parameters: Mapping[str, Any]) -> str:
    return headers.get(name.lower(), "").strip()


def _cookie(name: str, headers: Mapping[str, str], parameters: Mapping[str, Any]) -> str:
    """The first cookie of that name, as it was set; what is no cookie is skipped.

    The parser of ``http.cookies`` drops every cookie if one of them is malformed, and any other
    application of the same site may have set that one.
    """
    for pair in headers.get("cookie", "").split(";"):
        found, _, value = pair.partition("=")
        if found.strip() == name:
            return value.strip().removeprefix('"').removesuffix('"')
    return ""


def _parameter(name: str, headers: Mapping[str, str], parameters: Mapping[str, Any]) -> str:
    """Text, a number or a truth value; nothing else is a key."""
    value = parameters.get(name)
    return str(value) if isinstance(value, str | int | float) else ""


_READERS = {"header": _header, "cookie": _cookie, "parameter": _parameter}
_DATATYPES = "a sticky key is BYTES or an integer"


def check_key_type(name: str, types: Types) -> None:
    """Raise TypeConflict where the input ``name`` is known to hold no keys."""
    spec = types.get(name)
    if spec is not None and not _holds_keys(spec.datatype):
        raise TypeConflict(f"input {name!r} is {spec.datatype}; {_DATATYPES}")


def _holds_keys(datatype: str) -> bool:
    return datatype == "BYTES" or datatype.startswith(("INT", "UINT"))


def input_key(name: str, tensor: Array) -> str:
    """Return the key in a tensor of BYTES or integers, of any shape; empty text without elements.

    All elements must be equal, for a request has one route: else InvalidRequest. ValueError for
    another datatype. An integer and its digits as text are the same key, and so are a text and its
    bytes in UTF-8.
    """
    if tensor.dtype.kind not in "iuOSU":
        raise ValueError(f"input {name!r} is {tensor.dtype}; {_DATATYPES}")
    elements = tensor.ravel().tolist()
    if not elements:
        return ""
    first = elements[0]
    for element in elements:
        if element != first:
            raise InvalidRequest(
                f"input {name!r} holds several sticky keys, {shown(_text(first))} and "
                f"{shown(_text(element))}; a request goes along one route, so send one for each key"
            )
    return _text(first)


def _text(element: Any) -> str:
    """The key as text; bytes that are no UTF-8 become lone surrogates, so they stay distinct."""
    is_raw = isinstance(element, bytes)
    return element.decode("utf-8", "surrogateescape") if is_raw else str(element)
