"""The envelope of a request in JSON: all of it but the elements of its tensors.

Each tensor's ``data`` are left as the bytes that they came in.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

Parameters: TypeAlias = dict[str, bool | int | float | str]

_Name: TypeAlias = Annotated[str, Meta(max_length=256)]


class Header(msgspec.Struct, gc=False):
    """Name, datatype and shape of an input."""

    name: str
    datatype: str
    shape: list[int]
    """Sizes per dimension, none below 0."""


class EnvelopeInput(Header, gc=False):
    """An input, with its data or without."""

    name: _Name
    datatype: Annotated[str, Meta(max_length=16)]
    shape: list[Annotated[int, Meta(ge=0)]]
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    parameters: Parameters | None = None


class EnvelopeOutput(msgspec.Struct, gc=False):
    """An output that is asked for."""

    name: _Name
    parameters: Parameters | None = None


class Envelope(msgspec.Struct, gc=False):
    """A request, whose tensors are not decoded yet."""

    inputs: list[EnvelopeInput]
    id: Annotated[str, Meta(max_length=1024)] | None = None
    parameters: Parameters | None = None
    outputs: list[EnvelopeOutput] | None = None


decode_envelope = msgspec.json.Decoder(Envelope).decode
"""Decode an envelope. Raises msgspec's errors."""
