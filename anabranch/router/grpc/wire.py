"""Reads single fields of Protocol Buffers without decoding the whole message.

A message is a sequence of fields: a tag, which is the field's number and the kind of its value, and
the value. Source: the encoding guide of Protocol Buffers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from anabranch.errors import InvalidRequest, TooLarge
from anabranch.router.oip.raw_tensors import Buffer

MAX_FIELDS = 4096
"""Most fields of one message. An empty message takes two bytes on the wire and fifty times that in
memory, so fields are counted before they are decoded."""
BYTES = 2
"""Kind of a value that stands behind its length: text, bytes, messages."""
_FIXED = {1: 8, 5: 4}
"""Sizes of the kinds that have one."""
_VARINT = 0
_LONGEST_VARINT = 10


class Field(NamedTuple):
    """The place of a field: ``message[start:end]`` with its tag, ``message[value:end]`` without."""

    number: int
    kind: int
    start: int
    value: int
    end: int


def fields(
    message: Buffer, at: int = 0, end: int | None = None, most: int = MAX_FIELDS
) -> Iterator[Field]:
    """Walk over the fields of a message, not into them; or of the one inside it up to ``end``.

    Raises InvalidRequest where it is none, TooLarge beyond ``most`` fields.
    """
    size, left = len(message) if end is None else end, most
    while at < size:
        if not left:
            raise TooLarge(f"the message has more than {MAX_FIELDS} fields")
        left -= 1
        start = at
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        value, at = _value(message, kind, at)
        if at > size or number == 0:
            raise _malformed()
        yield Field(number, kind, start, value, at)


def _value(message: Buffer, kind: int, at: int) -> tuple[int, int]:
    """Return where a value starts and ends that is at ``at``."""
    if kind == BYTES:
        length, at = _varint(message, at)
        return at, at + length
    if kind == _VARINT:
        return at, _varint(message, at)[1]
    if kind in _FIXED:
        return at, at + _FIXED[kind]
    raise _malformed()


def _varint(message: Buffer, at: int) -> tuple[int, int]:
    """Return the number at ``at``, seven bits a byte, and where it ends."""
    try:
        byte = message[at]
        if byte < 0x80:
            return byte, at + 1
        number = byte & 0x7F
        for index in range(1, _LONGEST_VARINT):
            byte = message[at + index]
            number |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return number, at + index + 1
    except IndexError:
        pass
    raise _malformed()


def text(message: Buffer, number: int) -> str:
    """The value of a field of text, empty where it is left out; of several, the last counts."""
    found = ""
    for field in fields(message):
        if field.number == number and field.kind == BYTES:
            found = _decoded(message[field.value : field.end])
    return found


def _decoded(data: Buffer) -> str:
    try:
        return bytes(data).decode()
    except UnicodeDecodeError:
        raise InvalidRequest("a name in the message is not text in UTF-8") from None


def head(number: int, size: int) -> bytes:
    """Return the tag and the length that precede a value of ``size`` bytes in field ``number``."""
    return _encoded(number << 3 | BYTES) + _encoded(size)


def _encoded(number: int) -> bytes:
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _malformed() -> InvalidRequest:
    return InvalidRequest("the message is malformed: it is not in Protocol Buffers")
