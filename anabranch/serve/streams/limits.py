"""The limits of a connection, and the timing of its streams."""

from __future__ import annotations

from dataclasses import dataclass

AHEAD = 4
"""Pieces of a stream that may be made beyond those that the caller has taken."""


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What one end of a connection takes."""

    bytes: int = 2**30
    """Longest body of a frame that is taken."""
    calls: int = 4096
    """Calls and streams of one connection that may be under way at a time."""
