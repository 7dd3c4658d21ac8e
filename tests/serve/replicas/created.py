"""Replicas in the process of a test."""

from __future__ import annotations

from typing import Any, TypeVar

Replica = TypeVar("Replica")


def collected(kind: type[Replica]) -> Replica:
    """A replica before it starts. Python may collect it: Serve awaits ``__del__``, not Python."""
    harmless = type(kind.__name__, (kind,), {"__del__": lambda self: None})
    found: Replica = harmless.__new__(harmless)
    return found


async def created(kind: type[Replica], *arguments: Any) -> Replica:
    """A replica that has started; end it by awaiting ``kind.__del__``."""
    replica = collected(kind)
    await kind.__init__(replica, *arguments)  # type: ignore[func-returns-value]
    return replica
