"""Tokens of an engine, each in a file that only its owner can read."""

from __future__ import annotations

import secrets
from pathlib import Path

from anabranch.errors import EngineError
from anabranch.files import disk_errors, replace_file


def ensure_token(path: Path) -> str:
    """The token in the file at ``path``, made where it is missing; only its owner can read it.

    Raises StorageError where it cannot be kept. ``up`` makes it, while it holds the home's lock.
    """
    if not path.exists():
        token = secrets.token_urlsafe(32)
        with disk_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, token + "\n")
        return token
    path.chmod(0o600)
    token = path.read_text().strip()
    if not token:
        raise EngineError(f"the token file {path} is empty; remove it to get a new one")
    return token
