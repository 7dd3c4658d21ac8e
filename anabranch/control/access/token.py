"""The engine's token, as the controller reads it."""

from __future__ import annotations

from pathlib import Path

from anabranch.errors import Unavailable


def read_token(path: Path) -> str:
    """Return the token in a file; Unavailable where it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError as error:
        raise Unavailable(f"cannot read the engine's token: {error.strerror}") from None
