"""Verifies JWTs (RFC 7519) in their compact form, as RFC 8725 advises.

The key is found by the issuer and by the key's name, never by what a token carries or links to
(``jwk``, ``jku``, ``x5c``, ``x5u``); and a key verifies only by algorithms that are its own.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from reprlib import repr as short_repr
from typing import Any, NamedTuple

from jwt import PyJWK, PyJWTError
from jwt.api_jws import PyJWS

from anabranch.access.issuers import ALGORITHMS, Algorithm, Issuer, IssuerKey, UnknownSigner
from anabranch.errors import Unauthenticated

MAX_TOKEN = 8 * 2**10
"""Longest token, in characters."""
LEEWAY_S = 30.0
"""By so much the issuer's clock may differ from this one."""
MAX_CANDIDATES = 4
"""Most keys that are tried for a token: issuers may repeat names of keys, and leave them out."""
MAX_NAME = 256
"""Longest name of a subject, in characters."""
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_LAST_TIME = 2.0**53
_JWS = PyJWS(algorithms=ALGORITHMS)
_LONGEST_SHOWN = 80


class Subject(NamedTuple):
    """Whom a token names, and until when it counts, as a Unix time."""

    name: str
    groups: tuple[str, ...]
    until: float


class TokenVerifier:
    """Verifies the tokens of some issuers."""

    def __init__(self, issuers: Iterable[Issuer]) -> None:
        self._issuers = {one.name: one for one in issuers}

    def verified(self, token: str, now: float) -> Subject:
        """Return whom a token names, at the Unix time ``now``.

        Raises Unauthenticated where it does not count, UnknownSigner where nobody knows its key.
        """
        if len(token) > MAX_TOKEN:
            raise Unauthenticated(
                f"this token has {len(token)} characters; at most {MAX_TOKEN} are read"
            )
        if _COMPACT.fullmatch(token) is None:
            raise Unauthenticated("this token is no JWT in compact form, header.claims.signature")
        head, body, _ = token.split(".")
        header, claims = _read(head, "headers"), _read(body, "claims")
        issuer = self._issuer(claims.get("iss"))
        _check_signature(token, header, issuer)
        _check_audience(claims.get("aud"), issuer)
        return Subject(
            issuer.prefix + _subject(claims, issuer),
            tuple(issuer.prefix + group for group in _groups(claims, issuer)),
            _end(claims, now),
        )

    def _issuer(self, name: object) -> Issuer:
        found = self._issuers.get(name) if isinstance(name, str) else None
        if found is None:
            known = ", ".join(map(repr, self._issuers))
            raise Unauthenticated(f"this token's issuer (iss) is {_quoted(name)}, not {known}")
        return found


def _read(part: str, name: str) -> Mapping[str, Any]:
    """Return the header or the claims of a token, of which nothing is known to be true."""
    try:
        found = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        raise Unauthenticated(f"this token is malformed: its {name} are no JSON") from None
    if not isinstance(found, dict):
        raise Unauthenticated(f"this token is malformed: its {name} are no JSON object")
    return found


def _check_signature(token: str, header: Mapping[str, Any], issuer: Issuer) -> None:
    if "crit" in header:
        raise Unauthenticated("this token has critical headers (crit); none are understood")
    algorithm, kid = header.get("alg"), header.get("kid", "")
    if not isinstance(kid, str):
        raise Unauthenticated(f"this token names its key (kid) by {_quoted(kid)}, which is no text")
    if algorithm not in issuer.algorithms:
        taken = ", ".join(issuer.algorithms)
        raise Unauthenticated(f"this token's algorithm (alg) is {_quoted(algorithm)}, not {taken}")
    if any(_verifies(token, key, algorithm) for key in _candidates(issuer, kid, algorithm)):
        return
    if not kid:
        raise UnknownSigner(
            f"this token names no key (kid), and none of issuer {issuer.name!r} has signed it",
            issuer.name, "",
        )  # fmt: skip
    raise Unauthenticated(f"this token was not signed by key {_quoted(kid)} of {issuer.name!r}")


def _candidates(issuer: Issuer, kid: str, algorithm: Algorithm) -> Sequence[IssuerKey]:
    """Return the keys that may have signed a token; one that names no key has any."""
    named = [key for key in issuer.keys if kid in ("", key.kid)]
    if not named and kid:
        raise UnknownSigner(
            f"issuer {issuer.name!r} has no key {_quoted(kid)} (kid) now", issuer.name, kid
        )
    found = [key for key in named if algorithm in key.algorithms]
    if len(found) > MAX_CANDIDATES:
        raise Unauthenticated(
            f"{len(found)} keys of {issuer.name!r} might have signed this token; "
            f"it must name (kid) one of at most {MAX_CANDIDATES}"
        )
    return found


def _verifies(token: str, key: IssuerKey, algorithm: Algorithm) -> bool:
    try:
        _JWS.decode_complete(token, loaded(key.jwk, algorithm), algorithms=[algorithm])
    except PyJWTError:
        return False
    return True


@lru_cache(256)
def loaded(jwk: str, algorithm: Algorithm) -> PyJWK:
    """Return a key, ready to verify by an algorithm; PyJWTError where it cannot."""
    return PyJWK.from_json(jwk, algorithm)


def _check_audience(audience: object, issuer: Issuer) -> None:
    found = audience if isinstance(audience, list) else [audience]
    if not any(one in issuer.audiences for one in found):
        wanted = " or ".join(map(repr, issuer.audiences))
        raise Unauthenticated(f"this token's audience (aud) is {_quoted(audience)}, not {wanted}")


def _end(claims: Mapping[str, Any], now: float) -> float:
    """Return when a token ends; Unauthenticated where that was before, or it has not begun."""
    ends, begins = _time(claims, "exp"), _time(claims, "nbf", 0.0)
    if ends + LEEWAY_S <= now:
        raise Unauthenticated(f"this token expired {now - ends:.0f}s ago (exp)")
    if begins - LEEWAY_S > now:
        raise Unauthenticated(f"this token counts only in {begins - now:.0f}s (nbf)")
    return ends + LEEWAY_S


def _time(claims: Mapping[str, Any], name: str, missing: float | None = None) -> float:
    found = claims.get(name, missing)
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    if not is_number or not abs(found) < _LAST_TIME:
        raise Unauthenticated(f"this token's claim {name} is {_quoted(found)}, no Unix time")
    return float(found)


def _subject(claims: Mapping[str, Any], issuer: Issuer) -> str:
    found = _claim(claims, issuer.subject)
    if not isinstance(found, str) or not 0 < len(found) <= MAX_NAME or not found.isprintable():
        raise Unauthenticated(
            f"this token's claim {issuer.subject}, which names who asks, is {_quoted(found)}"
        )
    # OpenID Connect Core, 5.1: an address that is not verified may be anybody's.
    if issuer.subject == "email" and claims.get("email_verified", True) is not True:
        raise Unauthenticated("this token's issuer has not verified its email address")
    return found


def _groups(claims: Mapping[str, Any], issuer: Issuer) -> Sequence[str]:
    found = _claim(claims, issuer.groups)
    groups = [] if found is None else [found] if isinstance(found, str) else found
    if not isinstance(groups, list) or not all(isinstance(one, str) for one in groups):
        raise Unauthenticated(f"this token's claim {issuer.groups} is no list of groups")
    return groups


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim; dots lead into maps, as in Keycloak's ``realm_access.roles``."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _quoted(value: object) -> str:
    return repr(value[:_LONGEST_SHOWN]) if isinstance(value, str) else short_repr(value)
