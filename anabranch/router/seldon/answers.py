"""Answers of a graph as SeldonMessages of any transport: payload and meta.

Which payload carries an answer, as the Python wrapper chooses it (``construct_response_json``):

| outputs | payload |
|---|---|
| one of numbers | ``data.ndarray`` to ``data.ndarray``, else ``data.tensor`` |
| one element of BYTES | ``strData``, ``binData`` or ``jsonData`` to such a payload |
| one of BOOL, or of BYTES | ``data.ndarray`` |
| several | ``jsonData``, an object of nested lists by output |

A single element of BYTES without dimensions is one of the three to ``data`` too; one with
dimensions is a list where ``strData`` or ``binData`` went to an input that has none. A JSON object
in an element is ``jsonData`` to any payload, other JSON to ``jsonData`` alone; what is not text in
UTF-8 is ``binData``. A component's list of objects, or of several datatypes, is such an element,
whose columns have names: it is ``data.ndarray``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np

from anabranch.components.annotations import Annotations, Measure
from anabranch.components.tensors.datatypes import BF16
from anabranch.components.tensors.texts import filled
from anabranch.graph.plan.plan import Signature
from anabranch.router.errors import UnencodableOutput
from anabranch.router.inference.contract import Array, InferenceResponse, OutputTensor
from anabranch.router.oip.plain_outputs import utf8_text
from anabranch.router.seldon.messages import JsonText, Prediction
from anabranch.router.seldon.payloads import PayloadKind
from anabranch.router.traffic.decisions import ROUTING

ROUTING_TAG = "anabranch_routing"
"""Tag of a reply that holds the signed routing, which feedback gives back."""
ALL_ROUTES, NO_ROUTE = -1, -2
"""Numbers of no route (``executor/predictor/predictor_process.go``)."""
MAX_NAMES = 2**16
"""Columns of an output beyond which they get no names."""

Nested: TypeAlias = Array | list[Any] | bool | int | float | str
"""A tensor of numbers, nested lists of texts, or a scalar of either."""


class Answer(NamedTuple):
    """The payload of a reply; ``value`` by its kind.

    ``ndarray``: an array, nested lists or a ``JsonText``. ``tensor``: an array. ``strData``:
    ``str``. ``binData``: ``bytes``. ``jsonData``: a ``JsonText``, or ``Nested`` by output.
    """

    kind: PayloadKind
    value: Any
    names: list[str]
    """Names of the columns of ``data``."""


def answer_of(response: InferenceResponse, asked: PayloadKind, signature: Signature) -> Answer:
    """Return the payload of a reply to a payload; UnencodableOutput where none can carry it."""
    if len(response.outputs) != 1:
        found = {output.name: nested(output) for output in response.outputs}
        return Answer("jsonData", found, [])
    (output,) = response.outputs
    names = names_of(response, output, signature)
    if output.datatype == "BYTES":
        return _of_texts(output, asked, names, _keeps_lists(asked, signature))
    is_list = asked == "ndarray" or output.datatype == "BOOL"
    kind: PayloadKind = "ndarray" if is_list and output.array.ndim else "tensor"
    return Answer(kind, numbers(output.array), names)


def _keeps_lists(asked: PayloadKind, signature: Signature) -> bool:
    """Return whether a list of one text is a list in the answer, and not that text."""
    if asked in ("strData", "binData"):
        return not any(one.shape for one in signature.inputs.values())
    return asked != "jsonData"


def _of_texts(
    output: OutputTensor, asked: PayloadKind, names: list[str], keeps_lists: bool
) -> Answer:
    array = output.array
    if array.size != 1 or (array.ndim and keeps_lists):
        return Answer("ndarray", nested(output), names)
    element = array.item()
    text = utf8_text(element)
    if names and not array.ndim and text is not None and (rows := _document(text, "[")):
        return Answer("ndarray", rows, names)
    document = None if text is None else _document(text, "" if asked == "jsonData" else "{")
    if document is not None:
        return Answer("jsonData", document, [])
    if text is None or asked == "binData":
        return Answer("binData", _octets(output, element), [])
    return Answer("strData", text, [])


def _document(text: str, start: str) -> JsonText | None:
    """Return the JSON that a text is, with ``start`` at its beginning; None for what is none."""
    if not text.lstrip().startswith(start):
        return None
    try:
        msgspec.json.decode(text)
        return JsonText(text.encode())
    except (msgspec.DecodeError, RecursionError):
        return None


def names_of(response: InferenceResponse, output: OutputTensor, signature: Signature) -> list[str]:
    """Return names of the columns of the only output.

    Those that a component gave to it, by the output's name or the node's; else those of the tensor
    whose columns it has, if they are as many; else those that the wrapper makes up
    (``client_class_names``).
    """
    shape = output.array.shape
    if len(shape) == 1 or (not shape and output.datatype != "BYTES"):
        return []
    named = {} if response.annotations is None else response.annotations.names
    tensor = signature.sources.get(output.name, "")
    if output.name in named and output.name not in signature.inputs:
        return named[output.name]
    is_own = True
    while tensor not in named and (before := _before(tensor, response, signature)):
        is_own = is_own and tensor in response.path
        tensor = before
    found = named.get(tensor, [])
    if found and (is_own or (shape and len(found) == shape[1])):
        return found
    if not shape:
        return []
    return [f"t:{column}" for column in range(shape[1])] if shape[1] <= MAX_NAMES else []


def _before(tensor: str, response: InferenceResponse, signature: Signature) -> str | None:
    """Return the node or input whose columns a node's output has; None for columns of its own."""
    return response.path.get(tensor) or signature.columns.get(tensor)


def nested(output: OutputTensor) -> Nested:
    """Return an output as nested lists of texts, or as numbers; a scalar as what it holds.

    Raises UnencodableOutput.
    """
    if output.datatype != "BYTES":
        found = numbers(output.array)
        return found if found.ndim else found.item()
    texts = [_in_list(output, i, one) for i, one in enumerate(output.array.ravel().tolist())]
    lists: Nested = filled(texts, output.array.shape).tolist()
    return lists


def numbers(array: Array) -> Array:
    """Return an array in native byte order and row-major, with BF16 as FP32."""
    array = array.astype(np.float32) if array.dtype == BF16 else array
    return np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)


def _image(response: InferenceResponse) -> str:
    return f"{response.model_name}:{response.model_version}"


def _signed(response: InferenceResponse) -> dict[str, Any]:
    """Return the tag with the signed routing, by which a reward finds its way."""
    signed = response.parameters.get(ROUTING)
    return {} if signed is None else {ROUTING_TAG: signed}


def _in_list(output: OutputTensor, index: int, element: object) -> str:
    text = utf8_text(element)
    if text is None:
        raise UnencodableOutput(
            f"output {output.name!r}: element {index} is not text in UTF-8, and only a graph whose "
            "one output is one element can answer with `binData`"
        )
    return text


def _octets(output: OutputTensor, element: object) -> bytes:
    try:
        if isinstance(element, bytes):
            return element
        if isinstance(element, str):
            return element.encode()
    except UnicodeError:
        pass
    raise UnencodableOutput(f"output {output.name!r} is neither text nor bytes")


def meta_of(response: InferenceResponse, asked: Prediction, signature: Signature) -> dict[str, Any]:
    """Return the ``meta`` of a reply: ids, tags, routes, measures, and what has answered.

    Of ``requestPath``, the graph is an image that is tagged with its revision. A timer is in
    milliseconds, as Seldon has it.
    """
    path = {**asked.request_path, response.model_name: _image(response)}
    annotations = response.annotations or Annotations()
    found = {
        "puid": response.id or "",
        "tags": {**asked.tags, **annotations.tags, **_signed(response)},
        "routing": _branches(response.path, signature),
        "requestPath": path,
        "metrics": [_metric(measure) for measure in annotations.measures],
    }
    return {name: value for name, value in found.items() if value}


def _branches(path: Mapping[str, str], signature: Signature) -> dict[str, int]:
    """Return the routes of a path by number: the place in the spec, all of them, or none.

    A router that could not decide has none.
    """
    found = {}
    for router, route in path.items():
        routes = signature.routers.get(router, ())
        if route == signature.broadcasts.get(router):
            found[router] = ALL_ROUTES
        elif route == signature.skips.get(router):
            found[router] = NO_ROUTE
        elif route in routes:
            found[router] = routes.index(route)
    return found


def _metric(measure: Measure) -> dict[str, Any]:
    value = measure.value * 1000 if measure.kind == "timer" else measure.value
    return {"key": measure.name, "type": measure.kind.upper(), "value": value}
