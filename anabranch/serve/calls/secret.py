"""The secret by which the engine's replicas know each other."""

from __future__ import annotations

import hmac
import os
from pathlib import Path

from anabranch.errors import EngineError

TOKEN = "RAY_AUTH_TOKEN_PATH"
"""Variable that names the file with the Ray token, in every process of the engine."""
OWN = "ANABRANCH_CALL_SECRET"
"""Variable that names a file with a token of the engine's own, where Ray is not the engine's."""
_PURPOSE = b"anabranch: calls between replicas"


def call_secret() -> bytes:
    """Return what is made of the Ray token, or of the engine's own, and does not give that away.

    Raises EngineError where this process knows none.
    """
    variable = OWN if OWN in os.environ else TOKEN
    named = os.environ.get(variable, "")
    try:
        token = Path(named).read_bytes().strip()
    except OSError:
        token = b""
    if not token:
        raise EngineError(f"variable {variable} names no file with a token: {named!r}")
    return hmac.digest(token, _PURPOSE, "sha256")
