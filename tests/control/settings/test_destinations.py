from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.control.settings.destinations import allowed, check, parse
from anabranch.errors import InvalidRequest
from anabranch.specs.models import Rollout

GOOD = "http://good.example:8080/hooks"
LONG = "http://good.example:8080/hooks/" + "a" * 4096


@pytest.mark.parametrize(
    ("url", "prefix"),
    [
        (GOOD, GOOD),
        (f"{GOOD}/", GOOD),
        (GOOD, f"{GOOD}/"),
        (f"{GOOD}/a/b?x=1&y=..", GOOD),
        (f"{GOOD}/a.b/...", GOOD),
        (f"{GOOD}/a;x=1/b", GOOD),
        ("HTTP://Good.Example:8080/hooks", GOOD),
        ("http://good.example/x", "http://good.example"),
        ("http://good.example:80/x", "http://good.example"),
        ("http://good.example/x", "http://good.example:80/"),
        ("https://good.example:443", "https://good.example"),
        ("http://[::1]:9/x", "http://[::1]:9"),
        ("http://127.0.0.1:9/x", "http://127.0.0.1:9"),
        ("http://my_service:9/x", "http://my_service:9"),
        ("http://good.example?x=/a", "http://good.example"),
        ("http://good.example/a%20b/c", "http://good.example/a%20b"),
    ],
)
def test_at_or_below_a_prefix_is_allowed(url: str, prefix: str) -> None:
    assert allowed(url, ["http://other", prefix])


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://",
        "http:///hooks",
        "good.example:8080/hooks",
        "//good.example:8080/hooks",
        "ftp://good.example:8080/hooks",
        "file:///hooks",
        "https://good.example:8080/hooks",
        "http://good.example/hooks",
        "http://good.example:80801/hooks",
        "http://good.example:0/hooks",
        "http://good.example:/hooks",
        "http://good.example:8080",
        "http://good.example:8080/",
        "http://good.example:8080/hook",
        "http://good.example:8080/hooksters",
        "http://good.example:8080/Hooks",
        "http://good.example:8080//hooks",
        "http://good.example:8080/x/hooks",
        "http://good.example:8080/%68ooks",
        "http://good.example.evil.com:8080/hooks",
        "http://evil.com:8080/http://good.example:8080/hooks",
        "http://evil-good.example:8080/hooks",
        "http://xgood.example:8080/hooks",
        "http://good.example.:8080/hooks",
        "http://good.example:8080@evil.com/hooks",
        "http://good.example@evil.com:8080/hooks",
        "http://user:word@good.example:8080/hooks",
        "http://@good.example:8080/hooks",
        "http://good.example:8080#@evil.com/hooks",
        "http://good.example:8080/hooks#x",
        "http://evil.com#good.example:8080/hooks",
        "http://evil.com?good.example:8080/hooks",
        "http://evil.com\\@good.example:8080/hooks",
        "http://good.example:8080\\hooks",
        "http://good.example:8080/hooks\\..\\admin",
        "http://good.example:8080/hooks/../admin",
        "http://good.example:8080/hooks/..",
        "http://good.example:8080/hooks/./x",
        "http://good.example:8080/hooks/..;/admin",
        "http://good.example:8080/hooks/%2e%2e%3bx=1/admin",
        "http://good.example:8080/hooks/%2e%2e/admin",
        "http://good.example:8080/hooks/.%2E/admin",
        "http://good.example:8080/hooks/%252e%252e/admin",
        "http://good.example:8080/hooks/x%2f..%2f..%2fadmin",
        "http://good.example:8080/hooks/x%5c..%5cadmin",
        "http://good.example:8080/hooks/." + "%" + "25" * 20 + "2e",
        "http://good%2eexample:8080/hooks",
        "http://good.example%00:8080/hooks",
        "http://good.example:8080/ho\noks",
        "http://good.example:8080/hooks\r\nHost: evil.com",
        "http://good.exa\tmple:8080/hooks",
        " http://good.example:8080/hooks",
        "http://good.example:8080/hooks ",
        "http://ｇood.example:8080/hooks",
        "http://good。example:8080/hooks",
        "http://0x7f.1:8080/hooks",
        "http://[good.example]:8080/hooks",
        LONG,
    ],
)  # fmt: skip
def test_everything_else_is_not(url: str) -> None:
    assert not allowed(url, [GOOD])


def test_nothing_is_allowed_unless_something_is() -> None:
    assert not allowed(GOOD, [])
    assert not allowed(GOOD, ["", "good.example", "http://user@good.example:8080", "*", "http://*"])


@given(st.text(alphabet="htp:/@#?.%25eE\\[]good:80/hks \n", max_size=40))
def test_whatever_is_put_behind_a_host_does_not_change_the_host(tail: str) -> None:
    url = f"http://evil.com{tail}"
    place = parse(url)
    assert place is None or place.host.startswith("evil.com")
    assert not allowed(url, [GOOD])


def rollout(**fields: Any) -> Rollout:
    return Rollout.model_validate({"steps": [10], **fields})


PROMQL = {"interval": "1s", "metrics": [{"metric": "promql", "max": 1, "query": "up"}]}


def test_a_rollout_that_calls_nothing_is_fine() -> None:
    check(None, (), "")
    check(rollout(), (), "")
    check(rollout(webhooks=[GOOD], gate=f"{GOOD}/gate", analysis=PROMQL), (GOOD,), "http://p:9090")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"webhooks": ["http://x/"]}, "rollout.webhooks: 'http://x/' is not below .*: http://good"),
        ({"gate": "http://x/"}, "rollout.gate: 'http://x/' is not below what ANABRANCH_WEBHOOKS"),
        ({"analysis": PROMQL}, "promql needs a Prometheus server; set ANABRANCH_PROMETHEUS"),
        ({"gate": "http://x/", "analysis": PROMQL}, "rollout.gate: .*; rollout.analysis: "),
    ],
)
def test_a_rollout_that_would_call_anything_else_is_refused(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        check(rollout(**fields), (GOOD,), "")


def test_where_nothing_is_allowed_the_error_says_so() -> None:
    with pytest.raises(InvalidRequest, match="allows: nothing"):
        check(rollout(gate=GOOD), (), "")
