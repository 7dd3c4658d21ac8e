"""Who may read without a token, and what no web page of another origin may do."""

from __future__ import annotations

import pytest

from anabranch.router.http.access import foreign, is_local, is_loopback


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8000",
        "LOCALHOST:1",
        "127.0.0.1",
        "127.9.9.9:80",
        "[::1]",
        "[::1]:8000",
    ],
)
def test_names_of_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1:8000",
        "0.0.0.0:8000", "evil.example:8000", "user@127.0.0.1", "127.0.0.1/x", "[::1", "[::2]:80",
        "localhost, evil.example", "::1:8000", "2130706433", "0x7f.1", ":8000", "*", "127.1",
    ],
)  # fmt: skip
def test_any_other_name_may_have_been_rebound(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "name", ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"]
)
def test_what_a_proxy_passes_on_is_not_local(name: str) -> None:
    assert is_local({"host": "localhost:8000", "accept": "*/*"})
    assert not is_local({"host": "localhost:8000", name: "127.0.0.1"})
    assert not is_local({"host": "evil.example"}) and not is_local({})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "a:1"},
        {"sec-fetch-site": "same-origin", "origin": "http://a:1", "host": "a:1"},
        {"sec-fetch-site": "none"},
        {"origin": "http://a:1", "host": "a:1"},
        {"origin": "http://LOCALHOST:1", "host": "localhost:1"},
    ],
)
def test_clients_and_the_page_itself_are_let_in(headers: dict[str, str]) -> None:
    assert foreign(headers) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "http://a:1", "host": "a:1"},
        {"sec-fetch-site": "anything"},
        {"origin": "null", "host": "a:1"},
        {"origin": "http://evil.example", "host": "a:1"},
        {"origin": "http://a:2", "host": "a:1"},
        {"origin": "", "host": "a:1"},
        {"origin": "http://a:1"},
    ],
)
def test_pages_of_another_origin_are_not(headers: dict[str, str]) -> None:
    reply = foreign(headers)
    assert reply is not None and reply.status == 403
