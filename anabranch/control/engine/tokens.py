"""Tokens of an engine, each in a file that only its owner can read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from anabranch.errors import EngineError


def ensure_token(path: Path) -> str:
    """The token in the file at ``path``, made where it is missing; only its owner can read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        path.chmod(0o600)
        token = path.read_text().strip()
        if not token:
            raise EngineError(
                f"the token file {path} is empty; remove it to get a new one"
            ) from None
        return token
    token = secrets.token_urlsafe(32)
    with os.fdopen(handle, "w") as stream:
        stream.write(token + "\n")
    return token
