"""The fields of a body: those of OpenAI's API by their types, all others as parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec

from anabranch.errors import InvalidRequest
from anabranch.router.http.doors.openai.errors import FieldError
from anabranch.router.limits import LARGE
from anabranch.router.oip.json_body import parsed
from anabranch.router.oip.parameters import check_names
from anabranch.router.oip.raw_tensors import Buffer

T = TypeVar("T")
Value: TypeAlias = bool | int | float | str

MAX_CHOICES = 128
"""Most evaluations of one request, and most choices of its answer, as in OpenAI's ``n``."""
MAX_STOPS = 16
"""Most stop sequences; OpenAI takes 4, servers of open models more."""
MAX_STOP = 256
"""Longest stop sequence, in characters."""
_INTEGERS = range(-(2**63), 2**63)

_Penalty: TypeAlias = Annotated[float, msgspec.Meta(ge=-2, le=2)]
_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
_Object: TypeAlias = dict[str, msgspec.Raw]
Stop: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_STOP)]
Stops: TypeAlias = Stop | Annotated[list[Stop], msgspec.Meta(max_length=MAX_STOPS)]
Choices: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=MAX_CHOICES)]
Tokens: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class StreamOptions(msgspec.Struct):
    """The field ``stream_options``."""

    include_usage: bool = False


_TYPES: Mapping[str, Any] = {
    "best_of": _Count,
    "dimensions": Tokens,
    "echo": bool,
    "encoding_format": Literal["float", "base64"],
    "frequency_penalty": _Penalty,
    "logit_bias": dict[str, Annotated[float, msgspec.Meta(ge=-100, le=100)]],
    "logprobs": bool | Annotated[int, msgspec.Meta(ge=0, le=20)],
    "max_completion_tokens": Tokens,
    "max_tokens": _Count,
    "metadata": _Object,
    "model": str,
    "n": Choices,
    "parallel_tool_calls": bool,
    "presence_penalty": _Penalty,
    "response_format": _Object,
    "seed": int,
    "stop": Stops,
    "stream": bool,
    "stream_options": StreamOptions,
    "suffix": str,
    "temperature": Annotated[float, msgspec.Meta(ge=0, le=2)],
    "tool_choice": str | _Object,
    "tools": list[_Object],
    "top_logprobs": Annotated[int, msgspec.Meta(ge=0, le=20)],
    "top_p": Annotated[float, msgspec.Meta(ge=0, le=1)],
    "user": str,
}
"""Types of fields, as in ``openai/types`` (``completion_create_params.py`` and its neighbours)."""
_DECODERS = {name: msgspec.json.Decoder(kind) for name, kind in _TYPES.items()}
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_scalar = msgspec.json.Decoder(bool | int | float | str).decode


class _Streaming(msgspec.Struct):
    stream: bool | None = False


_decode_streaming = msgspec.json.Decoder(_Streaming).decode


def asks_for_stream(body: Buffer) -> bool:
    """Return whether a body asks for a stream; False for one that cannot be read."""
    try:
        return bool(_decode_streaming(body).stream)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


class BodyFields:
    """The fields of a body that are not null, each until it is taken.

    Raises InvalidRequest where the body is no object in JSON, and TooLarge for too many names.
    """

    def __init__(self, body: Buffer) -> None:
        if len(body) > LARGE:
            check_names(body)
        found = parsed(_decode_object, body, "the body")
        self._left = {name: raw for name, raw in found.items() if bytes(raw) != b"null"}

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def raw(self, name: str) -> bytes:
        """Take a field as it was written; FieldError where there is none."""
        raw = self._left.pop(name, None)
        if raw is None:
            raise FieldError(name, f"you must provide the field {name!r}")
        return bytes(raw)

    def take(self, name: str) -> Any:
        """Take a field by its type; None where there is none."""
        return self._decoded(name, self.raw(name)) if name in self._left else None

    def put(self, name: str, raw: bytes) -> None:
        """Put a field in, or another in its place."""
        self._left[name] = msgspec.Raw(raw)

    def parameters(self) -> dict[str, Value]:
        """Take all that is left as parameters; lists and maps are JSON text."""
        names = list(self._left)
        return {name: self._parameter(name, self.raw(name)) for name in names}

    def _parameter(self, name: str, raw: bytes) -> Value:
        value = self._decoded(name, raw) if name in _DECODERS else None
        if raw[:1] in b"[{":
            return text_of(name, raw)
        if value is None:
            value = typed(_decode_scalar, name, raw)
        if isinstance(value, int) and value not in _INTEGERS:
            raise FieldError(name, f"{name[:64]!r} is over the range of 64-bit integers")
        found: Value = value
        return found

    def _decoded(self, name: str, raw: bytes) -> Any:
        return typed(_DECODERS[name].decode, name, raw)


def typed(decode: Any, name: str, raw: bytes) -> Any:
    """Return what a decoder makes of a field; FieldError where it is of another type."""
    try:
        return parsed(decode, raw, f"{name[:64]!r}", f"invalid {name[:64]!r}")
    except InvalidRequest as error:
        raise FieldError(name[:64], str(error)) from None


def text_of(name: str, raw: bytes) -> str:
    """Return JSON as text; FieldError where it is not well-formed UTF-8."""
    typed(msgspec.json.decode, name, raw)
    return raw.decode()


def model_of(body: Buffer) -> str:
    """Return the field ``model`` of a body; raises as ``BodyFields`` and ``given_model`` do."""
    return given_model(BodyFields(body))


def given_model(fields: BodyFields) -> str:
    """Take the field ``model``; FieldError where there is none."""
    if "model" not in fields:
        raise FieldError("model", "you must provide the field 'model', the name of a graph")
    found: str = fields.take("model")
    return found
