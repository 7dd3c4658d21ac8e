"""Bodies of forms: their parts, and what is no form."""

from __future__ import annotations

from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.errors import InvalidRequest, TooLarge
from anabranch.router.http.doors.form_body import (
    MAX_PARTS,
    MULTIPART,
    URLENCODED,
    FormPart,
    read_form,
)

names = st.text(
    st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters='"\\'),
    min_size=1,
    max_size=8,
)
fields = st.lists(st.tuples(names, st.binary(max_size=30) | st.just(b"\r\n--X\r\n")), max_size=4)


def multipart(parts: list[tuple[str, bytes]]) -> tuple[bytes, str]:
    """A body as httpx makes it of files."""
    files = [(name, ("file", data)) for name, data in parts]
    request = httpx.Request("POST", "http://x", files=files)
    return request.read(), request.headers["content-type"]


@given(fields.filter(bool))
def test_files_come_as_they_were(parts: list[tuple[str, bytes]]) -> None:
    assert read_form(*multipart(parts)) == [FormPart(*part) for part in parts]


@given(fields)
def test_fields_come_as_they_were(parts: list[tuple[str, bytes]]) -> None:
    found = read_form(urlencode(parts).encode(), f"{URLENCODED}; charset=UTF-8")
    assert found == [FormPart(*part) for part in parts]


def test_a_name_in_quotes_and_further_headers() -> None:
    body = (
        b'--a b\r\nContent-Type: image/png\r\nCONTENT-disposition: form-data; filename="x;y.png";'
        b' name="caf\xc3\xa9 1"\r\nX-More: 1\r\n\r\n\x89PNG\r\n--a b--\r\nepilogue'
    )
    found = read_form(body, 'Multipart/Form-Data; charset=x; boundary="a b"')
    assert found == [FormPart("café 1", b"\x89PNG")]


TYPE = f"{MULTIPART}; boundary=X"
PART = b'--X\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"", MULTIPART, "'multipart/form-data' has no boundary"),
        (b"", f"{MULTIPART}; boundary={'b' * 500}", "no multipart/form-data"),
        (b"", TYPE, "stops before its last boundary"),
        (PART, TYPE, "stops before its last boundary"),
        (PART + b"--Y--\r\n", TYPE, "stops before its last boundary"),
        (b"--Y\r\n", TYPE, "is no multipart/form-data"),
        (b"{}", TYPE, "is no multipart/form-data"),
        (b"--X\r\n\r\n1\r\n--X--\r\n", TYPE, "part 0 of the body has no name"),
        (PART + b'--X\r\nContent-Disposition: attachment; name="a"\r\n\r\n', TYPE, "part 1 .*name"),
        (b'--X\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n', TYPE, "is not UTF-8"),
        (b"--X\r\n" + b"a: b\r\n" * 100, TYPE, "is no multipart/form-data"),
        (b"--X\r\na: " + b"b" * 100_000 + b"\r\n\r\n", TYPE, "is no multipart/form-data"),
        (b"%ff=1", URLENCODED, "is not UTF-8"),
    ],
)  # fmt: skip
def test_what_is_no_form_is_refused(
    body: bytes, kind: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        read_form(body, kind)
    assert not caplog.records


@pytest.mark.parametrize("extra", [0, 1])
def test_the_number_of_parts_is_bounded(extra: int) -> None:
    count = MAX_PARTS + extra
    for body, kind in (
        (PART * count + b"--X--\r\n", TYPE),
        (b"a=1&" * (count - 1) + b"a=1", URLENCODED),
    ):
        if extra:
            with pytest.raises(TooLarge, match="more than 1024 fields"):
                read_form(body, kind)
        else:
            assert read_form(body, kind) == [FormPart("a", b"1")] * count


@given(st.binary(max_size=200), st.lists(st.integers(0, 120), max_size=3))
def test_mutated_bodies_are_read_or_refused(noise: bytes, places: list[int]) -> None:
    body = PART * 2 + b"--X--\r\n"
    for at in places:
        body = body[:at] + noise[:4] + body[at + 1 :]
    for kind in (TYPE, URLENCODED):
        try:
            read_form(body, kind)
        except (InvalidRequest, TooLarge):
            continue
