"""Times as the control API tells them."""

from __future__ import annotations

from datetime import UTC, datetime


def timestamp_if_any(seconds: float | None) -> str | None:
    """Return what ``timestamp`` does; None for no time."""
    return None if seconds is None else timestamp(seconds)


def timestamp(seconds: float) -> str:
    """Unix time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
