"""Bodies of HTML forms: their fields and files, in order.

``multipart/form-data`` (RFC 7578) and ``application/x-www-form-urlencoded`` (WHATWG URL, 5).
"""

from __future__ import annotations

import re
from logging import CRITICAL, Logger
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from anabranch.errors import InvalidRequest, TooLarge
from anabranch.router.oip.raw_tensors import Buffer
from anabranch.specs.excerpts import shown

MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"
MAX_PARTS = 1024
"""Most fields and files of a form."""
MAX_TYPE = 1024
"""Longest Content-Type that is read, in characters."""

_BEGINS_JSON = re.compile(rb"\s*\{").match
_SILENT = Logger("form", CRITICAL + 1)
"""In place of the parser's own, which would warn of each malformed body."""


class FormPart(NamedTuple):
    """A field of a form, or a file."""

    name: str
    data: bytes


def media_type(content_type: str) -> str:
    """Return the type of a header Content-Type, without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def is_form(content_type: str, body: Buffer) -> bool:
    """Return whether a body is a form; one that begins as JSON does is none of URLENCODED.

    curl calls all that it posts so.
    """
    kind = media_type(content_type)
    return kind == MULTIPART or (kind == URLENCODED and not _BEGINS_JSON(body))


def read_form(body: bytes, content_type: str) -> list[FormPart]:
    """Return the parts of a form; raise InvalidRequest, or TooLarge for more than MAX_PARTS."""
    if media_type(content_type) == MULTIPART:
        return _read_multipart(body, content_type)
    return _read_urlencoded(body)


def _read_urlencoded(body: bytes) -> list[FormPart]:
    pairs = body.split(b"&", MAX_PARTS)
    if len(pairs) > MAX_PARTS:
        raise _too_many()
    halves = (pair.replace(b"+", b" ").partition(b"=") for pair in pairs if pair)
    return [
        FormPart(_name(unquote_to_bytes(name)), unquote_to_bytes(value))
        for name, _, value in halves
    ]


def _read_multipart(body: bytes, content_type: str) -> list[FormPart]:
    _, options = parse_options_header(content_type[:MAX_TYPE])
    boundary = options.get(b"boundary")
    if not boundary:
        raise InvalidRequest(f"Content-Type {shown(content_type)} has no boundary")
    found = _Parts()
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": found.begin,
                "on_header_field": found.header_field,
                "on_header_value": found.header_value,
                "on_header_end": found.header_end,
                "on_headers_finished": found.headers_finished,
                "on_part_data": found.data,
                "on_part_end": found.end,
                "on_end": found.finish,
            },
        )
        parser.logger = _SILENT
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise InvalidRequest(f"the body is no {MULTIPART}: {error}") from None
    if not found.is_whole:
        raise InvalidRequest(f"the body is no {MULTIPART}: it stops before its last boundary")
    return found.parts


class _Parts:
    """The parts of a body, as the parser comes across them."""

    def __init__(self) -> None:
        self.parts: list[FormPart] = []
        self.is_whole = False
        self._field = self._value = b""
        self._disposition: dict[bytes, bytes] = {}
        self._name = ""
        self._pieces: list[bytes] = []

    def begin(self) -> None:
        if len(self.parts) == MAX_PARTS:
            raise _too_many()
        self._field = self._value = b""
        self._disposition = {}
        self._pieces = []

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._field.strip().lower() == b"content-disposition":
            # As browsers write names: in UTF-8, without an encoding of their own.
            kind, options = parse_options_header(self._value.decode("latin-1"))
            if kind == b"form-data":
                self._disposition = options
        self._field = self._value = b""

    def headers_finished(self) -> None:
        if b"name" not in self._disposition:
            raise InvalidRequest(f"part {len(self.parts)} of the body has no name")
        self._name = _name(self._disposition[b"name"])

    def data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def end(self) -> None:
        self.parts.append(FormPart(self._name, b"".join(self._pieces)))

    def finish(self) -> None:
        self.is_whole = True


def _name(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"the name {shown(name)} of a field is not UTF-8") from None


def _too_many() -> TooLarge:
    return TooLarge(f"the form has more than {MAX_PARTS} fields")
