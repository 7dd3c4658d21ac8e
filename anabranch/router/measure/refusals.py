"""Counts attempts to use the engine that were refused, by door and by reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, TypeAlias

from anabranch.errors import Forbidden, TooManyRequests, Unauthenticated
from anabranch.telemetry.activity import ACTIVITY
from anabranch.telemetry.definitions import ACCESS_REFUSED
from anabranch.telemetry.registry import REGISTRY, Registry

Door: TypeAlias = Literal["http", "grpc", "control"]
Reason: TypeAlias = Literal["unauthenticated", "forbidden", "limited", "unreadable", "overload"]
"""No credentials or unknown ones; credentials that do not allow it; too many requests. The edge
alone refuses requests that it cannot read, and those for which a router has no time."""
_REASONS: Mapping[type[Exception], Reason] = {
    Unauthenticated: "unauthenticated",
    Forbidden: "forbidden",
    TooManyRequests: "limited",
}


def reason_of(error: Exception) -> Reason | None:
    """Return the reason of an error that refuses an attempt; None for any other error."""
    return _REASONS.get(type(error))


def count_refusal(door: Door, reason: Reason, registry: Registry = REGISTRY) -> None:
    """Count an attempt that was refused; in one thread of the process."""
    registry.number(ACCESS_REFUSED, door, reason).value += 1
    ACTIVITY.mark()


@contextmanager
def refusals_counted(door: Door) -> Iterator[None]:
    """Count the attempt that the block refuses, by the error that it raises."""
    try:
        yield
    except Exception as error:
        reason = reason_of(error)
        if reason is not None:
            count_refusal(door, reason)
        raise
