"""Heads that the lean socket knows."""

from __future__ import annotations

import pytest

from anabranch.router.http.lean_head import MAX_KNOWN, MAX_KNOWN_SIZE, KnownHeads, message_of
from tests.router.http.wire import ask

HEADERS = [(b"host", b"x"), (b"content-length", b"5")]
DATA = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello"


def learned(data: bytes = DATA, headers: list[tuple[bytes, bytes]] = HEADERS) -> KnownHeads:
    heads = KnownHeads()
    heads.learn(data, message_of("1.1", b"POST", b"/", headers))
    return heads


def test_a_known_head_is_found_with_its_body() -> None:
    message, body = learned().find(DATA[:-5] + b"12345") or (None, b"")
    assert message is not None
    assert message.request.path == "/"
    assert body == b"12345"


@pytest.mark.parametrize(
    "data",
    [DATA[:-1], DATA + b"x", DATA + DATA, DATA[:-5], b"", b"\r\n" + DATA, DATA.replace(b"x", b"y")],
)
def test_all_else_is_read(data: bytes) -> None:
    assert learned().find(data) is None


@pytest.mark.parametrize(
    ("data", "more"),
    [
        (DATA, (b"expect", b"100-continue")),
        (DATA, (b"transfer-encoding", b"chunked")),
        (DATA[:-1], (b"x", b"y")),
        (b"\r\n\r\n", (b"x", b"y")),
        (b"\r\n", (b"x", b"y")),
        (DATA.replace(b"host", b"x" * MAX_KNOWN_SIZE), (b"x", b"y")),
    ],
)
def test_what_is_odd_is_never_known(data: bytes, more: tuple[bytes, bytes]) -> None:
    assert learned(data, [*HEADERS, more]).find(data) is None


def test_no_more_than_the_limit_are_kept() -> None:
    heads = KnownHeads()
    requests = [ask(f"/{number}") for number in range(3 * MAX_KNOWN)]
    for data in requests:
        heads.learn(data, message_of("1.1", b"POST", b"/", [(b"content-length", b"0")]))
    assert 0 < sum(heads.find(data) is not None for data in requests) <= MAX_KNOWN
    assert heads.find(requests[-1]) is not None
