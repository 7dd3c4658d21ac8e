"""Statuses of HTTP that servers answer, and the errors of nodes that they become."""

from __future__ import annotations

from anabranch.errors import AnabranchError, DeadlineExceeded, StatusError, Unavailable

MAX_SAID = 1500
"""Longest part of an answer in an error, in characters."""


def is_success(status: int) -> bool:
    """Return whether a status says that the request succeeded."""
    return 200 <= status <= 299


def failure(node: str, status: int, body: bytes, retry_after: int = 1) -> AnabranchError:
    """Return the error of a node whose server answered a status of no success.

    503 is Unavailable, 504 DeadlineExceeded, and any other status a StatusError: with the status
    502 where that is no error's, such as a redirect's.
    """
    said = f"its server answered {status}{_said(body)}"
    if status == 503:
        return Unavailable(f"node {node!r} failed: {said}", retry_after)
    if status == 504:
        return DeadlineExceeded(f"node {node!r} failed: {said}")
    return StatusError(node, said, status if 400 <= status <= 599 else 502)


def _said(body: bytes) -> str:
    line = " ".join(body[: 4 * MAX_SAID].decode("utf-8", "replace").split())
    return f": {line[:MAX_SAID]}" if line else ""
