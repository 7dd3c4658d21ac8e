"""Signatures of bundles: Ed25519 (RFC 8032) over the digest of what a bundle holds.

The signature is a file of the zip, which the digest does not cover, so it changes nothing else.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

from anabranch.client.bundle.packing import ROOT, Bundle
from anabranch.errors import InvalidRequest

SIGNATURE = "anabranch.sig"
"""The file of a bundle that holds its signature: 64 bytes."""
_PURPOSE = b"anabranch bundle v1\n"
"""Begin of what is signed, so that no signature of something else is one of a bundle."""


def text_to_sign(digest: str) -> bytes:
    """Return what a signature of a bundle signs; the digest covers its spec and graph too."""
    return _PURPOSE + digest.encode()


def signed(bundle: Bundle, key: Path) -> Bundle:
    """Return a bundle with a signature; ``key`` is a file with an Ed25519 private key in PEM.

    InvalidRequest where there is no such key, or the folder has a file of the signature's name.
    """
    if SIGNATURE in bundle.sizes:
        raise InvalidRequest(f"the folder has a file {SIGNATURE!r}, which a signature is called")
    # Here, for most who deploy never need it, and it takes a while to import.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(key.read_bytes(), None)
    except OSError as error:
        raise InvalidRequest(f"cannot read the key {str(key)!r}: {error.strerror}") from None
    except (ValueError, TypeError) as error:
        raise InvalidRequest(f"{str(key)!r} holds no private key in PEM: {error}") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise InvalidRequest(
            f"{str(key)!r} holds a key of another kind than Ed25519; "
            "`openssl genpkey -algorithm ed25519 -out key.pem` makes one"
        )
    buffer = io.BytesIO(bundle.data)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(f"{ROOT}/{SIGNATURE}", private.sign(text_to_sign(bundle.digest)))
    return replace(bundle, data=buffer.getvalue())
