from __future__ import annotations

from typing import Any

import pytest
import yaml

from anabranch.control.access.issuers import TrustedIssuer, may_be_asked
from anabranch.control.access.policy import read_policy
from anabranch.errors import SpecError

HERE = "https://login.example.com/realms/ml"


def trusted(**others: Any) -> TrustedIssuer:
    return TrustedIssuer.model_validate({"issuer": HERE, "audience": "anabranch", **others})


def read(*issuers: dict[str, Any]) -> tuple[TrustedIssuer, ...]:
    given = [{"issuer": HERE, "audience": "anabranch", **one} for one in issuers]
    return read_policy(yaml.safe_dump({"issuers": given})).issuers


def refused(*issuers: dict[str, Any]) -> str:
    with pytest.raises(SpecError) as caught:
        read(*issuers)
    return str(caught.value)


def test_what_is_left_out() -> None:
    (one,) = read({})
    table = one.with_keys(())
    assert (table.name, table.audiences) == (HERE, ("anabranch",))
    assert (table.subject, table.groups, table.prefix) == ("sub", "groups", "")
    assert table.algorithms == ("RS256", "ES256")


def test_all_that_may_be_said() -> None:
    (one,) = read(
        {
            "audience": ["a", "b"], "jwks": "/etc/keys.json", "subject": "email",
            "groups": "realm_access.roles", "prefix": "corp:", "algorithms": ["EdDSA", "PS256"],
        }
    )  # fmt: skip
    table = one.with_keys(())
    assert (table.audiences, table.subject, table.prefix) == (("a", "b"), "email", "corp:")
    assert (table.groups, table.algorithms) == ("realm_access.roles", ("EdDSA", "PS256"))


@pytest.mark.parametrize("name", ["none", "HS256", "RS1", "ES256K", ""])
def test_other_algorithms_are_refused(name: str) -> None:
    said = refused({"algorithms": ["RS256", name]})
    assert "RS256" in said and "EdDSA" in said


@pytest.mark.parametrize(
    "url",
    [
        "http://login.example.com", "http://10.0.0.1", "http://169.254.169.254/", "ftp://x.org",
        "https://user:word@x.org", "https://x.org/../y", "https://x.org#y", "x.org", "file:///etc",
        "http://127.0.0.1.x.org", "http://localhost.x.org", "http://[::2]/",
    ],
)  # fmt: skip
def test_keys_come_by_https_or_from_this_machine(url: str) -> None:
    assert "https URL, or http on loopback (or give `jwks`)" in refused({"issuer": url})
    assert "or the absolute path of a file" in refused({"jwks": url})


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/x", "http://localhost", "http://[::1]:1/"])
def test_issuers_on_loopback_need_no_tls(url: str) -> None:
    assert read({"issuer": url})[0].is_here
    assert not read({"jwks": url})[0].is_here


def test_an_issuer_whose_keys_are_given_needs_no_url() -> None:
    assert read({"issuer": "accounts.example.com", "jwks": "https://x.org/keys"})


def test_only_what_is_here_may_lead_here() -> None:
    for url in ("http://127.0.0.1:5/keys", "http://localhost/keys", "http://10.0.0.1/keys"):
        assert not may_be_asked(url, trusted())
    assert may_be_asked("http://127.0.0.1:5/keys", trusted(issuer="http://127.0.0.1:4"))
    assert not may_be_asked("http://10.0.0.1/keys", trusted(issuer="http://127.0.0.1:4"))
    assert may_be_asked("https://keys.example.org/v1", trusted())


def test_several_issuers_cannot_give_out_each_others_names() -> None:
    other = "https://other.example.com"
    assert "each needs a prefix" in refused({"prefix": "a:"}, {"issuer": other})
    for prefix in ("a", "ab"):
        said = refused({"prefix": "a"}, {"issuer": other, "prefix": prefix})
        assert f"{prefix!r} begins with the prefix of {HERE!r}" in said
    assert len(read({"prefix": "a:"}, {"issuer": other, "prefix": "b:"})) == 2
    assert "is there twice" in refused({"prefix": "a:"}, {"prefix": "b:"})


def test_fields_that_there_are_not() -> None:
    assert "audience" in refused({"audiance": "x"})
    assert "audience" in refused({"audience": []})
