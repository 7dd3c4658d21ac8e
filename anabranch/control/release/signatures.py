"""Refuses bundles that nobody has signed whom the engine trusts."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.client.bundle.packing import digest
from anabranch.client.bundle.signing import SIGNATURE, text_to_sign
from anabranch.control.settings.bundle_keys import read_keys
from anabranch.errors import Forbidden, Unavailable

if TYPE_CHECKING:  # it takes a while to import, and most engines never need it
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def check_signature(files: MutableMapping[str, bytes], keys: Path | None) -> None:
    """Take a bundle's signature out of its files; with ``keys`` it must be by one of these.

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
    if not any(_is_by(key, signature, text_to_sign(digest(files))) for key in trusted):
        raise Forbidden(
            f"the bundle was signed by none of the {len(trusted)} keys that this engine trusts "
            "(ANABRANCH_BUNDLE_KEYS), or was changed since"
        )


def _is_by(key: Ed25519PublicKey, signature: bytes, text: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, text)
    except InvalidSignature:
        return False
    return True
