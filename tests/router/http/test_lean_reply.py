"""The bytes of replies."""

from __future__ import annotations

import pytest

from anabranch.router.http.lean_reply import chunks, head, message

NAMED = ((b"a", b"b"),)


def test_a_reply_with_its_length() -> None:
    assert message(200, NAMED, b"c") == b"HTTP/1.1 200 OK\r\na: b\r\n\r\nc"


def test_a_body_in_pieces_is_one_chunk_before_its_trailers() -> None:
    found = b"".join(chunks((b"c" * 10, b"d" * 6), NAMED))
    assert found == b"10\r\n" + b"c" * 10 + b"d" * 6 + b"\r\n0\r\na: b\r\n\r\n"


def test_a_body_of_nothing_has_no_chunk_that_would_end_it_too_early() -> None:
    assert b"".join(chunks((b"", b""), NAMED)) == b"0\r\na: b\r\n\r\n"


@pytest.mark.parametrize("text", [b"b\r\nc: d", b"b\n", b"\rb"])
def test_what_would_be_another_line_is_no_header_and_no_trailer(text: bytes) -> None:
    for name, value in ((b"a", text), (text, b"a")):
        with pytest.raises(RuntimeError):
            head(200, ((name, value),))
        with pytest.raises(RuntimeError):
            chunks((b"c",), ((name, value),))
