from __future__ import annotations

import base64
import hashlib
import hmac
import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from anabranch.access.issuers import Issuer, UnknownSigner
from anabranch.access.jwt import LEEWAY_S, MAX_CANDIDATES, MAX_TOKEN, Subject, TokenVerifier
from anabranch.control.access.jwks import read_jwks
from anabranch.errors import Unauthenticated
from tests.access.oidc import AUDIENCE, NOW, Signer, claims, rsa, signer, signers

HERE = "https://login.example.com"
OTHER = "https://login.elsewhere.example.com"


def keys_of(*several: Signer) -> Any:
    return read_jwks(json.dumps({"keys": [one.jwk for one in several]}).encode())


def issuer(*several: Signer, **others: Any) -> Issuer:
    return replace(Issuer(HERE, (AUDIENCE,), keys=keys_of(*several)), **others)


ISSUER = issuer(signer())


def verified(token: str, *issuers: Issuer, now: float = NOW) -> Subject:
    return TokenVerifier(issuers or [ISSUER]).verified(token, now)


def refused(token: str, *issuers: Issuer, now: float = NOW) -> str:
    with pytest.raises(Unauthenticated) as caught:
        verified(token, *issuers, now=now)
    return str(caught.value)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def by_hand(header: dict[str, Any], body: dict[str, Any], signature: bytes = b"none") -> str:
    return (
        ".".join(b64(json.dumps(part).encode()) for part in (header, body)) + "." + b64(signature)
    )


def test_whom_a_token_names_and_until_when() -> None:
    found = verified(signer().token(claims(HERE)))
    assert found == Subject("ada", ("makers",), NOW + 600 + LEEWAY_S)


@pytest.mark.parametrize("one", signers(), ids=lambda one: one.algorithm)
def test_keys_of_each_type_verify(one: Signer) -> None:
    token = one.token(claims(HERE))
    assert verified(token, issuer(one, algorithms=(one.algorithm,))).name == "ada"
    assert "algorithm (alg)" in refused(token, issuer(one, algorithms=("RS512",)))


def test_the_algorithm_none_counts_never() -> None:
    for name in ("none", "None", "NONE", "nOnE"):
        token = by_hand({"alg": name, "kid": "one"}, claims(HERE))
        assert refused(token) == f"this token's algorithm (alg) is {name!r}, not RS256, ES256"
        assert "no JWT" in refused(token.rpartition(".")[0] + ".")


@pytest.mark.parametrize("form", ["PEM", "DER", "JWK"])
def test_a_public_key_is_no_secret_of_an_hmac(form: str) -> None:
    public = rsa(0).public_key()
    secret = {
        "PEM": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "DER": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "JWK": ISSUER.keys[0].jwk.encode(),
    }[form]
    unsigned = by_hand({"alg": "HS256", "kid": "one"}, claims(HERE)).rpartition(".")[0]
    signature = hmac.new(secret, unsigned.encode(), hashlib.sha256).digest()
    assert "algorithm (alg) is 'HS256'" in refused(f"{unsigned}.{b64(signature)}")


def test_a_key_verifies_by_its_own_algorithms_only() -> None:
    both = issuer(signer(), algorithms=("RS256", "ES256"))
    token = by_hand({"alg": "ES256", "kid": "one"}, claims(HERE), b"x" * 64)
    assert "was not signed by key 'one'" in refused(token, both)


@pytest.mark.parametrize("audience", ["other", ["other", "more"], [], None, 7, {"anabranch": 1}])
def test_other_audiences_are_refused(audience: Any) -> None:
    assert "audience (aud)" in refused(signer().token(by_json(claims(HERE, aud=audience))))


def by_json(body: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(body))


def test_one_of_several_audiences_is_enough() -> None:
    token = signer().token(claims(HERE, aud=["other", AUDIENCE]))
    assert verified(token).name == "ada"
    assert verified(signer().token(claims(HERE, aud="b")), replace(ISSUER, audiences=("a", "b")))


def test_an_issuer_signs_for_itself_alone() -> None:
    """Its keys have the same names as those of another one."""
    other = replace(ISSUER, name=OTHER, keys=keys_of(signer(number=1)), prefix="x:")
    here = replace(ISSUER, prefix="h:")
    assert verified(signer(number=1).token(claims(OTHER)), here, other).name == "x:ada"
    assert "was not signed" in refused(signer(number=1).token(claims(HERE)), here, other)
    assert "was not signed" in refused(signer().token(claims(OTHER)), here, other)


@pytest.mark.parametrize("name", ["https://evil.example.com", f"{HERE}/", "", None, 5, [HERE]])
def test_unknown_issuers_are_refused(name: Any) -> None:
    body = {**claims(HERE), "iss": name} if name is not None else claims(HERE, iss=None)
    said = refused(by_hand({"alg": "RS256", "kid": "one"}, body))
    assert said == f"this token's issuer (iss) is {name!r}, not {HERE!r}"


def test_a_token_counts_in_its_time_and_a_little_more() -> None:
    token = signer().token(claims(HERE))
    begins, ends = NOW - 60 - LEEWAY_S, NOW + 600 + LEEWAY_S
    assert verified(token, now=begins) == verified(token, now=ends - 0.001)
    assert refused(token, now=begins - 1) == "this token counts only in 31s (nbf)"
    assert refused(token, now=ends) == "this token expired 30s ago (exp)"


@pytest.mark.parametrize(
    "time", ["soon", str(NOW + 5), True, [], None, float("nan"), float("inf"), 10**400, 2**60]
)
def test_times_must_be_numbers(time: Any) -> None:
    body = json.dumps({**claims(HERE), "exp": time})
    parts = [b64(b'{"alg": "RS256", "kid": "one"}'), b64(body.encode())]
    signature = RSAAlgorithm(RSAAlgorithm.SHA256).sign(".".join(parts).encode(), rsa(0))
    assert "claim exp is" in refused(".".join([*parts, b64(signature)]))


def test_a_token_needs_an_end() -> None:
    assert "claim exp is None" in refused(signer().token(claims(HERE, exp=None)))
    assert verified(signer().token(claims(HERE, nbf=None))).name == "ada"


def test_truncated_tokens_are_refused() -> None:
    token = signer().token(claims(HERE))
    for length in range(len(token)):
        refused(token[:length])


@given(st.integers(0, 10_000), st.characters(codec="ascii"))
def test_no_changed_token_counts(place: int, character: str) -> None:
    token = signer().token(claims(HERE))
    place %= len(token)
    changed = token[:place] + character + token[place + 1 :]
    if changed != token:
        refused(changed)


@given(st.text() | st.binary().map(lambda data: f"{b64(data)}.{b64(data)}.{b64(data)}"))
def test_what_is_no_token_is_told_so(text: str) -> None:
    refused(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["alg", "kid", "crit", "b64", "typ", "zip", "jku"]), JSON),
    st.dictionaries(st.sampled_from(["iss", "aud", "exp", "nbf", "sub", "groups"]), JSON),
)
def test_no_header_and_no_claim_raises_what_is_not_expected(
    header: dict[str, Any], body: dict[str, Any]
) -> None:
    for known in ({}, {"alg": "RS256", "kid": "one"}):
        refused(by_hand({**header, **known}, {**body, "iss": HERE}))
    signed = signer().token({**claims(HERE), "aud": body.get("aud"), "sub": "a"})
    with suppress(Unauthenticated):
        verified(signed)


def test_long_tokens_are_not_read() -> None:
    huge = signer().token(claims(HERE, note="x" * MAX_TOKEN))
    assert refused(huge) == f"this token has {len(huge)} characters; at most {MAX_TOKEN} are read"


@pytest.mark.parametrize("deep", ["[" * 4000, '{"a":' * 1000, "[" * 1500 + "]" * 1500])
def test_deep_tokens_are_refused(deep: str) -> None:
    """Whether Python's recursion ends at their depth or not."""
    head = b64(b'{"alg": "RS256", "kid": "one"}')
    refused(f"{head}.{b64(deep.encode())}.{b64(b'x')}")
    claimed = '{"iss": "' + HERE + '", "aud": ' + deep + "}"
    refused(f"{head}.{b64(claimed.encode())}.{b64(b'x')}")
    refused(f"{b64(deep.encode())}.{b64(b'{}')}.{b64(b'x')}")


@pytest.mark.parametrize("critical", [["exp"], ["b64"], ["x"], [], "exp", None])
def test_critical_headers_are_refused(critical: Any) -> None:
    headers = {"crit": critical, "exp": 1, "x": 1}
    unsigned = by_hand({"alg": "RS256", "kid": "one", **headers}, claims(HERE))
    assert "critical headers (crit)" in refused(unsigned)


@pytest.mark.parametrize("kid", [None, 5, ["one"], {}])
def test_names_of_keys_are_texts(kid: Any) -> None:
    assert "which is no text" in refused(by_hand({"alg": "RS256", "kid": kid}, claims(HERE)))


def test_keys_that_a_token_brings_along_do_not_count() -> None:
    thief = signer(number=1)
    for headers in (
        {"jwk": thief.jwk},
        {"jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1/cert"},
        {"x5c": ["MIIB"], "x5t": "abc"},
    ):
        assert "was not signed by key 'one'" in refused(thief.token(claims(HERE), headers))
        assert verified(signer().token(claims(HERE), headers)).name == "ada"


def test_a_key_that_is_not_known_may_come_to_be() -> None:
    with pytest.raises(UnknownSigner, match="no key 'new'") as caught:
        verified(signer("new", 1).token(claims(HERE)))
    assert (caught.value.issuer, caught.value.kid) == (HERE, "new")
    with pytest.raises(UnknownSigner):
        verified(signer().token(claims(HERE)), issuer())


def test_keys_without_names_verify_tokens_that_name_none() -> None:
    nameless = [signer("", number) for number in (0, 1)]
    both = issuer(*nameless)
    assert [verified(one.token(claims(HERE)), both).name for one in nameless] == ["ada", "ada"]
    with pytest.raises(UnknownSigner, match="names no key"):
        verified(signer("", 2).token(claims(HERE)), both)
    assert verified(nameless[0].token(claims(HERE)), ISSUER).name == "ada"
    many = issuer(*[signer("", number % 3) for number in range(MAX_CANDIDATES + 1)])
    assert "must name (kid) one" in refused(nameless[0].token(claims(HERE)), many)


def test_keys_that_share_a_name_are_each_tried() -> None:
    twins = issuer(signer(), signer(number=1))
    for number in (0, 1):
        assert verified(signer(number=number).token(claims(HERE)), twins).name == "ada"
    assert "was not signed by key" in refused(signer(number=2).token(claims(HERE)), twins)
    many = issuer(*[signer(number=number % 3) for number in range(MAX_CANDIDATES + 1)])
    assert "at most 4" in refused(signer().token(claims(HERE)), many)


@pytest.mark.parametrize("name", ["", None, 5, ["ada"], "a" * 257, "ada\nadmin", "\ud800"])
def test_subjects_are_short_printable_texts(name: Any) -> None:
    body = by_json(claims(HERE, sub=None)) | {"name": name}
    assert "names who asks" in refused(signer().token(body), replace(ISSUER, subject="name"))


def test_claims_of_other_names() -> None:
    body = claims(
        HERE, email="ada@x.org", realm_access={"roles": ["a", "b"]}, **{"https://x.org/g": "one"}
    )
    by_email = replace(ISSUER, subject="email", groups="realm_access.roles", prefix="x:")
    assert verified(signer().token(body), by_email)[:2] == ("x:ada@x.org", ("x:a", "x:b"))
    by_url = replace(ISSUER, groups="https://x.org/g")
    assert verified(signer().token(body), by_url).groups == ("one",)
    nothing = replace(ISSUER, groups="realm_access.nothing.at.all")
    assert verified(signer().token(body), nothing).groups == ()


@pytest.mark.parametrize("groups", [5, {"a": 1}, ["a", 5], True])
def test_groups_are_texts(groups: Any) -> None:
    assert "is no list of groups" in refused(signer().token(claims(HERE, groups=groups)))


@pytest.mark.parametrize("is_verified", [False, "true", 1, None])
def test_addresses_that_were_not_verified_name_nobody(is_verified: Any) -> None:
    by_email = replace(ISSUER, subject="email")
    body = claims(HERE, email="ada@x.org")
    assert verified(signer().token(body), by_email).name == "ada@x.org"
    assert verified(signer().token({**body, "email_verified": True}), by_email)
    said = refused(signer().token({**body, "email_verified": is_verified}), by_email)
    assert "has not verified" in said
