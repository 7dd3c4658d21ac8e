"""A call as HTTP/1.1 carries it."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from anabranch.router.grpc.codes import Ended, Status
from anabranch.router.grpc.framing import framed, metadata_of, seconds_of, trailers, unframed


@given(st.binary(max_size=300))
def test_a_message_comes_out_of_its_body_as_it_went_in(message: bytes) -> None:
    assert unframed(b"".join(framed(message))) == (message, None)


@given(st.binary(max_size=40))
def test_a_body_is_one_message_or_a_failed_call(body: bytes) -> None:
    if len(body) >= 5 and body[:5] == b"\0" + (len(body) - 5).to_bytes(4, "big"):
        assert unframed(body) == (body[5:], None)
    else:
        with pytest.raises(Ended) as raised:
            unframed(body)
        assert raised.value.status.code is StatusCode.INTERNAL


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [
        (b"1H", 3600),
        (b"2M", 120),
        (b"99999999S", 99_999_999),
        (b"5m", 0.005),
        (b"7u", 7e-6),
        (b"9n", 9 * 1e-9),
        (b"0S", 0),
        (b"", None),
        (b"1", None),
        (b"S", None),
        (b"-1S", None),
        (b"1.5S", None),
        (b"100000000S", None),
        (b"1S ", None),
        (b"1s", None),
        (None, None),
    ],
)
def test_the_time_of_a_call(timeout: bytes | None, seconds: float | None) -> None:
    assert seconds_of(timeout) == seconds


def test_metadata_is_what_grpc_gives_to_a_servicer() -> None:
    headers = [
        (b"host", b"x"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"transfer-encoding", b"chunked"),
        (b"grpc-timeout", b"1S"),
        (b"grpc-accept-encoding", b"gzip"),
        (b"x-a", b"first"),
        (b"x-a", b"last"),
        (b"x-bin", b"AAA"),
        (b"x-latin", b"\xe4"),
    ]
    assert metadata_of(headers) == {"x-a": "last"}


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=60))
def test_the_text_of_a_status_is_one_line_of_ascii(details: str) -> None:
    found = dict(trailers(Status(StatusCode.INTERNAL, details, ()), {"x-request-id": "r"}))
    assert found[b"grpc-status"] == b"13"
    assert found[b"x-request-id"] == b"r"
    text = found.get(b"grpc-message", b"").decode("ascii")
    assert text.isprintable()
    assert unquote(text) == details
