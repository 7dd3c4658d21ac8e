"""Ed25519 keys of whoever signs bundles, and of whom an engine or a person trusts to."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from anabranch.errors import InvalidRequest

if TYPE_CHECKING:  # it takes a while to import, and most never need it
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

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


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Return the Ed25519 private key in a file, in PEM; InvalidRequest where there is none."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise InvalidRequest(f"cannot read the key {str(path)!r}: {error.strerror}") from None
    except (ValueError, TypeError) as error:
        raise InvalidRequest(f"{str(path)!r} holds no private key in PEM: {error}") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise InvalidRequest(
            f"{str(path)!r} holds a key of another kind than Ed25519; "
            "`openssl genpkey -algorithm ed25519 -out key.pem` makes one"
        )
    return private


def is_by(key: Ed25519PublicKey, signature: bytes, text: bytes) -> bool:
    """Tell whether a signature of a text is by a key."""
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, text)
    except InvalidSignature:
        return False
    return True


def key_id(key: Ed25519PublicKey) -> str:
    """Return the name of a public key: the SHA-256 of its DER form, in hexadecimal digits."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
