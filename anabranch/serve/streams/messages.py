"""The messages of a call: a value in each frame, and what goes along with it.

=============  ===========================  ====================================================
frame          header                       from
=============  ===========================  ====================================================
CALL, STREAM   method, arguments            the caller
CREDIT         number of pieces             the caller, which has taken so many more of a stream
CANCEL         none                         the caller, which no longer waits
ANSWER         load, value                  the replica
PIECE          load, value                  the replica
END            load, None                   the replica, after the last piece
ERROR          load, error or text          the replica; the text of an error that is not ours
REFUSED        load, reason                 the replica, which has not begun the call
GOING_AWAY     none                         the replica, which takes no further calls
=============  ===========================  ====================================================

The load is the number of calls that are under way in the replica.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from anabranch.errors import AnabranchError, NodeError, Unavailable
from anabranch.serve.streams.frames import Buffer, MalformedFrame, Parts, frame, frame_size
from anabranch.serve.streams.values import CannotCross, pack, unpack

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
MAX_LINE = 500
"""Longest text of an error that is not ours, in characters."""


class TooLargeToCross(Exception):
    """A message is longer than the peer takes."""


def message(kind: int, call: int, about: Any, value: Any, most: int) -> list[Buffer]:
    """Return the frame of a value, of at most ``most`` bytes.

    Raises CannotCross and TooLargeToCross. Bytes of the value must not change until it has left.
    """
    parts = Parts()
    try:
        header = _encode([about, pack(value, parts)])
    except RecursionError:
        raise CannotCross("a value that is nested too deep cannot cross processes") from None
    size = frame_size(header, parts)
    if size > most:
        raise TooLargeToCross(f"{size} bytes are over the limit of {most} for a call or an answer")
    return frame(kind, call, header, parts)


def content(header: memoryview, rest: memoryview) -> tuple[Any, Any]:
    """Return what a message is about, and its value. Raises MalformedFrame."""
    try:
        about, packed = _decode(header)
        return about, unpack(packed, rest)
    except Exception as error:
        raise MalformedFrame(f"a message cannot be read: {first_line(error)}") from None


def credit(call: int, pieces: int, kind: int) -> list[Buffer]:
    """Return the frame that asks for so many more pieces."""
    return frame(kind, call, _encode(pieces))


def credited(header: memoryview, most: int) -> int:
    """Return how many more pieces are asked for, 1 to ``most``. Raises MalformedFrame."""
    try:
        pieces = _decode(header)
    except Exception as error:
        raise MalformedFrame(f"credit cannot be read: {first_line(error)}") from None
    if type(pieces) is not int or not 1 <= pieces <= most:
        raise MalformedFrame("credit is not of 1 piece or more")
    return pieces


def told(error: BaseException) -> AnabranchError | str:
    """Return an error as the caller is told: one of ours, or the text of another.

    A value that does not cross is the fault of the node that made it.
    """
    if isinstance(error, AnabranchError):
        return error
    if isinstance(error, CannotCross) and error.path:
        node, *within = error.path
        place = "".join(f"[{key!r}]" for key in within)
        return NodeError(node, f"{error.reason}{f' (at {place})' if place else ''}")
    if isinstance(error, CannotCross | TooLargeToCross):
        return str(error)
    if isinstance(error, asyncio.CancelledError):
        return Unavailable("the call was cancelled where it ran")
    return f"{type(error).__name__}: {first_line(error)}"


def heard(name: str, error: AnabranchError | str) -> AnabranchError:
    """Return the error that the caller of segment ``name`` raises for what it was told."""
    return NodeError(name, error) if isinstance(error, str) else error


def first_line(error: BaseException | None) -> str:
    """Return the first line of an error's text; the name of its class where it has none."""
    text = str(getattr(error, "message", "") or error or "").strip()
    return text.splitlines()[0][:MAX_LINE] if text else type(error).__name__
