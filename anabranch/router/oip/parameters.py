"""Bounds on the parameters of a request, the same over all protocols.

They are counted by what they say, not by how a protocol writes them. A large body in JSON is first
asked for how many names it has at all: a name takes three bytes there, and a hundred in memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from anabranch.errors import TooLarge
from anabranch.router.limits import NUMBER, RequestLimits
from anabranch.router.oip.raw_tensors import Buffer

Value: TypeAlias = bool | int | float | str | list[str]
MAX_NAMES = 2**14
"""Names of fields in all objects of a large body in JSON."""
_ENDS_NAME = re.compile(rb'"[ \t\r\n]*:').finditer


def check_parameters(found: Iterable[Mapping[str, Value]], limits: RequestLimits) -> None:
    """Raise TooLarge where the parameters of a request and of its tensors are over the limits."""
    count = size = 0
    for parameters in found:
        count += len(parameters)
        for name, value in parameters.items():
            size += _bytes_of(name) + _bytes_of(value)
    if count > limits.max_parameters:
        raise TooLarge(f"{count} parameters are over the limit of {limits.max_parameters}")
    if size > limits.max_parameter_bytes:
        raise TooLarge(
            f"the parameters have {size} bytes of names and values, over the limit of "
            f"{limits.max_parameter_bytes} bytes"
        )


def _bytes_of(value: Value) -> int:
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    return sum(map(_bytes_of, value)) if isinstance(value, list) else NUMBER


def check_names(document: Buffer, most: int = MAX_NAMES) -> None:
    """Raise TooLarge where a document in JSON has more than so many names.

    Where it has fewer colons, in texts or not, there is nothing more to be counted.
    """
    whole = document if isinstance(document, bytes | bytearray) else bytes(document)
    if whole.count(b":") > most and _names(whole, most) > most:
        raise TooLarge(f"the body has more than {most} names of fields and parameters")


def _names(document: bytes | bytearray, most: int) -> int:
    """Count the names, at most one more than the limit; a text that is escaped holds none."""
    count = 0
    for match in _ENDS_NAME(document):
        start = match.start()
        before = document[max(0, start - 64) : start]
        count += (len(before) - len(before.rstrip(b"\\"))) % 2 == 0
        if count > most:
            break
    return count
