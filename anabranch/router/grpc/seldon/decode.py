"""Predictions and feedback of Seldon's protocol in Protocol Buffers.

Nested lists and documents are read as the JSON that they are in proto3, so that they are checked
as over HTTP. They take many times their size in memory, so messages may hold fewer bytes of them
than of tensors, texts and bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
from google.protobuf import json_format

from anabranch.components.annotations import Tag
from anabranch.components.contracts.seldon.protos import message_type
from anabranch.errors import InvalidRequest, TooLarge
from anabranch.router.grpc import wire
from anabranch.router.grpc.messages import Message, parse
from anabranch.router.grpc.seldon.messages import SeldonMessage
from anabranch.router.limits import LARGE, RequestLimits
from anabranch.router.oip.raw_tensors import Buffer
from anabranch.router.seldon.answers import ROUTING_TAG
from anabranch.router.seldon.messages import (
    ARRAYS,
    MAX_SHAPE,
    PAYLOADS,
    JsonText,
    PredictionMessage,
    only_payload,
)
from anabranch.router.seldon.payloads import (
    Binary,
    Doubles,
    JsonDocument,
    NestedLists,
    Payload,
    Text,
)
from anabranch.router.seldon.rewards import Told, decode_feedback

_TIMES = 32
"""Bytes in memory of one byte of lists and documents, at most."""
_DATA, _TENSOR, _VALUES = 3, 2, 2
"""Numbers of the fields that hold ``data``, its tensor, and the values of that."""
_FLAT = frozenset((4, 5))
"""Those that hold ``binData`` and ``strData``."""
_REQUEST, _RESPONSE, _META = 1, 2, 2
_FEEDBACK = message_type("Feedback")


def decode_predict(message: Buffer, limits: RequestLimits) -> PredictionMessage:
    """Decode the message of a prediction. Raises InvalidRequest and TooLarge."""
    _check_size(message, limits)
    return _asked(parse(SeldonMessage, message))


def _asked(found: Message) -> PredictionMessage:
    present = found.WhichOneof("data_oneof")
    name = only_payload([present] if present else [], PAYLOADS, "a SeldonMessage")
    payload, names = _payload(found, name)
    meta = found.meta
    tags = {name: _tag(value) for name, value in meta.tags.items()}
    return PredictionMessage(payload, meta.puid, tags, dict(meta.requestPath), names)


def _payload(found: Message, name: str) -> tuple[Payload, list[str]]:
    if name == "strData":
        return Text(found.strData), []
    if name == "binData":
        return Binary(found.binData), []
    if name == "jsonData":
        return JsonDocument(_json(found.jsonData, "`jsonData`")), []
    data = found.data
    present = data.WhichOneof("data_oneof")
    if only_payload([present] if present else [], ARRAYS, "`data`") == "ndarray":
        return NestedLists(_json(data.ndarray, "`data.ndarray`")), list(data.names)
    shape, values = data.tensor.shape, data.tensor.values
    if len(shape) > MAX_SHAPE:
        raise TooLarge(f"the shape of `data.tensor` has more than {MAX_SHAPE} elements")
    doubles = np.fromiter(values, np.float64, len(values))
    return Doubles(list(shape), doubles), list(data.names)


def _json(value: Message, what: str) -> bytes:
    try:
        return orjson.dumps(json_format.MessageToDict(value))
    except (json_format.Error, ValueError, TypeError, RecursionError) as error:
        raise InvalidRequest(f"{what} cannot be JSON: {error}") from None


def _tag(value: Message) -> Tag | JsonText:
    kind = value.WhichOneof("kind")
    if kind in ("bool_value", "number_value", "string_value"):
        found: Tag = getattr(value, kind)
        return found
    return JsonText(_json(value, "a tag"))


def _sizes(message: Buffer, field: wire.Field, *numbers: int) -> Iterator[int]:
    """Give the sizes of fields inside one, by the numbers that lead there."""
    if field.kind != wire.BYTES:
        return
    for inner in wire.fields(message, field.value, field.end):
        if inner.number == numbers[0]:
            if len(numbers) == 1:
                yield inner.end - inner.start
            else:
                yield from _sizes(message, inner, *numbers[1:])


def _check_size(message: Buffer, limits: RequestLimits) -> None:
    """Raise TooLarge where a message has more bytes of lists and documents than fit the limits.

    InvalidRequest where it is malformed.
    """
    if len(message) <= LARGE:
        return
    flat = 0
    for field in wire.fields(message):
        if field.number in _FLAT:
            flat += field.end - field.start
        elif field.number == _DATA:
            flat += sum(_sizes(message, field, _TENSOR, _VALUES))
    most = limits.max_decoded // _TIMES
    if len(message) - flat > most:
        raise TooLarge(
            f"the message has {len(message) - flat} bytes of lists and documents, over the limit "
            f"of {most} bytes; send `data.tensor`, `strData` or `binData`"
        )


def decode_reward(message: bytes, puid: str, limits: RequestLimits) -> Told:
    """Decode a feedback message; ``puid`` is the one in the call's metadata, if any.

    Of the response only the ``meta`` is read, and the request is left as it is. Raises
    InvalidRequest and TooLarge.
    """
    kept: list[bytes] = []
    request = b""
    for field in wire.fields(message):
        if field.number == _RESPONSE and field.kind == wire.BYTES:
            meta = b"".join(
                message[one.start : one.end]
                for one in wire.fields(message, field.value, field.end)
                if one.number == _META
            )
            kept += [wire.head(_RESPONSE, len(meta)), meta]
        elif field.number == _REQUEST:
            request = message[field.value : field.end] if field.kind == wire.BYTES else b""
        else:
            kept.append(message[field.start : field.end])
    data = b"".join(kept)
    if len(data) > limits.max_decoded // _TIMES:
        raise TooLarge(f"the truth and the meta of the response have {len(data)} bytes")
    found = parse(_FEEDBACK, data)
    meta_read = {"puid": found.response.meta.puid}
    document: dict[str, Any] = {"response": {"meta": meta_read}, "reward": found.reward}
    if ROUTING_TAG in found.response.meta.tags:
        signed = found.response.meta.tags[ROUTING_TAG].string_value
        document["response"]["meta"]["tags"] = {ROUTING_TAG: signed}
    if not math.isfinite(found.reward):
        raise InvalidRequest(f"the reward is {found.reward}, no finite number")
    if found.HasField("truth"):
        found.truth.ClearField("customData")  # which takes its type to read
        document["truth"] = orjson.Fragment(_json(found.truth, "the truth"))
    return decode_feedback(orjson.dumps(document), puid)._replace(request=request)


def decode_repeated(message: bytes, limits: RequestLimits) -> PredictionMessage | None:
    """Decode the request that feedback repeats; None where it has no payload.

    Raises InvalidRequest and TooLarge.
    """
    _check_size(message, limits)
    found = parse(SeldonMessage, message)
    return None if found.WhichOneof("data_oneof") is None else _asked(found)
