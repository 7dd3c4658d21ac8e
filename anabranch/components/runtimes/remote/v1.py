"""The runtime ``v1``: a node that calls a model over the V1 protocol of KServe and TensorFlow.

https://github.com/kserve/kserve ``python/kserve/kserve/protocol/rest/v1_endpoints.py``, and
https://github.com/tensorflow/serving ``tensorflow_serving/g3doc/api_rest.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from anabranch.components.contract import Context
from anabranch.components.registry import register
from anabranch.components.runtimes.open_inference.addresses import address_mistakes
from anabranch.components.runtimes.open_inference.runtime import in_path
from anabranch.components.runtimes.open_inference.server import RemoteRuntime, loading, remote_model
from anabranch.components.runtimes.open_inference.wire import BadAnswer
from anabranch.components.runtimes.remote.nested import JSON_HEADERS, answered, nested
from anabranch.components.runtimes.signatures import no_method
from anabranch.components.tensors.arrays import Array
from anabranch.errors import Mistake
from anabranch.specs.models import Predictor


@register("predictor", "v1")
class V1Model(RemoteRuntime):
    """Calls the model ``model`` of the server at ``url`` over V1: KServe's, or TensorFlow Serving.

    The rows of a single input are the ``instances`` of a ``:predict``; of several inputs, each
    instance is an object with a value for each input. ``predictions`` become the output
    ``output``, or an output for each name where they are objects. The protocol has no datatypes:
    numbers come back as INT64 or FP64, texts as BYTES.

    When the graph is loaded, the server must have the model. The request's deadline, id and trace
    travel along. A server that is away or overloaded makes the node fail with Unavailable.

    Args:
        url: Address of the server, http(s)://host[:port][/prefix].
        model: Name of the model there.
        signature: Signature of a TensorFlow model; its default signature if left out.
    """

    def __init__(self, *, url: str, model: str, signature: str | None = None) -> None:
        self._path = f"/v1/models/{in_path(model)}"
        self._signature = {} if signature is None else {"signature_name": signature}
        super().__init__(remote_model(url, model))

    @staticmethod
    def check(node: Predictor) -> Iterable[Mistake]:
        """Find a model or method, and a URL that is not plain http or https."""
        yield from address_mistakes(node)
        yield from no_method(node)

    async def load(self) -> None:
        """Check that the server has the model; else raise CannotLoad."""
        with loading():
            await self._server.probe(self._path)

    async def predict(self, /, *, context: Context, **inputs: Array) -> Any:
        """Return the predictions; RemoteError, BadAnswer, Unavailable or DeadlineExceeded."""
        body = orjson.dumps({**self._signature, "instances": _instances(inputs)})
        _, answer = await self._server.post(f"{self._path}:predict", body, JSON_HEADERS, context)
        return _predictions(answered(answer))


def _instances(inputs: Mapping[str, Array]) -> list[Any]:
    columns = {name: nested(array, name) for name, array in inputs.items()}
    for name, array in inputs.items():
        if not array.ndim:
            raise ValueError(f"input {name!r} has no rows, which are the instances")
    if len(columns) == 1:
        (rows,) = columns.values()
        return list(rows)
    sizes = {len(rows) for rows in columns.values()}
    if len(sizes) > 1:
        raise ValueError(f"inputs have {', '.join(map(str, sorted(sizes)))} rows, and need as many")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _predictions(answer: Mapping[str, Any]) -> Any:
    found = answer.get("predictions", answer.get("outputs"))
    if isinstance(found, dict) and found:
        return found
    if not isinstance(found, list):
        raise BadAnswer("its answer has no list of predictions")
    if not found or not all(isinstance(row, dict) for row in found):
        return found
    names = set(found[0])
    if not names or any(set(row) != names for row in found):
        raise BadAnswer("its predictions are objects with different names")
    return {name: [row[name] for row in found] for name in found[0]}
