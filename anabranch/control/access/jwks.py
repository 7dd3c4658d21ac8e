"""Fetches the signing keys of an issuer of JWTs as a JWK set, and reads it (RFC 7517, 5)."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anabranch.access.issuers import Algorithm, IssuerKey
from anabranch.control.access.issuers import DISCOVERY, TrustedIssuer, may_be_asked
from anabranch.control.rollout.outgoing import Caller
from anabranch.errors import Unavailable

MAX_BYTES = 256 * 2**10
"""Most bytes of a JWK set, and of what an issuer tells of itself."""
MAX_KEYS = 32
"""Most keys of an issuer."""
LEAST_AGE_S, MOST_AGE_S, AGE_S = 60.0, 3600.0, 300.0
"""Bounds of the time for which a JWK set is taken to be new, and that of one which tells none."""
FILE_AGE_S = 10.0
"""The same for a file."""

_RSA_BITS = range(2048, 8192 + 1)
_MAX_EXPONENT = 2**32
_MAX_KID = 256
_PUBLIC = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
"""Public members of a key, by its type; ``oct``, which is no public key, is not there."""
_BY: Mapping[tuple[str, object], tuple[Algorithm, ...]] = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
"""What a key can sign by, by its type and curve."""
_MAX_AGE = re.compile(r"(?:^|[,\s])max-age=([0-9]{1,9})(?:$|[,\s])", re.IGNORECASE)


async def fetch_jwks(trusted: TrustedIssuer, caller: Caller) -> tuple[bytes, float]:
    """Return an issuer's JWK set, and for how many seconds it is new; Unavailable says why not."""
    if trusted.jwks is not None and trusted.jwks.startswith("/"):
        return await asyncio.to_thread(_in_file, Path(trusted.jwks)), FILE_AGE_S
    return await _get(trusted.jwks or await _discovered(trusted, caller), caller)


def read_jwks(text: bytes) -> tuple[IssuerKey, ...]:
    """Return the keys of a JWK set that can sign; Unavailable where it is none.

    Others are left out, as RFC 7517 (5) says: those of unknown types, of weak or excessive sizes,
    for encryption, or secret ones.
    """
    keys = _object(text, "the JWK set").get("keys")
    if not isinstance(keys, list):
        raise Unavailable("the JWK set has no list of keys")
    if len(keys) > MAX_KEYS:
        raise Unavailable(f"the JWK set has {len(keys)} keys; at most {MAX_KEYS} are taken")
    return tuple(key for one in keys if (key := _signing_key(one)) is not None)


async def _discovered(trusted: TrustedIssuer, caller: Caller) -> str:
    """Return the URL of the keys, as the issuer tells it (OpenID Connect Discovery 1.0, 4)."""
    text, _ = await _get(trusted.issuer.rstrip("/") + DISCOVERY, caller)
    document = _object(text, "what the issuer tells of itself")
    if document.get("issuer") != trusted.issuer:
        raise Unavailable(f"the issuer calls itself {_cut(document.get('issuer'))}")
    url = document.get("jwks_uri")
    if not isinstance(url, str) or not may_be_asked(url, trusted):
        raise Unavailable(f"the issuer tells of keys at {_cut(url)}, which is no https URL")
    return url


async def _get(url: str, caller: Caller) -> tuple[bytes, float]:
    reply = await caller.call("GET", url, MAX_BYTES, headers={"accept": "application/json"})
    if not reply.ok:
        raise Unavailable(f"{url}: {reply}")
    if reply.cut:
        raise Unavailable(f"{url}: the answer has more than {MAX_BYTES} bytes")
    return reply.body, _age(reply.cache_control)


def _age(cache_control: str) -> float:
    found = _MAX_AGE.search(cache_control)
    return min(max(float(found[1]), LEAST_AGE_S), MOST_AGE_S) if found else AGE_S


def _in_file(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise Unavailable(f"{path}: there is no such file")
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from None
    if len(text) > MAX_BYTES:
        raise Unavailable(f"{path}: the file has more than {MAX_BYTES} bytes")
    return text


def _object(text: bytes, name: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Unavailable(f"{name} is no JSON") from None
    if not isinstance(found, dict):
        raise Unavailable(f"{name} is no JSON object")
    return found


def _signing_key(data: object) -> IssuerKey | None:
    if not isinstance(data, dict) or not _is_for_signatures(data):
        return None
    kind, kid = data["kty"], data.get("kid", "")
    public = {name: data.get(name) for name in _PUBLIC[kind]}
    if not all(isinstance(one, str) for one in (kid, *public.values())) or len(kid) > _MAX_KID:
        return None
    algorithms = _BY.get((kind, public.get("crv")), ())
    if "alg" in data:
        algorithms = tuple(one for one in algorithms if one == data["alg"])
    jwk = json.dumps({"kty": kind, **public})
    if not algorithms or not _is_sound(jwk, algorithms[0]):
        return None
    return IssuerKey(kid, algorithms, jwk)


def _is_for_signatures(data: Mapping[str, Any]) -> bool:
    """Return what a key's ``use`` and ``key_ops`` say, if its type is known."""
    kind, operations = data.get("kty"), data.get("key_ops")
    if not isinstance(kind, str) or kind not in _PUBLIC or data.get("use", "sig") != "sig":
        return False
    return operations is None or (isinstance(operations, list) and "verify" in operations)


def _is_sound(jwk: str, algorithm: Algorithm) -> bool:
    """Return whether a key is one, neither weak nor so large that it takes long to verify by."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # see Guard
    from jwt import PyJWTError

    from anabranch.access.jwt import loaded

    try:
        key = loaded(jwk, algorithm).key
    except PyJWTError:
        return False
    if not isinstance(key, RSAPublicKey):
        return True
    return key.key_size in _RSA_BITS and key.public_numbers().e <= _MAX_EXPONENT


def _cut(value: object) -> str:
    return repr(value)[:256]
