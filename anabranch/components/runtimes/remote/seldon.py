"""The runtime ``seldon``: a node that calls a microservice of Seldon Core v1 over HTTP.

https://github.com/SeldonIO/seldon-core at ``refs/tags/v1.17.1``: paths are those of
``python/seldon_core/wrapper.py``, messages those of ``proto/prediction.proto`` in JSON.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, cast

import numpy as np
import orjson

from anabranch.components.contract import DEFAULT_OUTPUT, Context
from anabranch.components.contracts.seldon.payloads import document_in
from anabranch.components.registry import register
from anabranch.components.runtimes.open_inference.addresses import address_mistakes
from anabranch.components.runtimes.open_inference.server import (
    RemoteError,
    RemoteRuntime,
    loading,
    remote_model,
)
from anabranch.components.runtimes.open_inference.wire import BadAnswer
from anabranch.components.runtimes.remote.nested import (
    JSON_HEADERS,
    answered,
    nested,
)
from anabranch.components.tensors.arrays import Array
from anabranch.components.tensors.texts import filled
from anabranch.errors import Mistake
from anabranch.specs.excerpts import hint, shown
from anabranch.specs.models import Predictor

_PATHS = {
    "predict": "/predict",
    "transform_input": "/transform-input",
    "transform_output": "/transform-output",
}
_KINDS = {"COUNTER": "counter", "GAUGE": "gauge", "TIMER": "timer"}


@register("predictor", "seldon")
class SeldonService(RemoteRuntime):
    """Calls the microservice of Seldon Core v1 at ``url``: a wrapped model or transformer.

    ``method`` is ``predict`` (if left out), ``transform_input`` or ``transform_output``. The only
    input goes as ``data.ndarray``, with the names of its columns and the request's tags; BYTES of
    shape [] as ``strData``, ``binData``, or ``jsonData`` where the text is a JSON object. Numbers
    come back as INT64 or FP64, texts as BYTES, and those three as BYTES of shape []. Tags, names
    and metrics of the answer are those of the request.

    When the graph is loaded, the microservice must answer. The request's deadline, id and trace
    travel along. A service that is away or overloaded makes the node fail with Unavailable.

    Args:
        url: Address of the microservice, http(s)://host[:port][/prefix].
    """

    def __init__(self, node: Predictor, node_name: str, *, url: str) -> None:
        ((self._name, self._source),) = node.inputs.items()
        self._output = node_name
        self._path = _PATHS[node.method or "predict"]
        super().__init__(remote_model(url, node_name))

    @staticmethod
    def check(node: Predictor) -> Iterable[Mistake]:
        """Find several inputs, an unknown method, and a URL that is not plain http or https."""
        yield from address_mistakes(node)
        if node.method is not None and node.method not in _PATHS:
            there = hint(node.method, _PATHS)
            yield ("method",), f"{shown(node.method)} is no method of it{there}"
        if len(node.inputs) != 1:
            yield ("inputs",), "the runtime 'seldon' sends one payload, so it takes one input"

    async def load(self) -> None:
        """Check that the microservice answers, whatever it says; else raise CannotLoad."""
        with loading(), suppress(RemoteError):  # other wrappers than Python's have no such path
            await self._server.probe("/health/ping")

    async def predict(self, /, *, context: Context, **inputs: Array) -> Any:
        """Return the payload of the answer; RemoteError, BadAnswer, Unavailable or a deadline."""
        (array,) = inputs.values()
        meta = {"puid": context.id, "tags": dict(context.tags)}
        names = list(context.names.get(self._source, []))
        message = {"meta": meta, **_message(array, names, self._name)}
        _, body = await self._server.post(self._path, orjson.dumps(message), JSON_HEADERS, context)
        answer = answered(body)
        _annotate(context, answer.get("meta"))
        data = answer.get("data")
        if isinstance(data, dict):
            columns = data.get("names")
            if isinstance(columns, list) and columns:
                context.names[self._output] = [str(name) for name in columns]
        return {DEFAULT_OUTPUT: _payload(answer)}


def _message(array: Array, names: list[str], name: str) -> dict[str, Any]:
    """Return the payload of a tensor, as a component with Seldon's contract would get it."""
    if array.ndim or array.dtype.kind != "O":
        return {"data": {"names": names, "ndarray": nested(array, name)}}
    content = document_in(array.item())
    match content:
        case str():
            return {"strData": content}
        case bytes():
            return {"binData": base64.b64encode(content).decode()}
    return {"jsonData": content}


def _annotate(context: Context, meta: Any) -> None:
    """Take over the tags and the metrics of an answer; what is malformed is a BadAnswer."""
    if not isinstance(meta, Mapping):
        return
    try:
        context.tags.update(meta.get("tags") or {})
        for metric in meta.get("metrics") or ():
            value = float(metric["value"])
            kind = cast(Any, _KINDS[metric.get("type", "COUNTER")])
            # Timers are milliseconds there and seconds here.
            context.measure(metric["key"], value / 1000 if kind == "timer" else value, kind)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise BadAnswer(f"the meta of its answer is malformed: {error}") from None


def _payload(answer: Mapping[str, Any]) -> Any:
    data = answer.get("data")
    if isinstance(data, Mapping):
        return _array(data)
    if isinstance(answer.get("strData"), str):
        return filled([answer["strData"]], ())
    if "jsonData" in answer:
        return filled([orjson.dumps(answer["jsonData"]).decode()], ())
    if isinstance(answer.get("binData"), str):
        try:
            return filled([base64.b64decode(answer["binData"], validate=True)], ())
        except ValueError:
            raise BadAnswer("its binData is not in base64") from None
    raise BadAnswer("its answer has none of data, strData, binData and jsonData")


def _array(data: Mapping[str, Any]) -> Any:
    if isinstance(data.get("ndarray"), list):
        return data["ndarray"]
    tensor = data.get("tensor")
    if isinstance(tensor, Mapping):
        try:
            return np.array(tensor["values"], np.float64).reshape(tensor["shape"])
        except (ValueError, TypeError, KeyError) as error:
            raise BadAnswer(f"its tensor is malformed: {error}") from None
    raise BadAnswer("the data of its answer has neither ndarray nor tensor")
