"""The errors in a table: what each is, and what callers get of it."""

from __future__ import annotations

import inspect

from anabranch import errors
from anabranch.errors import AnabranchError
from anabranch.reference.markdown import code, prose, table
from anabranch.router import errors as http
from anabranch.router.grpc import codes

_HEAD = ("error", "is a", "when", "HTTP", "gRPC")


def tables() -> str:
    """Return the errors that programs can catch, and those that only HTTP knows."""
    return "\n\n".join(
        [
            "## Of `anabranch.errors`",
            table(_HEAD, map(_row, classes(errors))),
            "## Of requests over HTTP alone",
            table(_HEAD, map(_row, classes(http))),
        ]
    )


def classes(module: object) -> list[type[Exception]]:
    """Return the errors that a module defines, in its order."""
    return [
        found
        for found in vars(module).values()
        if inspect.isclass(found)
        and issubclass(found, AnabranchError)
        and found.__module__ == getattr(module, "__name__", "")
    ]


def _row(kind: type[Exception]) -> list[str]:
    bases = ", ".join(code(base.__name__) for base in kind.__bases__)
    status, name = _status(kind), _code(kind)
    return [code(kind.__name__), bases, prose(kind.__doc__), status, name]


def _status(kind: type[Exception]) -> str:
    if issubclass(kind, errors.StatusError):
        return "its own"
    found = next((http.STATUS[one] for one in kind.__mro__ if one in http.STATUS), "")
    return str(found)


def _code(kind: type[Exception]) -> str:
    if issubclass(kind, errors.StatusError):
        return "that of its status"
    found = next((codes.CODES[one] for one in kind.__mro__ if one in codes.CODES), None)
    return code(found.name if found else "")
