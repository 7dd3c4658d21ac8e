"""Replies of Seldon's protocol in Protocol Buffers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf import json_format

from anabranch.components.annotations import Tag
from anabranch.components.contracts.seldon.protos import message_type
from anabranch.components.tensors.arrays import Array
from anabranch.router.errors import UnencodableOutput
from anabranch.router.grpc import wire
from anabranch.router.grpc.messages import Message
from anabranch.router.grpc.seldon.messages import DefaultData, MetaMessage, SeldonMessage, Tensor
from anabranch.router.inference.contract import ModelMetadata
from anabranch.router.seldon.answers import Answer
from anabranch.router.seldon.messages import JsonText

_DATA, _TENSOR, _VALUES = 3, 2, 2
"""Numbers of the fields that hold ``data``, its tensor, and the values of that."""
_EXACT = 2**53
"""Integers up to here are all numbers of double precision."""


def encode_reply(answer: Answer, meta: Mapping[str, Any]) -> bytes:
    """Return a SeldonMessage. Raises UnencodableOutput."""
    message = SeldonMessage(meta=_meta(meta))
    kind, value, names = answer
    if kind == "tensor":
        return b"".join([message.SerializeToString(), *_tensor(value, names)])
    if kind == "ndarray":
        message.data.names.extend(names)
        if isinstance(value, JsonText):
            _fill(message.data.ndarray, value)
        else:
            message.data.ndarray.extend(_plain(value))
    elif kind == "jsonData":
        _fill(message.jsonData, value)
    else:
        setattr(message, kind, value)
    data: bytes = message.SerializeToString()
    return data


def _tensor(array: Array, names: list[str]) -> list[bytes]:
    """Return ``data`` with a tensor, written here to save large ones a way through Python."""
    values = _doubles(array).tobytes()
    shape = Tensor(shape=array.shape).SerializeToString()
    packed = wire.head(_VALUES, len(values)) + values if values else b""
    tensor = wire.head(_TENSOR, len(shape) + len(packed))
    named = DefaultData(names=names).SerializeToString()
    size = len(named) + len(tensor) + len(shape) + len(packed)
    return [wire.head(_DATA, size), named, tensor, shape, packed]


def _doubles(array: Array) -> Array:
    if array.dtype.kind in "iu" and array.itemsize == 8:
        _check_exact(array)
    return array.ravel().astype("<f8")


def _check_exact(array: Array) -> None:
    if array.size and (array.max() > _EXACT or array.min() < -_EXACT):
        raise UnencodableOutput(
            f"the output holds integers beyond {_EXACT}, which no number of this protocol over "
            "gRPC can; ask over HTTP, or over the Open Inference Protocol"
        )


def _plain(value: Any) -> Any:
    """Return a tensor as nested lists."""
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.kind in "iu" and value.itemsize == 8:
        _check_exact(value)
    return value.tolist()


def _fill(message: Message, value: Any) -> None:
    """Fill a ``google.protobuf.Value`` or ``ListValue`` with JSON, or with values by output."""
    if not isinstance(value, JsonText):
        message.struct_value.update({name: _plain(one) for name, one in value.items()})
        return
    try:
        json_format.Parse(value.text, message)
    except (json_format.ParseError, RecursionError) as error:
        raise UnencodableOutput(f"JSON that Protocol Buffers cannot hold: {error}") from None


def _meta(meta: Mapping[str, Any]) -> Message:
    found = MetaMessage(
        puid=meta.get("puid", ""),
        routing=meta.get("routing", {}),
        requestPath=meta.get("requestPath", {}),
        metrics=meta.get("metrics", ()),
    )
    for name, tag in meta.get("tags", {}).items():
        value = found.tags[name]
        if isinstance(tag, JsonText):
            _fill(value, tag)
        elif isinstance(tag, bool):
            value.bool_value = tag
        elif isinstance(tag, str):
            value.string_value = tag
        else:
            value.number_value = tag
    return found


def encode_reward(puid: str, tags: Mapping[str, Tag], status: Mapping[str, Any]) -> bytes:
    """Return the reply to feedback."""
    message = SeldonMessage(meta=_meta({"puid": puid, "tags": tags}), status=status)
    data: bytes = message.SerializeToString()
    return data


def encode_model(metadata: ModelMetadata) -> bytes:
    """Return a graph as a SeldonModelMetadata."""
    data: bytes = _model(metadata).SerializeToString()
    return data


def encode_graph(metadata: ModelMetadata) -> bytes:
    """Return a graph as a SeldonGraphMetadata, whose only model it is."""
    model = _model(metadata)
    name = metadata.name.rpartition("/")[2]
    found = message_type("SeldonGraphMetadata")(
        name=name, inputs=model.inputs, outputs=model.outputs
    )
    found.models[name].CopyFrom(model)
    data: bytes = found.SerializeToString()
    return data


def _model(metadata: ModelMetadata) -> Message:
    kind = message_type("SeldonMessageMetadata")
    inputs, outputs = (
        [kind(name=one.name, datatype=one.datatype, shape=one.shape) for one in tensors]
        for tensors in (metadata.inputs, metadata.outputs)
    )
    return message_type("SeldonModelMetadata")(
        name=metadata.name,
        versions=metadata.versions,
        platform=metadata.platform,
        inputs=inputs,
        outputs=outputs,
    )
