"""Headers of requests: joined where they came several times."""

from __future__ import annotations

import asyncio

import pytest

from anabranch.access.guard import Credentials
from anabranch.access.identity import Identity
from anabranch.access.keys import digest_of
from anabranch.access.roles import Grant
from anabranch.access.table import AccessTable, KnownKey
from anabranch.components.sticky.keys import key_reader
from anabranch.router.http.headers import RequestHead, RequestHeaders
from anabranch.specs.models import Sticky
from tests.router.conftest import Demo, double


@pytest.mark.parametrize(
    ("raw", "headers"),
    [
        ([], {}),
        ([(b"a", b"1"), (b"b", b"\xff")], {"a": "1", "b": "\xff"}),
        ([(b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"a", b"")], {"a": "1, 3, ", "b": "2"}),
        ([(b"cookie", b"a=1; b=2"), (b"cookie", b"c=3")], {"cookie": "a=1; b=2; c=3"}),
    ],
)
def test_a_header_that_comes_several_times_is_one_list(
    raw: list[tuple[bytes, bytes]], headers: dict[str, str]
) -> None:
    found = RequestHeaders(raw)
    assert dict(found) == dict(found.items()) == headers
    assert all((name in found) == (name in headers) for name in ("a", "A", "cookie"))


def test_a_cookie_is_found_in_whichever_header_it_came() -> None:
    raw = [(b"cookie", b"uid=ann; a=b"), (b"cookie", b"c=d")]
    assert key_reader(Sticky(cookie="uid"))(RequestHeaders(raw), {}) == "ann"
    assert key_reader(Sticky(cookie="c"))(RequestHeaders(raw), {}) == "d"


def head_of(**headers: str) -> RequestHead:
    raw = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    return RequestHead({"method": "GET", "path": "/", "headers": raw})


HALF = {"x_anabranch_csrf": "half"}


@pytest.mark.parametrize(
    ("host", "cookie", "shown"),
    [
        ("a:8000", "anabranch-8000=c", b"Bearer c.half"),
        ("a:8000", "x=y; anabranch-8000=c; z", b"Bearer c.half"),
        ("a:8000", "anabranch-8000=theirs; anabranch-8000=c", b"Bearer c.half"),
        ("a:8000", "anabranch-8000=c; __Host-anabranch-8000=s", b"Bearer s.half"),
        ("a:8000", "anabranch-8001=c", None),
        ("a:8000", "anabranch=c", None),
        ("a", "anabranch=c", b"Bearer c.half"),
        ("[::1]", "anabranch=c", b"Bearer c.half"),
        ("[::1]:8000", "anabranch-8000=c", b"Bearer c.half"),
        ("a:8000", "", None),
    ],
)
def test_a_session_is_shown_by_both_its_halves(host: str, cookie: str, shown: bytes | None) -> None:
    assert head_of(host=host, cookie=cookie, **HALF).credentials == Credentials(shown)
    assert head_of(host=host, cookie=cookie).credentials == Credentials()
    key = head_of(host=host, cookie=cookie, authorization="Bearer key", **HALF)
    assert key.credentials == Credentials(b"Bearer key")


def test_what_shows_who_asks_is_hidden_and_cookies_of_others_stay() -> None:
    key = head_of(host="a", cookie="uid=ann", authorization="Bearer key")
    assert dict(key.without_credentials()) == {"host": "a", "cookie": "uid=ann"}
    assert key.without_credentials() is key.without_credentials()
    session = head_of(host="a", cookie="anabranch=c", **HALF)
    assert dict(session.without_credentials()) == {"host": "a"}
    plain = head_of(host="a", cookie="uid=ann")
    assert plain.without_credentials() is plain.headers


@pytest.mark.parametrize(("secret", "reaches"), [("known", False), ("theirs", True)])
def test_a_component_sees_no_key_of_the_engine_and_all_that_is_its_own(
    secret: str, reaches: bool
) -> None:
    demo = Demo({3: double})
    keys = {digest_of("known"): KnownKey(Identity("key", "ci", (Grant("invoker"),)))}
    demo.arms.guard.apply(AccessTable(1, keys, (Grant("invoker"),)))
    demo.apply({3: 100.0})
    headers = {"authorization": f"Bearer {secret}", "x-user": "ada"}
    status, _ = asyncio.run(demo.ask(headers=headers))
    (context,) = demo.heads[3].seen
    assert status == 200 and context.headers["x-user"] == "ada"
    assert ("authorization" in context.headers) is reaches
