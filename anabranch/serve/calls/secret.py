"""The secret by which the engine's replicas know each other."""

from __future__ import annotations

import hmac
import os
from pathlib import Path

from anabranch.errors import EngineError

TOKEN = "RAY_AUTH_TOKEN_PATH"
"""Variable that names the file with the Ray token, in every process of the engine."""
_PURPOSE = b"anabranch: calls between replicas"


def call_secret() -> bytes:
    """Return what is made of the Ray token, which it does not give away.

    Raises EngineError where this process knows no Ray token.
    """
    named = os.environ.get(TOKEN, "")
    try:
        token = Path(named).read_bytes().strip()
    except OSError:
        token = b""
    if not token:
        raise EngineError(f"variable {TOKEN} names no file with a token: {named!r}")
    return hmac.digest(token, _PURPOSE, "sha256")
