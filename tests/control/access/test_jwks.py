from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as make_ec
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as make_rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from anabranch.access.issuers import IssuerKey
from anabranch.control.access.issuers import TrustedIssuer
from anabranch.control.access.jwks import (
    AGE_S,
    FILE_AGE_S,
    LEAST_AGE_S,
    MAX_BYTES,
    MAX_KEYS,
    MOST_AGE_S,
    fetch_jwks,
    read_jwks,
)
from anabranch.control.rollout.outgoing import Caller
from anabranch.errors import Unavailable
from tests.access.oidc import oidc, rsa, signer, signers
from tests.control.web import Answer, running

PUBLIC = signer().jwk


def read(*keys: Any) -> tuple[IssuerKey, ...]:
    return read_jwks(json.dumps({"keys": keys}).encode())


def fetched(issuer: str, jwks: str | None = None, timeout: float = 5.0) -> tuple[bytes, float]:
    trusted = TrustedIssuer(issuer=issuer, audience=("a",), jwks=jwks)

    async def once() -> tuple[bytes, float]:
        caller = Caller(timeout)
        try:
            return await fetch_jwks(trusted, caller)
        finally:
            await caller.close()

    return asyncio.run(once())


def refused(issuer: str, jwks: str | None = None, timeout: float = 5.0) -> str:
    with pytest.raises(Unavailable) as caught:
        fetched(issuer, jwks, timeout)
    return str(caught.value)


def test_keys_of_each_type() -> None:
    found = read(*[one.jwk for one in signers()])
    assert [key.kid for key in found] == ["rsa", "pss", "p256", "p384", "ed"]
    assert found[0].algorithms[0] == "RS256" and "PS512" in found[0].algorithms
    assert [key.algorithms for key in found[2:]] == [("ES256",), ("ES384",), ("EdDSA",)]


def test_a_key_may_be_for_one_algorithm() -> None:
    assert read({**PUBLIC, "alg": "PS256"})[0].algorithms == ("PS256",)
    for other in ("ES256", "HS256", "none", "RSA-OAEP", 5, None):
        assert read({**PUBLIC, "alg": other}) == ()


def test_nothing_of_a_private_key_is_kept() -> None:
    private = RSAAlgorithm.to_jwk(rsa(0), as_dict=True)
    (found,) = read({**private, "key_ops": ["sign", "verify"], "x5u": "http://x.org"})
    assert set(json.loads(found.jwk)) == {"kty", "n", "e"}


def small() -> dict[str, Any]:
    return RSAAlgorithm.to_jwk(make_rsa(65537, 1024).public_key(), as_dict=True)


@pytest.mark.parametrize(
    "key",
    [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "one"},
        {**PUBLIC, "use": "enc"},
        {**PUBLIC, "key_ops": ["encrypt"]},
        {**PUBLIC, "key_ops": "verify"},
        {**PUBLIC, "kid": 5},
        {**PUBLIC, "kid": "x" * 257},
        {**PUBLIC, "n": "AQAB"},
        {**PUBLIC, "n": "!!!"},
        {**PUBLIC, "n": 5},
        {**PUBLIC, "e": "AQ"},
        {**PUBLIC, "e": "AQAAAAAAAAAAAQ"},
        {**PUBLIC, "n": "_" * 2732},
        {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"},
        {"kty": "EC", "crv": "P-256"},
        {"kty": "EC", "crv": "P-192", "x": "AAAA", "y": "AAAA"},
        {"kty": ["RSA"]},
        {"kty": "RSA"},
        {},
        "key",
        None,
        small(),
        ECAlgorithm.to_jwk(make_ec(SECP256K1()).public_key(), as_dict=True),
        OKPAlgorithm.to_jwk(Ed448PrivateKey.generate().public_key(), as_dict=True),
    ],
)
def test_what_cannot_sign_is_left_out(key: Any) -> None:
    assert [one.kid for one in read(key, PUBLIC)] == ["one"]


@given(st.binary() | st.text().map(str.encode))
def test_what_is_no_key_set_is_told_so(text: bytes) -> None:
    with pytest.raises(Unavailable):
        read_jwks(text)


def test_key_sets_are_bounded() -> None:
    assert len(read(*[PUBLIC] * MAX_KEYS)) == MAX_KEYS
    with pytest.raises(Unavailable, match="has 33 keys; at most 32"):
        read(*[PUBLIC] * (MAX_KEYS + 1))
    for text in (b'{"keys": {}}', b"{}", b"[]", b"[" * 100_000):
        with pytest.raises(Unavailable):
            read_jwks(text)


def test_an_issuer_tells_where_its_keys_are() -> None:
    with oidc(signer()) as server:
        text, age = fetched(server.url)
        assert fetched("any name", f"{server.url}/keys") == (text, age)
    assert ([key.kid for key in read_jwks(text)], age) == (["one"], AGE_S)
    assert [one.path for one in server.web.asked] == [
        "/.well-known/openid-configuration", "/keys", "/keys",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("header", "age"),
    [
        ("max-age=700", 700), ("public, max-age=700, must-revalidate", 700), ("MAX-AGE=700", 700),
        ("max-age=0", LEAST_AGE_S), ("max-age=999999999", MOST_AGE_S), ("no-store", AGE_S),
        ("max-age=-1", AGE_S), ("max-age=many", AGE_S), ("s-maxage=700", AGE_S),
    ],
)  # fmt: skip
def test_how_long_keys_are_new(header: str, age: float) -> None:
    with oidc(signer()) as server:
        server.cache_control = header
        assert fetched(server.url)[1] == age


def test_an_issuer_speaks_for_itself_alone() -> None:
    with oidc(signer()) as server:
        server.told["issuer"] = "https://other.example.com"
        assert refused(server.url) == "the issuer calls itself 'https://other.example.com'"
        server.told["issuer"] = server.url
        for url in ("http://10.0.0.1/keys", "http://169.254.169.254/", "file:///etc/passwd", 5):
            server.told["jwks_uri"] = url
            assert refused(server.url).startswith(f"the issuer tells of keys at {url!r}")
    assert all(one.path != "/keys" for one in server.web.asked)


def test_redirects_lead_nowhere() -> None:
    with oidc(signer()) as server, running() as web:
        web.answer = lambda _: Answer(302, headers={"location": f"{server.url}/keys"})
        assert "status 302" in refused("any name", f"{web.url}/keys")
    assert not server.web.asked


def test_what_an_issuer_may_do_wrong() -> None:
    def answered(answer: Answer) -> str:
        with running(lambda _: answer) as web:
            return refused("any name", f"{web.url}/keys").removeprefix(f"{web.url}/keys: ")

    assert answered(Answer(500, b"oh")) == "status 500: oh"
    assert answered(Answer(200, b"x" * (MAX_BYTES + 1))).endswith(f"more than {MAX_BYTES} bytes")
    with running(lambda _: Answer(200, b"[]")) as web:
        assert refused(web.url) == "what the issuer tells of itself is no JSON object"
    with running() as web:
        web.answer = web.hang
        assert "no answer within 0.05 s" in refused("any name", f"{web.url}/keys", 0.05)


def test_keys_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [PUBLIC]}))
    text, age = fetched("any name", str(path))
    assert ([key.kid for key in read_jwks(text)], age) == (["one"], FILE_AGE_S)
    path.write_bytes(b"x" * (MAX_BYTES + 1))
    assert refused("any name", str(path)).endswith(f"the file has more than {MAX_BYTES} bytes")
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "nothing", "."):
        assert "there is no such file" in refused("any name", str(tmp_path / name))
