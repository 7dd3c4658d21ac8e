"""The keys of whom an engine trusts to sign bundles."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it takes a while to import, and most engines never need it
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


def read_keys(path: Path) -> list[Ed25519PublicKey]:
    """Return the Ed25519 public keys in a file, in PEM one after the other.

    ValueError where there is none, or another kind of key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        found = [load_pem_public_key(one) for one in _PEM.findall(path.read_bytes())]
    except OSError as error:
        raise ValueError(f"cannot read {str(path)!r}: {error.strerror}") from None
    if not found:
        raise ValueError(f"{str(path)!r} holds no public key in PEM")
    keys = [one for one in found if isinstance(one, Ed25519PublicKey)]
    if len(keys) < len(found):
        raise ValueError(f"{str(path)!r} holds a key of another kind than Ed25519")
    return keys
