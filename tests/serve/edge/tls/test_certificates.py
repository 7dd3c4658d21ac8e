"""Which files of a certificate are taken, and why others are not."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from anabranch.errors import EngineError
from anabranch.serve.edge.tls.certificates import MAX_BYTES, TlsFiles, load
from tests.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def refused(files: TlsFiles, reason: str, now: datetime | None = None) -> None:
    with pytest.raises(EngineError, match=reason):
        load(files, now)


def test_text_around_the_blocks_is_left_out(authority: Authority) -> None:
    files = authority.issue("one")
    plain = load(files)
    assert plain.chain == plain.server == files.cert.read_text()
    assert plain.key == files.key.read_text()
    assert plain.client_ca == ""
    for path in (files.cert, files.key):
        path.write_text(f"Bag Attributes\n\n{path.read_text()}\n\nmore\n")
    assert load(files) == plain
    assert plain.key not in repr(plain)


def test_a_chain_begins_with_the_server(authority: Authority) -> None:
    files = authority.issue("one")
    files.cert.write_text(files.cert.read_text() + authority.file.read_text())
    found = load(replace(files, client_ca=authority.file))
    assert found.chain == found.server + authority.file.read_text()
    assert found.client_ca == authority.file.read_text()
    files.cert.write_text(authority.file.read_text() + found.server)
    refused(files, f"{files.key} does not fit certificate {files.cert}: .*CN=authority")


def test_one_file_may_hold_both(authority: Authority) -> None:
    files = authority.issue("one")
    files.key.write_text(files.cert.read_text() + files.key.read_text())
    assert load(replace(files, cert=files.key)) == load(files)


def test_a_key_that_does_not_fit(authority: Authority) -> None:
    one, two = authority.issue("one"), authority.issue("two", file="other")
    refused(replace(one, key=two.key), f"key {two.key} does not fit certificate {one.cert}")


@pytest.mark.parametrize(("mode", "is_taken"), [(0o600, True), (0o640, True), (0o604, False)])
def test_a_key_that_others_can_read(authority: Authority, mode: int, is_taken: bool) -> None:
    files = authority.issue("one")
    files.key.chmod(mode)
    if is_taken:
        load(files)
    else:
        refused(files, re.escape(f"key {files.key} is open to other users (mode 604): chmod o="))


def test_before_and_after_its_time(authority: Authority) -> None:
    files = authority.issue("one", ends=timedelta(days=2))
    now = datetime.now(UTC)
    load(files, now + timedelta(days=1))
    refused(files, f"{files.cert} of CN=one expired on 2", now + timedelta(days=3))
    refused(files, f"{files.cert} of CN=one is not valid before 2", now - timedelta(days=3))


@pytest.mark.parametrize("which", ["cert", "key", "client_ca"])
def test_files_that_are_none(authority: Authority, which: str) -> None:
    files = replace(authority.issue("one"), client_ca=authority.file)
    path: Path = getattr(files, which)
    path.write_text("nothing")
    refused(files, f"{path} holds no .* in PEM")
    path.write_bytes(b"x" * (MAX_BYTES + 1))
    refused(files, f"{path} is over the limit of {MAX_BYTES} bytes")
    path.unlink()
    refused(files, f"{path} cannot be read: No such file")
    path.mkdir()
    refused(files, f"{path} is no file")


def test_an_encrypted_key(authority: Authority) -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    files = authority.issue("one")
    key = load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    refused(files, f"key {files.key} is encrypted")
