"""API keys: random texts that are shown once, and kept as digests.

A key has 256 random bits, so one pass of SHA-256 protects it: there is nothing to guess, as there
is with passwords (NIST SP 800-63B, 5.1.1.2, asks for slow hashes of secrets that people choose).
A key is found by its digest, so no comparison takes longer the more of it is right.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from anabranch.access.roles import Grant

PREFIX = "ab_"
"""Begin of all keys, by which scanners for leaked secrets find them."""
_BYTES = 32


@dataclass(frozen=True)
class ApiKey:
    """A key as it is kept. Times are Unix times; rotated keys share a name for a while."""

    id: int
    name: str
    digest: str
    """SHA-256 of the key, in hexadecimal."""
    grants: tuple[Grant, ...]
    created_at: float
    expires_at: float | None
    """None for a key without an end."""
    author: str
    """Who made it, as events name actors."""


def make_key() -> str:
    """Return a new key, fit for a header and a URL."""
    return PREFIX + secrets.token_urlsafe(_BYTES)


def digest_of(secret: str | bytes) -> str:
    """Return the SHA-256 of a key or a token, in hexadecimal: what is kept of it."""
    data = secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret
    return hashlib.sha256(data).hexdigest()
