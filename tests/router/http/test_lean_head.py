"""Heads that the lean socket knows."""

from __future__ import annotations

import pytest

from anabranch.router.http.lean_head import (
    MAX_KNOWN,
    MAX_KNOWN_SIZE,
    KnownHeads,
    message_of,
    only_chunk,
)
from tests.router.http.wire import ask

HEADERS = [(b"host", b"x"), (b"content-length", b"5")]
DATA = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello"

CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


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
        (CHUNKED + b"5\r\nhello\r\n0\r\nx: y\r\n\r\n", (b"transfer-encoding", b"chunked")),
        (CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", (b"transfer-encoding", b"chunked")),
        (DATA[:-1], (b"x", b"y")),
        (b"\r\n\r\n", (b"x", b"y")),
        (b"\r\n", (b"x", b"y")),
        (DATA.replace(b"host", b"x" * MAX_KNOWN_SIZE), (b"x", b"y")),
    ],
)
def test_what_is_odd_is_never_known(data: bytes, more: tuple[bytes, bytes]) -> None:
    assert learned(data, [*HEADERS, more]).find(data) is None


def test_a_body_of_one_chunk_is_found() -> None:
    headers = [(b"host", b"x"), (b"transfer-encoding", b"chunked")]
    heads = learned(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", headers)
    assert heads.find(CHUNKED + b"0A\r\n0123456789\r\n0\r\n\r\n") is not None
    _, body = heads.find(CHUNKED + b"2\r\n\r\n\r\n0\r\n\r\n") or (None, b"")
    assert body == b"\r\n"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"0\r\n\r\n",
        b"5\r\nhello\r\n",
        b"5\r\nhello\r\n0\r\n\r\nx",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nx: y\r\n\r\n",
        b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        b"5;x\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"1_0\r\n" + b"x" * 16,
        b"\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"000000005\r\nhello\r\n0\r\n\r\n",
    ],
)
def test_other_chunks_are_read(body: bytes) -> None:
    assert only_chunk(CHUNKED + body, len(CHUNKED)) is None


def test_no_more_than_the_limit_are_kept() -> None:
    heads = KnownHeads()
    requests = [ask(f"/{number}") for number in range(3 * MAX_KNOWN)]
    for data in requests:
        heads.learn(data, message_of("1.1", b"POST", b"/", [(b"content-length", b"0")]))
    assert 0 < sum(heads.find(data) is not None for data in requests) <= MAX_KNOWN
    assert heads.find(requests[-1]) is not None
