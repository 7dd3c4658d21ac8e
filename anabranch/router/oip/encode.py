"""Answers of Open Inference Protocol v2 over HTTP: responses to JSON, and binary tensors behind it.

- Data is flat, in row-major order.
- NaN and the infinities have no JSON and are ``null`` in it.
- BYTES are JSON strings, so text in UTF-8. An output of other bytes can only be binary.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
from msgspec.structs import replace

from anabranch.components.tensors.unwarned import unwarned
from anabranch.router.errors import HttpReply, ReplyBody, UnencodableOutput
from anabranch.router.inference.contract import (
    InferenceResponse,
    ModelMetadata,
    OutputTensor,
    TensorMetadata,
)
from anabranch.router.limits import LARGE
from anabranch.router.oip.helper_process import WORTH, apart
from anabranch.router.oip.raw_tensors import Buffer, raw_buffer

_OCTETS = (b"content-type", b"application/octet-stream")
_LENGTH = b"inference-header-content-length"


class ResponseForm(NamedTuple):
    """Which outputs of an answer are to be binary."""

    is_binary: bool = False
    """All those that are not in ``own``."""
    own: Mapping[str, bool] = {}

    def of(self, output: str) -> bool:
        """Return whether that output is to be binary."""
        return self.own.get(output, self.is_binary)

    def encode(self, response: InferenceResponse) -> HttpReply | Coroutine[Any, Any, HttpReply]:
        """Encode an answer; one that takes long in a helper process. Raises UnencodableOutput."""
        if response.size < WORTH or (size := self._json_size(response)) < WORTH:
            return encode_response(response, self)
        return apart(size, encode_as_buffer, replace(response, annotations=None), self)

    def _json_size(self, response: InferenceResponse) -> int:
        """Return how many bytes of an answer's numbers become JSON."""
        return sum(
            output.array.nbytes
            for output in response.outputs
            if not (output.array.dtype.hasobject or self.of(output.name))
        )


JSON_ONLY = ResponseForm()


def encode_response(response: InferenceResponse, form: ResponseForm = JSON_ONLY) -> HttpReply:
    """Encode an answer, its data flat in row-major order. Raises UnencodableOutput."""
    document = described(response)
    tail: list[Buffer] = []
    document["outputs"] = [_encode_tensor(output, form, tail) for output in response.outputs]
    head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    if not tail:
        return HttpReply(200, head)
    return HttpReply(200, _joined([head, *tail]), (_OCTETS, (_LENGTH, str(len(head)).encode())))


def _joined(parts: Sequence[Buffer]) -> ReplyBody:
    """Join what a component may write to again; in huge pages where it is large.

    NumPy has these where the system does: to take 16 MiB in small pages costs more than the copy.
    """
    if sum(map(len, parts)) <= LARGE:
        return b"".join(parts)
    return np.concatenate([np.frombuffer(part, np.uint8) for part in parts]).data


def encode_as_buffer(response: InferenceResponse, form: ResponseForm) -> HttpReply:
    """Encode an answer likewise, whose body is not copied from process to process."""
    reply = encode_response(response, form)
    return reply._replace(body=memoryview(reply.body))


def described(response: InferenceResponse) -> dict[str, Any]:
    """Return an answer without its outputs: model, version, id and parameters."""
    document: dict[str, Any] = {
        "model_name": response.model_name,
        "model_version": response.model_version,
    }
    if response.id is not None:
        document["id"] = response.id
    if response.parameters:
        document["parameters"] = response.parameters
    return document


def _encode_tensor(output: OutputTensor, form: ResponseForm, tail: list[Buffer]) -> dict[str, Any]:
    """Return a tensor as JSON-able data; a binary one leaves its bytes in ``tail``."""
    tensor: dict[str, Any] = {
        "name": output.name,
        "datatype": output.datatype,
        "shape": output.array.shape,
    }
    if form is not JSON_ONLY and form.of(output.name):
        data = _encode_raw(output)
        tail.append(data)
        tensor["parameters"] = {"binary_data_size": len(data)}
    else:
        tensor["data"] = _encode_data(output)
    return tensor


def _encode_raw(output: OutputTensor) -> Buffer:
    try:
        return raw_buffer(output.array, output.datatype)
    except UnencodableOutput as error:
        raise UnencodableOutput(f"output {output.name!r}: {error}") from None


def _encode_data(output: OutputTensor) -> Any:
    flat = output.array.ravel()
    if output.datatype == "BYTES":
        return [_text(output.name, index, item) for index, item in enumerate(flat.tolist())]
    if output.datatype == "BF16":
        with unwarned():  # some bits that are no number
            return flat.astype(np.float32)
    return flat if flat.dtype.isnative else flat.astype(flat.dtype.newbyteorder("="))


def _text(name: str, index: int, item: object) -> str:
    try:
        return item.decode() if isinstance(item, bytes) else _valid(item)
    except UnicodeError:
        problem = "not text in UTF-8"
    except TypeError:
        problem = f"of type {type(item).__name__}, neither text nor bytes"
    instead = ", binary data can" if isinstance(item, bytes) else ""
    raise UnencodableOutput(
        f"output {name!r}: element {index} is {problem}; JSON cannot carry it{instead}"
    )


def _valid(item: object) -> str:
    if not isinstance(item, str):
        raise TypeError
    item.encode()
    return item


def encode_metadata(metadata: ModelMetadata) -> Mapping[str, Any]:
    """Return the model metadata response as JSON-able data."""
    return {
        "name": metadata.name,
        "versions": metadata.versions,
        "platform": metadata.platform,
        "inputs": [_encode_type(tensor) for tensor in metadata.inputs],
        "outputs": [_encode_type(tensor) for tensor in metadata.outputs],
    }


def _encode_type(tensor: TensorMetadata) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
