"""Answers of a graph as SeldonMessages of any transport: payload and meta.

Which payload carries an answer, as the Python wrapper chooses it (``construct_response_json``):

| outputs | payload |
|---|---|
| one of numbers | ``data.ndarray`` to ``data.ndarray``, else ``data.tensor`` |
| one element of BYTES | ``strData``, ``binData`` or ``jsonData`` to such a payload |
| one of BOOL, or of BYTES | ``data.ndarray`` |
| several | ``jsonData``, an object of nested lists by output |

A single element of BYTES without dimensions is ``strData`` to ``data`` too. ``jsonData`` is the
JSON that the text is, and ``strData`` where the text is none. What is not text in UTF-8 is
``binData``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np

from anabranch.components.tensors.datatypes import BF16
from anabranch.components.tensors.texts import filled
from anabranch.router.core import Array, InferenceResponse, OutputTensor
from anabranch.router.errors import UnencodableOutput
from anabranch.router.seldon.messages import Asked
from anabranch.router.seldon.payloads import PayloadKind
from anabranch.router.traffic.decisions import ROUTING

ROUTING_TAG = "anabranch_routing"
"""Tag of a reply that holds the signed routing, which feedback gives back."""
MAX_NAMES = 2**16
"""Columns of an output beyond which they get no names."""

Nested: TypeAlias = Array | list[Any]
"""A tensor of numbers, or nested lists of texts."""


class Answer(NamedTuple):
    """The payload of a reply; ``value`` by its kind.

    ``ndarray``: an array or nested lists. ``tensor``: an array. ``strData``: ``str``. ``binData``:
    ``bytes``. ``jsonData``: what JSON can hold, or a dict of ``Nested`` by output.
    """

    kind: PayloadKind
    value: Any
    names: list[str]
    """Names of the columns of ``data``."""


def answer_of(response: InferenceResponse, asked: PayloadKind) -> Answer:
    """Return the payload of a reply to a payload; UnencodableOutput where none can carry it."""
    if len(response.outputs) != 1:
        found = {output.name: nested(output) for output in response.outputs}
        return Answer("jsonData", found, [])
    (output,) = response.outputs
    if output.datatype == "BYTES":
        return _of_texts(output, asked)
    is_list = asked == "ndarray" or output.datatype == "BOOL"
    kind: PayloadKind = "ndarray" if is_list and output.array.ndim else "tensor"
    return Answer(kind, numbers(output.array), names_of(output.array))


def _of_texts(output: OutputTensor, asked: PayloadKind) -> Answer:
    array = output.array
    if array.size != 1 or (array.ndim and asked in ("ndarray", "tensor")):
        return Answer("ndarray", nested(output), names_of(array))
    element = array.item()
    text = _text(element)
    if text is None or asked == "binData":
        return Answer("binData", _octets(output, element), [])
    if asked == "jsonData":
        try:
            return Answer("jsonData", msgspec.json.decode(text), [])
        except (msgspec.DecodeError, RecursionError):
            pass
    return Answer("strData", text, [])


def names_of(array: Array) -> list[str]:
    """Return the names that the wrapper makes up for columns (``client_class_names``)."""
    if array.ndim < 2 or array.shape[1] > MAX_NAMES:
        return []
    return [f"t:{column}" for column in range(array.shape[1])]


def nested(output: OutputTensor) -> Nested:
    """Return an output as nested lists of texts, or as numbers; UnencodableOutput."""
    if output.datatype != "BYTES":
        return numbers(output.array)
    texts = [_in_list(output, i, one) for i, one in enumerate(output.array.ravel().tolist())]
    found: list[Any] = filled(texts, output.array.shape).tolist()
    return found


def numbers(array: Array) -> Array:
    """Return an array in native byte order and row-major, with BF16 as FP32."""
    array = array.astype(np.float32) if array.dtype == BF16 else array
    return np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)


def _image(response: InferenceResponse) -> str:
    return f"{response.model_name}:{response.model_version}"


def _told(response: InferenceResponse) -> dict[str, Any]:
    """Return the tags of a response, and its signed routing, by which a reward finds its way."""
    signed = response.parameters.get(ROUTING)
    return {} if signed is None else {ROUTING_TAG: signed}


def _in_list(output: OutputTensor, index: int, element: object) -> str:
    text = _text(element)
    if text is None:
        raise UnencodableOutput(
            f"output {output.name!r}: element {index} is not text in UTF-8, and only a graph whose "
            "one output is one element can answer with `binData`"
        )
    return text


def _text(element: object) -> str | None:
    """Return an element as text; None where it is none in UTF-8."""
    try:
        if isinstance(element, bytes):
            return element.decode()
        if isinstance(element, str):
            element.encode()
            return element
    except UnicodeError:
        pass
    return None


def _octets(output: OutputTensor, element: object) -> bytes:
    try:
        if isinstance(element, bytes):
            return element
        if isinstance(element, str):
            return element.encode()
    except UnicodeError:
        pass
    raise UnencodableOutput(f"output {output.name!r} is neither text nor bytes")


def meta_of(
    response: InferenceResponse, asked: Asked, routes: Mapping[str, tuple[str, ...]]
) -> dict[str, Any]:
    """Return the ``meta`` of a reply: ids, tags, routes, and what has answered.

    ``routes`` are those of each router node, whose numbers in this order are ``routing``. Of
    ``requestPath``, a graph is an image that is tagged with its revision.
    """
    path = {**asked.request_path, response.model_name: _image(response)}
    meta: dict[str, Any] = {"puid": response.id or "", "requestPath": path}
    tags = {**asked.tags, **_told(response)}
    if tags:
        meta["tags"] = tags
    routing = {
        router: routes[router].index(route)
        for router, route in response.path.items()
        if route in routes.get(router, ())
    }
    if routing:
        meta["routing"] = routing
    return meta
