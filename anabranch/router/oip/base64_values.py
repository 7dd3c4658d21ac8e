"""Bytes in JSON as Base64, in the standard alphabet (RFC 4648, 4) or as a data URL."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode

import msgspec

from anabranch.specs.excerpts import shown

_DATA_URL = re.compile(r"data:[^,]{0,256};base64,").match


class Encoded(msgspec.Struct, forbid_unknown_fields=True):
    """``{"b64": "…"}``."""

    b64: str


def from_base64(text: str) -> bytes:
    """Return the bytes of a text in Base64, with or without its padding; raise ValueError."""
    url = _DATA_URL(text)
    digits = text[url.end() :] if url else text
    try:
        return b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{shown(text)} is not Base64") from None
