"""Headers of requests: joined where they came several times."""

from __future__ import annotations

import pytest

from anabranch.components.sticky.keys import key_reader
from anabranch.router.http.headers import RequestHeaders
from anabranch.specs.models import Sticky


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
    assert dict(RequestHeaders(raw)) == headers


def test_a_cookie_is_found_in_whichever_header_it_came() -> None:
    raw = [(b"cookie", b"uid=ann; a=b"), (b"cookie", b"c=d")]
    assert key_reader(Sticky(cookie="uid"))(RequestHeaders(raw), {}) == "ann"
    assert key_reader(Sticky(cookie="c"))(RequestHeaders(raw), {}) == "d"
