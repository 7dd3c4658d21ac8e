"""Questions and values of caches as bytes: the frames in which they cross processes."""

from __future__ import annotations

import hashlib
import sys
from typing import Any, TypeAlias

from anabranch.serve.streams.frames import ANSWER, CALL, PREFIX, aligned
from anabranch.serve.streams.messages import content, message

Digest: TypeAlias = bytes
FORMAT = 1
"""Grows with every change of what a question or a value is made of."""


def digest(namespace: str, question: Any) -> Digest:
    """Return the SHA-256 of a question in a namespace; raise CannotCross for one with no bytes.

    Equal digests have equal datatypes, shapes and bytes: -0.0 and 0.0 differ, as NaNs may. SHA-256
    is the fastest of the cryptographic digests where the processor has instructions for it.
    """
    found = hashlib.sha256()
    for chunk in message(CALL, 0, [FORMAT, namespace], question, sys.maxsize):
        found.update(chunk)
    return found.digest()


def encoded(value: Any, most: int) -> bytes:
    """Return the bytes of a value; raise CannotCross, or TooLargeToCross for more than ``most``."""
    return b"".join(message(ANSWER, 0, None, value, most))


def decoded(data: bytes) -> Any:
    """Return a value, whose arrays may be written to. Raises MalformedFrame."""
    body = memoryview(bytearray(data))[PREFIX.size :]
    _, header, _, _ = PREFIX.unpack_from(data)
    return content(body[:header], body[aligned(header) :])[1]
