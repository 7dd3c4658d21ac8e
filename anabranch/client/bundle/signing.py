"""Signatures of bundles: Ed25519 (RFC 8032) over the digest of what a bundle holds.

The signature is a file of the zip, which the digest does not cover, so it changes nothing else.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from anabranch.client.bundle.keys import read_private_key
from anabranch.client.bundle.packing import ROOT, Bundle, zipped
from anabranch.errors import InvalidRequest

SIGNATURE = "anabranch.sig"
"""The file of a bundle that holds its signatures, one after the other."""
SIZE = 64
"""Bytes of a signature."""
_PURPOSE = b"anabranch bundle v1\n"
"""Begin of what is signed, so that no signature of something else is one of a bundle."""


def text_to_sign(digest: str) -> bytes:
    """Return what a signature of a bundle signs; the digest covers its spec and graph too."""
    return _PURPOSE + digest.encode()


def signed(bundle: Bundle, key: Path) -> Bundle:
    """Return a bundle with a signature, beside those that it has.

    ``key`` is a file with an Ed25519 private key in PEM. InvalidRequest where there is no such key,
    or the folder has a file of the signature's name.
    """
    signature = read_private_key(key).sign(text_to_sign(bundle.digest))
    return with_signatures(bundle, [*signatures_of(bundle), signature])


def with_signatures(bundle: Bundle, signatures: Sequence[bytes]) -> Bundle:
    """Return a bundle with these signatures alone, 64 bytes each."""
    if SIGNATURE in bundle.sizes:
        raise InvalidRequest(f"the folder has a file {SIGNATURE!r}, which a signature is called")
    files = _members(bundle.data)
    files.pop(SIGNATURE, None)
    if signatures:
        files[SIGNATURE] = b"".join(signatures)
    return replace(bundle, data=zipped(files))


def signatures_of(bundle: Bundle) -> list[bytes]:
    """Return the signatures that a bundle has."""
    return split(_members(bundle.data).get(SIGNATURE, b""))


def split(signatures: bytes) -> list[bytes]:
    """Return each of the signatures in the file of that name."""
    return [signatures[at : at + SIZE] for at in range(0, len(signatures), SIZE)]


def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name.removeprefix(f"{ROOT}/"): archive.read(name) for name in archive.namelist()}
