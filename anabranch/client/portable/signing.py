"""Signatures of portable bundles, by Ed25519 keys.

A signature is a manifest that refers to the bundle, with two layers. The first signs the digest of
the bundle's code, which pins all models, and is what engines ask for (``bundle.signing``). The
second is the provenance in an envelope of DSSE
(https://github.com/secure-systems-lab/dsse/blob/master/protocol.md), whose subject is the bundle as
a whole: so who has built it, when, and of which commit is signed too.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.client.bundle.keys import is_by, key_id, read_keys, read_private_key
from anabranch.client.bundle.signing import SIZE, text_to_sign
from anabranch.client.portable.bundle import PortableBundle, open_bundle
from anabranch.client.portable.formats import (
    CODE_SIGNATURE_TYPE,
    ENVELOPE_TYPE,
    PROVENANCE_TYPE,
    SIGNATURE_TYPE,
    ImageManifest,
    canonical,
)
from anabranch.client.portable.making import BundleDraft
from anabranch.client.portable.provenance import Build, build_in
from anabranch.errors import Forbidden, InvalidRequest

if TYPE_CHECKING:  # it takes a while to import, and most never need it
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


@dataclass(frozen=True)
class VerifiedSignature:
    """A signature by a known key: the key's ``key_id``, and what it says of the build."""

    key: str
    build: Build


def signed(draft: BundleDraft, code: str, key: Path) -> BundleDraft:
    """Return a bundle with one more signature; ``code`` is the digest of its code.

    InvalidRequest where the file holds no Ed25519 private key in PEM, or nothing says who has built
    the bundle.
    """
    private = read_private_key(key)
    payload = _provenance(draft)
    signature = {
        "keyid": key_id(private.public_key()),
        "sig": b64encode(private.sign(_encoded(payload))).decode(),
    }
    envelope = {
        "payloadType": PROVENANCE_TYPE,
        "payload": b64encode(payload).decode(),
        "signatures": [signature],
    }
    layers = [
        (CODE_SIGNATURE_TYPE, private.sign(text_to_sign(code))),
        (ENVELOPE_TYPE, canonical(envelope)),
    ]
    return draft.with_referrer(SIGNATURE_TYPE, layers)


def _provenance(draft: BundleDraft) -> bytes:
    for referrer in draft.referrers:
        if referrer.artifact_type == PROVENANCE_TYPE:
            content = draft.content(referrer.layers[0])
            build_in(json.loads(content), draft.bundle)
            return content
    raise InvalidRequest("the bundle has no provenance, and so nothing of its build to sign")


def _encoded(payload: bytes) -> bytes:
    """Return the text that an envelope's signature signs (PAE, the pre-authentication encoding)."""
    kind = PROVENANCE_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign(path: Path, key: Path) -> PortableBundle:
    """Add a signature to the bundle in a file, which is replaced in one step; raise as ``signed``.

    A signature by the same key that is there already is not made twice.
    """
    bundle = open_bundle(path)
    draft = signed(BundleDraft.of(bundle), bundle.manifest.code, key)
    draft.write(path)
    return open_bundle(path)


def code_signatures(bundle: PortableBundle) -> list[bytes]:
    """Return the signatures of the code, which engines ask for."""
    found = [bundle.content(one.layers[0]) for one in _signatures(bundle)]
    return [one for one in dict.fromkeys(found) if len(one) == SIZE]


def signature_count(bundle: PortableBundle) -> int:
    """Return the number of signatures of a bundle, whoever has made them."""
    return len(_signatures(bundle))


def verified(bundle: PortableBundle, keys: Path) -> list[VerifiedSignature]:
    """Return the signatures by the public keys in a file, in PEM one after the other.

    Forbidden where there is none, InvalidRequest where the file holds no keys.
    """
    try:
        trusted = read_keys(keys)
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
    found = [one for each in _signatures(bundle) for one in _verified(bundle, each, trusted)]
    if not found:
        count = signature_count(bundle)
        there = (
            f"of the {count} signatures of {bundle.path} none is"
            if count
            else (f"{bundle.path} has no signature, and so none")
        )
        raise Forbidden(f"{there} by a key in {keys}")
    return found


def _signatures(bundle: PortableBundle) -> list[ImageManifest]:
    return [one for one in bundle.contents.referrers if one.artifact_type == SIGNATURE_TYPE]


def _verified(
    bundle: PortableBundle, signature: ImageManifest, trusted: Sequence[Ed25519PublicKey]
) -> Iterator[VerifiedSignature]:
    """Yield the signature, if both of its parts are by one and the same trusted key."""
    code = signature.layer(CODE_SIGNATURE_TYPE)
    envelope = signature.layer(ENVELOPE_TYPE)
    if code is None or envelope is None:
        return
    text = text_to_sign(bundle.manifest.code)
    payload, signatures = _opened(bundle.content(envelope))
    for key in trusted:
        is_signed = any(is_by(key, one, _encoded(payload)) for one in signatures)
        if is_signed and is_by(key, bundle.content(code), text):
            build = build_in(json.loads(payload), bundle.contents.bundle)
            yield VerifiedSignature(key_id(key), build)


def _opened(envelope: bytes) -> tuple[bytes, list[bytes]]:
    """Return the payload and the signatures of an envelope; none where it is malformed."""
    try:
        found: dict[str, Any] = json.loads(envelope)
        signatures = [b64decode(one["sig"], validate=True) for one in found["signatures"]]
        return b64decode(found["payload"], validate=True), signatures
    except (KeyError, TypeError, ValueError):
        return b"", []
