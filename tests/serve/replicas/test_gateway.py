from __future__ import annotations

import pytest

from anabranch.serve.replicas.gateway import ControllerLink, token_digest

LINK = ControllerLink(token_digest("the-token"))


@pytest.mark.parametrize("value", ["Bearer the-token", "bearer the-token", "BEARER  the-token "])
def test_the_token_opens(value: str) -> None:
    assert LINK.refusal({"authorization": value}) is None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "the-token"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer the-toke"},
        {"authorization": "Basic the-token"},
        {"authorization": f"Bearer {token_digest('the-token')}"},
        {"authorization": "Bearer the-token\u00fc\udc80"},
        {"x-token": "the-token"},
    ],
)
def test_anything_else_is_refused(headers: dict[str, str]) -> None:
    reply = LINK.refusal(headers)
    assert reply is not None and reply.status == 401
    assert (b"www-authenticate", b"Bearer") in reply.headers
    assert b"the-token" not in reply.body
