"""Values in plain JSON as tensors: a scalar, or nested lists, as a whole or row by row.

A value is read in two steps. The first finds its shape by the brackets of its JSON, so that limits
act before elements take memory; the second decodes its elements as the datatype of the input.
Dimensions of 1 that a value leaves out are added: in front of a whole value and of each row, and
behind the rows of a column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np

from anabranch.errors import InvalidRequest, TooLarge
from anabranch.router.inference.contract import Array, TensorMetadata
from anabranch.router.limits import LARGE, RequestLimits
from anabranch.router.oip.base64_values import Encoded, from_base64
from anabranch.router.oip.envelope import Header
from anabranch.router.oip.json_body import parsed
from anabranch.router.oip.json_elements import check_texts, decode_elements, decode_nested
from anabranch.router.oip.parameters import MAX_NAMES, check_names, check_parameters
from anabranch.router.oip.plain_images import PlainImages, are_images, read_images
from anabranch.router.oip.raw_tensors import Buffer
from anabranch.router.oip.tensor_header import check_together
from anabranch.specs.excerpts import hint

BytesForm: TypeAlias = Literal["text", "tagged", "base64"]
"""Form of BYTES in JSON: strings alone; strings, and ``{"b64": "…"}`` for other bytes; or the same
with strings that are Base64 themselves, in the standard alphabet (RFC 4648, 4) or as a data URL."""
Parameter: TypeAlias = bool | int | float | str | list[str]
Row: TypeAlias = Mapping[str, msgspec.Raw]
"""Values by input."""

MAX_RECORDS = 2**18
"""Most objects, and most names in them, of a large body: each takes some hundred bytes."""
B64 = "b64"

_OPENING = re.compile(rb"[\[ \t\r\n]*").match
_STRUCTURE = b"[],"
_NO_ELEMENTS = b"[], \t\r\n"
_NOT_STRUCTURE = bytes(set(range(256)) - set(_STRUCTURE))


_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_records = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_decode_parameters = msgspec.json.Decoder(dict[str, Parameter] | None).decode
_decode_id = msgspec.json.Decoder(str | None).decode


class PlainElements(NamedTuple):
    """The value of an input as its elements, not decoded yet."""

    header: Header
    """The tensor as its JSON is nested; a scalar as a list of one element."""
    data: bytes
    shape: Sequence[int]
    """Sizes of the tensor, with the dimensions of 1 that the JSON leaves out."""
    form: BytesForm

    def array(self, limits: RequestLimits) -> Array:
        """Return the tensor; raise InvalidRequest, and TooLarge before elements take memory."""
        if self.header.datatype == "BYTES" and self.form != "text":
            array = _bytes(self.header, self.data, self.form, limits)
        else:
            array = decode_elements(self.header, self.data, limits)
        return array.reshape(self.shape)


PlainValue: TypeAlias = PlainElements | PlainImages
"""The value of an input: it has a header, a shape, and the method ``array``."""


def fields_of(body: Buffer, most: int = MAX_NAMES) -> dict[str, msgspec.Raw]:
    """Return the fields of a body that is an object; raise InvalidRequest or TooLarge.

    ``most``: the names in all objects of a large body.
    """
    if len(body) > LARGE:
        check_names(body, most)
    return parsed(_decode_object, body, "the body")


def take_id(fields: dict[str, msgspec.Raw], inputs: Collection[str]) -> str | None:
    """Take the field ``id`` out, unless it is an input; None where it is missing or null."""
    if "id" in inputs:
        return None
    own_id: str | None = parsed(_decode_id, fields.pop("id", b"null"), "'id'")
    return own_id


def take_parameters(
    fields: dict[str, msgspec.Raw], inputs: Collection[str], limits: RequestLimits
) -> dict[str, Parameter]:
    """Take the field ``parameters`` out, unless it is an input; raise TooLarge over the limits."""
    given = fields.pop("parameters", b"null") if "parameters" not in inputs else b"null"
    found = parsed(_decode_parameters, given, "'parameters'") or {}
    check_parameters([found], limits)
    return found


def no_input(name: str, inputs: Collection[str], fields: Collection[str] = ()) -> InvalidRequest:
    """Return the error about a name that is no input, nor one of further ``fields``."""
    kind = "field" if fields else "input"
    return InvalidRequest(f"there is no {kind} {name[:64]!r}{hint(name[:64], [*inputs, *fields])}")


def records_of(raw: msgspec.Raw | bytes, what: str) -> list[dict[str, msgspec.Raw]]:
    """Return the objects of a list, whose values are not decoded; errors call the list ``what``.

    Raise InvalidRequest for anything else, and TooLarge for more than MAX_RECORDS objects.
    """
    data = bytes(raw)
    if len(data) > LARGE and data.count(b"{") > MAX_RECORDS:
        raise TooLarge(f"{what} hold more than {MAX_RECORDS} objects; send columns instead")
    return parsed(_decode_records, data, what)


def by_input(
    rows: Sequence[Row], inputs: Mapping[str, TensorMetadata], what: str
) -> dict[str, list[msgspec.Raw]]:
    """Return the values of each input, row by row; of all inputs where there is no row.

    Raise InvalidRequest for a name that is no input, and for rows of different names.
    """
    names = rows[0].keys() if rows else inputs.keys()
    for number, row in enumerate(rows):
        if row.keys() != names:
            raise _other_names(number, row, names, inputs, what)
    for name in names:
        if name not in inputs:
            raise no_input(name, inputs)
    return {name: [row[name] for row in rows] for name in names}


def _other_names(
    number: int, row: Row, names: Collection[str], inputs: Collection[str], what: str
) -> InvalidRequest:
    unknown = [name for name in row if name not in inputs]
    if unknown:
        return no_input(unknown[0], inputs)
    missing = [name for name in names if name not in row]
    if missing:
        return InvalidRequest(f"{what}[{number}] has no value of {missing[0][:64]!r}")
    extra = next(name for name in row if name not in names)
    return InvalidRequest(f"{what}[{number}] has a value of {extra[:64]!r}, {what}[0] has none")


def read_value(
    tensor: TensorMetadata, raw: bytes, limits: RequestLimits, form: BytesForm = "text"
) -> PlainValue:
    """Read a whole value: dimensions of 1 that it leaves out stand in front.

    Raise InvalidRequest or TooLarge.
    """
    if are_images(tensor, raw):
        return read_images(tensor, raw)
    header, data, depth = _nested(tensor, raw, limits)
    sizes = header.shape if depth else []
    return PlainElements(header, data, [*_ones(tensor, len(sizes)), *sizes], form)


def read_column(
    tensor: TensorMetadata, raw: bytes, limits: RequestLimits, form: BytesForm = "text"
) -> PlainValue:
    """Read a list with an element for each row: dimensions that it leaves out stand behind them.

    Raise InvalidRequest for a value that is no list.
    """
    if are_images(tensor, raw) and raw.lstrip().startswith(b"["):
        return read_images(tensor, raw)
    header, data, depth = _nested(tensor, raw, limits)
    if not depth:
        raise InvalidRequest(f"the column of input {tensor.name!r} must be a list, with its rows")
    rows, *sizes = header.shape
    inner = [*_ones(tensor, len(header.shape)), *sizes] if rows else _of_no_row(tensor, sizes)
    return PlainElements(header, data, [rows, *inner], form)


def read_rows(
    tensor: TensorMetadata,
    raws: Sequence[msgspec.Raw],
    limits: RequestLimits,
    form: BytesForm = "text",
) -> PlainValue:
    """Read the values of rows, all of one shape, as one tensor whose first size is their number."""
    return read_column(tensor, b"[%b]" % b",".join(map(bytes, raws)), limits, form)


def to_arrays(values: Mapping[str, PlainValue], limits: RequestLimits) -> dict[str, Array]:
    """Decode values; raise InvalidRequest, and TooLarge before elements take memory."""
    if len(values) > 1:
        check_together([value.header for value in values.values()], limits)
    return {name: value.array(limits) for name, value in values.items()}


def _ones(tensor: TensorMetadata, there: int) -> list[int]:
    return [1] * (len(tensor.shape) - there)


def _of_no_row(tensor: TensorMetadata, sizes: Sequence[int]) -> list[int]:
    """Return the sizes of a row of which there is none: those that the graph declares."""
    return list(sizes) or [max(size, 0) for size in tensor.shape[1:]]


def _nested(tensor: TensorMetadata, raw: bytes, limits: RequestLimits) -> tuple[Header, bytes, int]:
    """Return a value as a list, its header, and how deep the value itself is nested."""
    opening = _OPENING(raw)
    depth = opening.group().count(b"[") if opening else 0
    if depth > limits.max_rank:
        raise InvalidRequest(f"input {tensor.name!r} is nested too deeply")
    text = tensor.datatype == "BYTES"
    if text:
        check_texts(tensor.name, raw, limits)
    shape = _shape_of_texts(tensor.name, raw, depth) if text else _shape_of_numbers(raw, depth)
    if not depth:
        raw, shape = b"[%b]" % raw, [1]
    return Header(tensor.name, tensor.datatype, shape), raw, depth


def _shape_of_texts(name: str, raw: bytes, depth: int) -> list[int]:
    kind: Any = msgspec.Raw
    for _ in range(depth):
        kind = list[kind]
    value = parsed(msgspec.json.Decoder(kind).decode, raw, f"input {name!r}")
    shape = []
    for _ in range(depth):
        shape.append(len(value))
        value = value[0] if value else []
    return shape


def _shape_of_numbers(raw: bytes, depth: int) -> list[int]:
    """The sizes of lists that are nested regularly, by the brackets and commas of the first ones.

    Irregular ones give a shape that their data does not fit.
    """
    structure = raw.translate(None, _NOT_STRUCTURE)
    counts = [
        structure.count(b",", 0, max(structure.find(b"]" * closing), 0)) + 1
        for closing in range(1, depth + 1)
    ]
    sizes = [count // before for before, count in pairwise([1, *counts])]
    if sizes and not raw.translate(None, _NO_ELEMENTS):
        sizes[0] = 0
    return sizes[::-1]


def _bytes(header: Header, data: bytes, form: BytesForm, limits: RequestLimits) -> Array:
    check_together([header], limits)
    plain: Callable[[str], str | bytes] = str if form == "tagged" else from_base64
    array = np.empty(len(elements := decode_nested(header, data, str | Encoded)), object)
    try:
        array[:] = [
            from_base64(one.b64) if isinstance(one, Encoded) else plain(one) for one in elements
        ]
    except ValueError as error:
        raise InvalidRequest(f"input {header.name!r}: {error}") from None
    if any(isinstance(one, bytes) for one in array):
        array[:] = [one.encode() if isinstance(one, str) else one for one in array]
    return array
