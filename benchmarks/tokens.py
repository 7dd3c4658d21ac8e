"""What it costs to know who asks, and whether they may: with an API key, and with a JWT."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from jwt.algorithms import RSAAlgorithm

from anabranch.access.guard import Credentials, Guard
from anabranch.access.identity import Identity
from anabranch.access.issuers import Issuer, IssuerKey
from anabranch.access.keys import digest_of, make_key
from anabranch.access.roles import Grant
from anabranch.access.table import AccessTable, KnownKey

REPEATS = 7
CHECKS = 20_000
TOKENS = 200
GRAPH, ISSUER, AUDIENCE, KID = "shop", "https://login.example.com", "anabranch", "one"
ROLES = (Grant("caller", "shop-*"), Grant("caller", GRAPH))


def key_seconds() -> float:
    """Check a request with an API key that has been shown before."""
    key = make_key()
    known = KnownKey(Identity("key", "ci", ROLES))
    return _check_seconds(AccessTable(1, {digest_of(key): known}), [key] * CHECKS)


def token_seconds() -> float:
    """Check a request with a JWT, of RS256, that has been shown before."""
    table, tokens = _signed(1)
    return _check_seconds(table, tokens * CHECKS)


def first_token_seconds() -> float:
    """Check a request with a JWT, of RS256, that nobody has shown before."""
    table, tokens = _signed(TOKENS)
    return _check_seconds(table, tokens, known=False)


def _check_seconds(table: AccessTable, secrets: Sequence[str], known: bool = True) -> float:
    found = []
    for _ in range(REPEATS):
        shown = [_credentials(secret) for secret in secrets]
        guard = Guard(table, GRAPH)
        if known:
            guard.check("call", shown[0])
        start = time.perf_counter()
        for one in shown:
            guard.check("call", one)
        found.append(time.perf_counter() - start)
    return statistics.median(found) / len(secrets)


def _credentials(secret: str) -> Credentials:
    """Return those of a request: bytes of its own, as they come from a socket."""
    return Credentials(f"Bearer {secret}".encode())


def _signed(count: int) -> tuple[AccessTable, list[str]]:
    private = generate_private_key(65537, 2048)
    jwk = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
    key = IssuerKey(KID, ("RS256",), json.dumps(jwk))
    issuer = Issuer(ISSUER, (AUDIENCE,), keys=(key,))
    table = AccessTable(1, ruled={("group", "makers"): ROLES}, issuers=(issuer,))
    return table, [_token(private, number) for number in range(count)]


def _token(private: Any, number: int) -> str:
    now = int(time.time())
    claims = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": f"somebody-{number}", "groups": ["makers", "all"],
        "iat": now, "nbf": now, "exp": now + 3600, "name": "Some Body", "email": "some@example.com",
    }  # fmt: skip
    return jwt.encode(claims, private, "RS256", {"kid": KID})
