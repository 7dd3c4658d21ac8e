"""SeldonMessages in JSON: bodies to requests, answers to replies.

Bodies are read as the Python wrapper reads them (``extract_request_parts_json``): fields that a
message does not have are ignored. Of the payloads there must be one alone, where the wrapper takes
the first that it finds. NaN and the infinities are ``null`` in replies, but in ``data.tensor``,
where proto3 has them as texts (``"NaN"``).
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
import orjson
from msgspec import UNSET, Meta, UnsetType

from anabranch.components.annotations import MAX_COLUMNS, Tag
from anabranch.errors import InvalidRequest, TooLarge
from anabranch.router.inference.contract import Array
from anabranch.router.limits import LARGE
from anabranch.router.oip.json_body import parsed
from anabranch.router.oip.parameters import check_names
from anabranch.router.oip.raw_tensors import Buffer
from anabranch.router.seldon.answers import Answer
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
    JsonDocument,
    JsonTensor,
    NestedLists,
    Payload,
    Text,
)

_Raw = msgspec.Raw | UnsetType
T = TypeVar("T")

_COMMAS = 4
_NULL = b"null"
_Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_STANDARD = bytes.maketrans(b"-_", b"+/")


class _Tensor(msgspec.Struct, gc=False):
    """A tensor; what is empty is left out, as in all JSON of proto3."""

    shape: msgspec.Raw = msgspec.Raw(b"[]")
    values: msgspec.Raw = msgspec.Raw(b"[]")


class _Data(msgspec.Struct, gc=False):
    names: msgspec.Raw = msgspec.Raw(b"null")
    ndarray: _Raw = UNSET
    tensor: _Raw = UNSET
    tftensor: _Raw = UNSET


class MetaFields(msgspec.Struct, gc=False):
    """The fields of a message's ``meta`` that are read."""

    puid: str | None = None
    tags: dict[str, msgspec.Raw] | None = None
    requestPath: dict[str, str] | None = None


class MessageFields(msgspec.Struct, gc=False):
    """The fields of a message, its payload not decoded yet."""

    meta: MetaFields | None = None
    data: _Raw = UNSET
    strData: _Raw = UNSET
    binData: _Raw = UNSET
    jsonData: _Raw = UNSET
    customData: _Raw = UNSET


_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_decode = msgspec.json.Decoder(MessageFields).decode
_decode_data = msgspec.json.Decoder(_Data).decode
_decode_tensor = msgspec.json.Decoder(_Tensor).decode
_decode_names = msgspec.json.Decoder(list[str] | None).decode
_decode_shape = msgspec.json.Decoder(list[Annotated[int, Meta(ge=0)]]).decode
_decode_tag = msgspec.json.Decoder(bool | _Integer | float | str).decode
_decode_text = msgspec.json.Decoder(str).decode


def decode_message(body: Buffer) -> PredictionMessage:
    """Decode the body of a prediction. Raises InvalidRequest and TooLarge."""
    if len(body) > LARGE:
        check_names(body)
    return asked(parsed(_decode, body, "the body", "not a SeldonMessage"))


def decode_repeated(message: bytes) -> PredictionMessage | None:
    """Decode the request that feedback repeats; None where it has no payload.

    Raises InvalidRequest and TooLarge.
    """
    if len(message) > LARGE:
        check_names(message)
    found = parsed(_decode, message, "`request`", "not a SeldonMessage")
    return asked(found) if _present(found, (*PAYLOADS, "customData")) else None


def asked(message: MessageFields) -> PredictionMessage:
    """Return the prediction that the fields of a message ask for; InvalidRequest."""
    meta = message.meta or MetaFields()
    name = only_payload(_present(message, (*PAYLOADS, "customData")), PAYLOADS, "a SeldonMessage")
    raw = bytes(getattr(message, name))
    payload, names = _of_data(raw) if name == "data" else (_payload(name, raw), ())
    tags = {name: _tag(bytes(raw)) for name, raw in (meta.tags or {}).items()}
    return PredictionMessage(payload, meta.puid or "", tags, meta.requestPath or {}, names)


def _tag(raw: bytes) -> Tag | JsonText:
    try:
        found: Tag = _decode_tag(raw)
        return found
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return JsonText(raw)


def _present(found: msgspec.Struct, names: tuple[str, ...]) -> list[str]:
    """Return the fields that are there; null stands for one that is not, but in ``jsonData``."""
    raws = {name: raw for name in names if (raw := getattr(found, name)) is not UNSET}
    return [name for name, raw in raws.items() if name == "jsonData" or bytes(raw) != _NULL]


def _payload(name: str, raw: bytes) -> Payload:
    if name == "jsonData":
        return JsonDocument(raw)
    text = parsed(_decode_text, raw, f"`{name}`")
    return Text(text) if name == "strData" else Binary(from_base64(text))


def _of_data(raw: bytes) -> tuple[Payload, list[str]]:
    data = parsed(_decode_data, raw, "`data`")
    name = only_payload(_present(data, (*ARRAYS, "tftensor")), ARRAYS, "`data`")
    value = bytes(getattr(data, name))
    names = _few(_decode_names, data.names, "`data.names`", MAX_COLUMNS) or []
    if name == "ndarray":
        return NestedLists(value), names
    tensor = parsed(_decode_tensor, value, "`data.tensor`")
    shape = _few(_decode_shape, tensor.shape, "the shape of `data.tensor`", MAX_SHAPE)
    return JsonTensor(shape, bytes(tensor.values)), names


def _few(decode: Callable[[bytes], T], raw: msgspec.Raw, what: str, most: int) -> T:
    """Decode a list that may be long; TooLarge where it holds more than it should by far.

    Commas in texts count, too.
    """
    data = bytes(raw)
    if data.count(b",") > _COMMAS * most:
        raise TooLarge(f"{what} has more than {most} elements")
    return parsed(decode, data, what)


def from_base64(text: str) -> bytes:
    """Return the bytes of base64, also of the alphabet for URLs (as proto3's JSON has both)."""
    try:
        data = text.encode("ascii").translate(_STANDARD)
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise InvalidRequest("`binData` is no base64; strData takes text as it is") from None


def encode_reply(answer: Answer, meta: Mapping[str, Any]) -> bytes:
    """Return a SeldonMessage in JSON."""
    kind, value, names = answer
    document: dict[str, Any]
    if kind == "ndarray":
        document = {"data": {"names": names, "ndarray": value}}
    elif kind == "tensor":
        tensor = {"shape": value.shape, "values": _values(value)}
        document = {"data": {"names": names, "tensor": tensor}}
    elif kind == "binData":
        document = {"binData": base64.b64encode(value).decode()}
    else:
        document = {kind: value}
    option = orjson.OPT_SERIALIZE_NUMPY
    return orjson.dumps({**document, "meta": meta}, _fragment, option)


def _fragment(value: object) -> orjson.Fragment:
    if isinstance(value, JsonText):
        return orjson.Fragment(value.text)
    raise TypeError


def _values(array: Array) -> Any:
    """Return the elements of a tensor, flat."""
    flat = array.ravel()
    if flat.dtype.kind == "b":
        return flat.astype(np.uint8)
    if flat.dtype.kind != "f" or np.isfinite(flat).all():
        return flat
    return [one if math.isfinite(one) else _NOT_FINITE[str(one)] for one in flat.tolist()]
