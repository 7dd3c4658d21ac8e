"""An OpenID Connect issuer on loopback, the keys by which it signs, and its tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as make_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as make_rsa
from jwt.algorithms import get_default_algorithms

from anabranch.access.issuers import Algorithm
from tests.control.web import Answer, Asked, Web, running

NOW = 1_800_000_000.0
"""Unix time at which tokens here count, from a minute before to ten minutes after."""
AUDIENCE = "anabranch"


class Signer:
    """A key pair, whose public half has a name unless ``kid`` is empty."""

    def __init__(self, kid: str, algorithm: Algorithm, private: Any) -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.private = private

    @property
    def jwk(self) -> dict[str, Any]:
        algorithm: Any = get_default_algorithms()[self.algorithm]
        found: dict[str, Any] = algorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {**found, "use": "sig"} | ({"kid": self.kid} if self.kid else {})

    def token(self, claims: Mapping[str, Any], headers: Mapping[str, Any] | None = None) -> str:
        named = {"kid": self.kid} if self.kid else {}
        return jwt.encode(dict(claims), self.private, self.algorithm, {**named, **(headers or {})})


@cache
def rsa(number: int) -> Any:
    """Return a private key; another one for each number."""
    return make_rsa(65537, 2048)


def signer(kid: str = "one", number: int = 0) -> Signer:
    """Return one that signs by RS256."""
    return Signer(kid, "RS256", rsa(number))


def signers() -> list[Signer]:
    """Return one of each type of keys."""
    return [
        signer("rsa"),
        Signer("pss", "PS384", rsa(0)),
        Signer("p256", "ES256", make_ec(SECP256R1())),
        Signer("p384", "ES384", make_ec(SECP384R1())),
        Signer("ed", "EdDSA", Ed25519PrivateKey.generate()),
    ]


def claims(issuer: str, **others: Any) -> dict[str, Any]:
    """Return those of a token that counts; None leaves one out."""
    found = {
        "iss": issuer, "aud": AUDIENCE, "sub": "ada", "groups": ["makers"],
        "nbf": int(NOW) - 60, "exp": int(NOW) + 600, **others,
    }  # fmt: skip
    return {name: value for name, value in found.items() if value is not None}


class Oidc:
    """What an issuer tells, which tests may change while it runs."""

    def __init__(self, web: Web, signers: Iterable[Signer]) -> None:
        self.web = web
        self.keys = [one.jwk for one in signers]
        self.cache_control = ""
        self.told: dict[str, Any] = {"issuer": web.url, "jwks_uri": f"{web.url}/keys"}
        web.answer = self._answer

    @property
    def url(self) -> str:
        return self.web.url

    @property
    def looks(self) -> int:
        """How often its keys were asked for."""
        return sum(one.path == "/keys" for one in self.web.asked)

    def publish(self, *signers: Signer) -> None:
        """Have other keys from now on."""
        self.keys = [one.jwk for one in signers]

    def _answer(self, asked: Asked) -> Answer:
        if asked.path == "/.well-known/openid-configuration":
            return Answer(200, json.dumps(self.told).encode())
        headers = {"cache-control": self.cache_control} if self.cache_control else {}
        return Answer(200, json.dumps({"keys": self.keys}).encode(), headers)


@contextmanager
def oidc(*signers: Signer) -> Iterator[Oidc]:
    """Run an issuer with the keys of some signers."""
    with running() as web:
        yield Oidc(web, signers)
