"""The key that keeps a caller on one arm: what a request has in a header, cookie or parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

from anabranch.specs.models import Sticky

Reader: TypeAlias = Callable[[Mapping[str, str], Mapping[str, Any]], str]


def key_reader(sticky: Sticky) -> Reader:
    """Return what finds the key of a request in its headers and parameters.

    Names of headers are in lower case. The key is empty text where the request has none.
    """
    said = sticky.model_dump(exclude_none=True)
    return next(partial(read, said[field]) for field, read in _READERS.items() if field in said)


def _header(name: str, headers: Mapping[str, str], parameters: Mapping[str, Any]) -> str:
    return headers.get(name.lower(), "").strip()


def _cookie(name: str, headers: Mapping[str, str], parameters: Mapping[str, Any]) -> str:
    """The first cookie of that name, as it was set; what is no cookie is skipped.

    The parser of ``http.cookies`` drops every cookie if one of them is malformed, and any other
    application of the same site may have set that one.
    """
    for pair in headers.get("cookie", "").split(";"):
        found, _, value = pair.partition("=")
        if found.strip() == name:
            return value.strip().removeprefix('"').removesuffix('"')
    return ""


def _parameter(name: str, headers: Mapping[str, str], parameters: Mapping[str, Any]) -> str:
    """Text, a number or a truth value; nothing else is a key."""
    value = parameters.get(name)
    return str(value) if isinstance(value, str | int | float) else ""


_READERS = {"header": _header, "cookie": _cookie, "parameter": _parameter}
