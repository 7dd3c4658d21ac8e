"""Issuers of JWTs, as the access table names them: whose tokens count, and by which keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from anabranch.errors import Unauthenticated

Algorithm: TypeAlias = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]
"""Signatures by asymmetric keys (RFC 7518, 3.1; RFC 8037). ``none`` and HMAC are not among them:
whoever could check an HMAC could also sign."""
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)


@dataclass(frozen=True)
class IssuerKey:
    """A public key by which an issuer signs."""

    kid: str
    """Its name, by which tokens refer to it; empty for a key without one."""
    algorithms: tuple[Algorithm, ...]
    """What it can sign by."""
    jwk: str
    """The key as a JSON Web Key (RFC 7517), with public members only."""


@dataclass(frozen=True)
class Issuer:
    """Somebody whose tokens count."""

    name: str
    """The claim ``iss`` of its tokens."""
    audiences: tuple[str, ...]
    """A token must be meant for one of these: its claim ``aud``."""
    subject: str = "sub"
    """The claim that names who asks; dots lead into maps where there is no claim of that name."""
    groups: str = "groups"
    """The claim that lists their groups."""
    prefix: str = ""
    """What stands before the names of its subjects and groups in rules."""
    algorithms: tuple[Algorithm, ...] = ("RS256", "ES256")
    keys: Sequence[IssuerKey] = ()


class UnknownSigner(Unauthenticated):
    """A token names a key that its issuer was not known to have; it may have it by now."""

    def __init__(self, message: str, issuer: str, kid: str) -> None:
        self.issuer = issuer
        self.kid = kid
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (str(self), self.issuer, self.kid))
