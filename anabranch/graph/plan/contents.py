"""Content of BYTES inputs: ``str`` for text and ``bytes`` for raw ones, however a request came."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from anabranch.components.tensors.texts import as_raw, as_text, is_text
from anabranch.errors import InvalidRequest
from anabranch.specs.models import Content, InputSpec

Array: TypeAlias = np.ndarray[Any, Any]
Contents: TypeAlias = Mapping[str, Content]
"""Declared content by name of input."""

_CONVERT: dict[str, Callable[[Array], Array]] = {"text": as_text, "raw": as_raw}
_INSTEAD = {
    "text": "only an input with `content: raw` in the graph's spec takes other bytes",
    "raw": "send its bytes, as a binary tensor or over gRPC",
}


def contents_of(inputs: Mapping[str, InputSpec]) -> Contents:
    """Return the contents of the inputs that are BYTES."""
    return {name: spec.content for name, spec in inputs.items() if spec.datatype == "BYTES"}


def as_declared(contents: Contents, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Return the inputs with BYTES as declared: the same mapping where all are so already.

    The elements of a tensor are all ``str`` or all ``bytes``. InvalidRequest names the input and
    its first element that has no such form.
    """
    converted = {
        name: convert_input(name, content, inputs[name])
        for name, content in contents.items()
        if name in inputs and is_text(inputs[name]) != (content == "text")
    }
    return {**inputs, **converted} if converted else inputs


def convert_input(name: str, content: Content, array: Array) -> Array:
    """Return a tensor of ``str`` and ``bytes`` in the form of the content, as ``as_declared``."""
    try:
        return _CONVERT[content](array)
    except ValueError as error:
        raise InvalidRequest(f"input {name!r}: {error}; {_INSTEAD[content]}") from None
