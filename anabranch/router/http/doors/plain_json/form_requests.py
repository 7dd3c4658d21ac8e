"""Requests as HTML forms: a field or a file for each input.

It holds JSON for numbers and booleans, the text itself for BYTES, and the file itself for those
with ``content: raw`` and for images, which may be Base64, too. Several fields of one name are rows.
Further fields are ``id``, ``parameters``, an object in JSON, and ``outputs``, once for each output
that is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from anabranch.errors import InvalidRequest
from anabranch.router.http.doors.form_body import FormPart
from anabranch.router.http.doors.plain_json.json_requests import (
    BESIDE_INPUTS,
    OUTPUTS,
    Inputs,
    PlainRequest,
)
from anabranch.router.inference.contract import (
    Array,
    InferenceRequest,
    ModelMetadata,
    TensorMetadata,
)
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.json_body import parsed
from anabranch.router.oip.plain_images import images_in
from anabranch.router.oip.plain_inputs import (
    PlainValue,
    no_input,
    read_rows,
    read_value,
    take_parameters,
    to_arrays,
)

_decode_any = msgspec.json.Decoder(msgspec.Raw).decode


def decode_form(
    parts: Sequence[FormPart], metadata: ModelMetadata, limits: RequestLimits
) -> PlainRequest:
    """Decode a request to the graph of the metadata; raise InvalidRequest or TooLarge."""
    inputs = {tensor.name: tensor for tensor in metadata.inputs}
    given: dict[str, list[bytes]] = {}
    for part in parts:
        given.setdefault(part.name, []).append(part.data)
    beside = {name: given.pop(name, []) for name in BESIDE_INPUTS if name not in inputs}
    request = InferenceRequest(
        _arrays(given, inputs, limits),
        tuple(dict.fromkeys(_text(OUTPUTS, name) for name in beside.get(OUTPUTS, ()))),
        _only_text("id", beside),
        _parameters(beside, inputs, limits),
        endpoint="predict",
    )
    return PlainRequest(request, "values")


def _arrays(
    given: Mapping[str, Sequence[bytes]], inputs: Inputs, limits: RequestLimits
) -> dict[str, Array]:
    values: dict[str, PlainValue] = {}
    texts: dict[str, Array] = {}
    for name, found in given.items():
        tensor = inputs.get(name)
        if tensor is None:
            raise no_input(name, inputs, BESIDE_INPUTS)
        if tensor.datatype == "BYTES":
            texts[name] = _texts(tensor, found)
        else:
            values[name] = _value(tensor, found, limits)
    return texts | to_arrays(values, limits)


def _value(tensor: TensorMetadata, found: Sequence[bytes], limits: RequestLimits) -> PlainValue:
    if tensor.content == "image" and all(map(_is_file, found)):
        return images_in(tensor, found, len(found) > 1)
    raws = [parsed(_decode_any, _in_json(tensor, one), f"field {tensor.name!r}") for one in found]
    if len(raws) == 1:
        return read_value(tensor, bytes(raws[0]), limits)
    return read_rows(tensor, raws, limits)


def _is_file(data: bytes) -> bool:
    """Return whether a field begins as PNG and JPEG do: with a byte that no text in ASCII has."""
    return data[:1] > b"\x7f"


def _in_json(tensor: TensorMetadata, data: bytes) -> bytes:
    """Return a field as JSON: that of an image may be a text in Base64 as it is."""
    is_text = tensor.content == "image" and not data.lstrip().startswith((b"[", b"{", b'"'))
    return b'"%b"' % data.strip() if is_text else data


def _texts(tensor: TensorMetadata, found: Sequence[bytes]) -> Array:
    """Return texts, or raw bytes, as an array: one fills dimensions of 1, several are rows."""
    array = np.empty(len(found), object)
    array[:] = found if tensor.content == "raw" else [_text(tensor.name, one) for one in found]
    if len(found) == 1:
        return array.reshape([1] * len(tensor.shape))
    return array.reshape([len(found), *[1] * (len(tensor.shape) - 1)])


def _parameters(
    beside: Mapping[str, Sequence[bytes]], inputs: Inputs, limits: RequestLimits
) -> dict[str, bool | int | float | str | list[str]]:
    text = _only_text("parameters", beside)
    fields = {} if text is None else {"parameters": msgspec.Raw(text.encode())}
    return take_parameters(fields, inputs, limits)


def _only_text(name: str, beside: Mapping[str, Sequence[bytes]]) -> str | None:
    found = beside.get(name, ())
    if len(found) > 1:
        raise InvalidRequest(f"the form has {len(found)} fields {name!r}, and takes one")
    return _text(name, found[0]) if found else None


def _text(name: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidRequest(
            f"field {name!r} is not text in UTF-8; only an input with `content: raw` in the "
            "graph's spec takes other bytes"
        ) from None
