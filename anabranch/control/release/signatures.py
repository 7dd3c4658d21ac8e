"""Refuses bundles that nobody has signed whom the engine trusts."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

from anabranch.client.bundle.keys import is_by, read_keys
from anabranch.client.bundle.packing import digest
from anabranch.client.bundle.signing import SIGNATURE, SIZE, split, text_to_sign
from anabranch.errors import Forbidden, Unavailable

MOST = 100 * SIZE
"""Bytes of signatures that are looked at."""


def check_signature(files: MutableMapping[str, bytes], keys: Path | None) -> None:
    """Take a bundle's signatures out of its files; with ``keys`` one must be by one of these.

    Forbidden where it is not, Unavailable where the file of keys cannot be read. It is read each
    time, so keys may be added and taken away while the engine runs.
    """
    signature = files.pop(SIGNATURE, None)
    if keys is None:
        return
    if signature is None:
        raise Forbidden(
            "the bundle is not signed, and this engine takes signed ones only "
            "(ANABRANCH_BUNDLE_KEYS): `anabranch deploy --sign key.pem`"
        )
    try:
        trusted = read_keys(keys)
    except ValueError as error:
        raise Unavailable(f"ANABRANCH_BUNDLE_KEYS: {error}") from None
    text, found = text_to_sign(digest(files)), split(signature[:MOST])
    if not any(is_by(key, one, text) for key in trusted for one in found):
        raise Forbidden(
            f"the bundle was signed by none of the {len(trusted)} keys that this engine trusts "
            "(ANABRANCH_BUNDLE_KEYS), or was changed since"
        )
