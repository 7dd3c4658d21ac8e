"""Where the key of a caller comes from."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.router.traffic.keys import key_reader
from anabranch.specs.models import Sticky


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"x-user": "ann"}, "ann"),
        ({"x-user": " ann\t"}, "ann"),
        ({"x-user": " "}, ""),
        ({"x-user": ""}, ""),
        ({"x-users": "ann"}, ""),
        ({}, ""),
    ],
)
@pytest.mark.parametrize("name", ["x-user", "X-User"])
def test_headers(headers: dict[str, str], key: str, name: str) -> None:
    assert key_reader(Sticky(header=name))(headers, {"x-user": "no"}) == key


@pytest.mark.parametrize(
    ("cookie", "key"),
    [
        ("uid=ann", "ann"),
        ("a=b; uid=ann; c=d", "ann"),
        ("a=b;uid=ann;c=d", "ann"),
        (" uid = ann ", "ann"),
        ('uid="ann"', "ann"),
        ("uid=a=b==", "a=b=="),
        ("uid=first; uid=second", "first"),
        ("xuid=no; uidx=no", ""),
        ("UID=no", ""),
        ("uid", ""),
        ("uid=", ""),
        ("=uid", ""),
        ("", ""),
        ("a:b=@; [bad]={x}; uid=ann", "ann"),
        ("Path=/; $Version=1; expires=Wed, 01 Jan; uid=ann", "ann"),
        (";;; ;=;uid=ann", "ann"),
        ('other="x; uid=inside"; uid=ann', "inside"),
        ("uid=\x00\xff", "\x00\xff"),
    ],
)
def test_cookies(cookie: str, key: str) -> None:
    assert key_reader(Sticky(cookie="uid"))({"cookie": cookie}, {"uid": "no"}) == key


def test_no_cookies_at_all() -> None:
    assert key_reader(Sticky(cookie="uid"))({"uid": "no"}, {"uid": "no"}) == ""


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("ann", "ann"),
        ("", ""),
        (7, "7"),
        (0, "0"),
        (0.5, "0.5"),
        (False, "False"),
        (None, ""),
        ([], ""),
        (["ann"], ""),
        ({"a": 1}, ""),
    ],
)
def test_parameters(value: Any, key: str) -> None:
    assert key_reader(Sticky(parameter="user"))({"user": "no"}, {"user": value}) == key
    assert key_reader(Sticky(parameter="user"))({"user": "no"}, {}) == ""


@given(st.text(), st.sampled_from(["header", "cookie", "parameter"]), st.text(max_size=5))
def test_nothing_that_a_caller_sends_can_fail(text: str, field: str, name: str) -> None:
    sticky = Sticky.model_construct(**{field: name})
    headers = {name.lower(): text, "cookie": text}
    assert isinstance(key_reader(sticky)(headers, {name: text}), str)
