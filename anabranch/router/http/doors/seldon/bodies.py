"""Bodies of Seldon's clients as JSON, whatever their type.

The wrapper takes JSON, a form with the field ``json``, and ``multipart/form-data`` with the fields
of a message as its parts (``get_request`` in ``seldon_core/flask_utils.py``); the executor passes
all of them on. Parts of ``strData`` and ``binData`` are taken as they are, which suits files; the
others are JSON.
"""

from __future__ import annotations

import base64

import msgspec
import orjson

from anabranch.errors import InvalidRequest
from anabranch.router.http.doors.form_body import MULTIPART, is_form, media_type, read_form
from anabranch.router.oip.json_body import parsed
from anabranch.router.oip.raw_tensors import Buffer
from anabranch.specs.excerpts import hint

_FIELDS = ("meta", "data", "jsonData", "strData", "binData", "customData", "status")
_decode_json = msgspec.json.Decoder(msgspec.Raw).decode


def json_body(body: Buffer, content_type: str) -> Buffer:
    """Return a body as JSON, by its Content-Type; InvalidRequest, or TooLarge for a form."""
    if not is_form(content_type, body):
        return body
    read = _message if media_type(content_type) == MULTIPART else _field
    return read(bytes(body), content_type)


def _field(body: bytes, content_type: str) -> bytes:
    found = {part.name: part.data for part in read_form(body, content_type)}
    if "json" not in found:
        raise InvalidRequest("the form has no field `json`; send the message as JSON")
    return found["json"]


def _message(body: bytes, content_type: str) -> bytes:
    fields: dict[str, bytes] = {}
    for name, data in read_form(body, content_type):
        if name not in _FIELDS:
            raise InvalidRequest(f"a message has no field {name[:64]!r}{hint(name[:64], _FIELDS)}")
        if name in fields:
            raise InvalidRequest(f"`{name}` is there twice")
        fields[name] = _as_json(name, data)
    return b"{%b}" % b",".join(b'"%b":%b' % (name.encode(), raw) for name, raw in fields.items())


def _as_json(name: str, data: bytes) -> bytes:
    if name == "binData":
        return b'"%b"' % base64.b64encode(data)
    if name == "strData":
        try:
            return orjson.dumps(data.decode())
        except UnicodeDecodeError:
            raise InvalidRequest("`strData` is not text in UTF-8; send it as `binData`") from None
    return bytes(parsed(_decode_json, data, f"`{name}`"))
