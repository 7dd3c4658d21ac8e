"""Statuses of HTTP that servers answer, and the errors of nodes that they become."""

from __future__ import annotations

from anabranch.errors import AnabranchError, DeadlineExceeded, StatusError, Unavailable

MAX_SAID = 1500
"""Longest part of an answer in an error's message, in characters."""
MAX_ERROR_BODY = 64 * 1024
"""Longest answer that an error carries as a whole, in bytes."""


def is_success(status: int) -> bool:
    """Return whether a status says that the request succeeded."""
    return 200 <= status <= 299


def failure(node: str, status: int, body: bytes, retry_after: int = 1) -> AnabranchError:
    """Return the error of a node whose server answered with another status than 200 to 299.

    503 becomes Unavailable, 504 DeadlineExceeded, and any other status a StatusError. A status
    below 400, such as that of a redirect, becomes 502. The error carries the body of an answer of
    400 to 599, up to ``MAX_ERROR_BODY``, for the protocol ``document``.
    """
    reason = f"its server answered {status}{_said(body)}"
    if not 400 <= status <= 599:
        return StatusError(node, reason, 502)
    answer = body if len(body) <= MAX_ERROR_BODY else None
    if status == 503:
        return Unavailable(f"node {node!r} failed: {reason}", retry_after, answer)
    if status == 504:
        return DeadlineExceeded(f"node {node!r} failed: {reason}", answer)
    return StatusError(node, reason, status, answer)


def _said(body: bytes) -> str:
    line = " ".join(body[: 4 * MAX_SAID].decode("utf-8", "replace").split())
    return f": {line[:MAX_SAID]}" if line else ""
