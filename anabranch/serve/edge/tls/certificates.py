"""The files of a certificate, its key and the clients' authorities: read and checked.

PEM as in RFC 7468, certificates as in RFC 5280. A certificate's file begins with the certificate of
the server; those of intermediate authorities may follow, in the order of the chain.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509 import Certificate, load_pem_x509_certificates

from anabranch.errors import EngineError

MAX_BYTES = 32 * 2**10
"""Most bytes of a file: HAProxy takes a replacement only if it fits into one buffer."""
SOON = timedelta(days=14)
"""Time before the end of a certificate from which it is told that it ends."""
_PUBLIC = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
_END = "-----END CERTIFICATE-----\n"


@dataclass(frozen=True)
class TlsFiles:
    """The files that ``anabranch up`` was given; ``client_ca`` has clients' authorities."""

    cert: Path
    key: Path
    client_ca: Path | None = None

    def contents(self) -> tuple[bytes, ...]:
        """Return the bytes of the files; EngineError for one that cannot be read, or is too big."""
        named = {"certificate": self.cert, "key": self.key, "client CA": self.client_ca}
        return tuple(_read(what, path) for what, path in named.items() if path is not None)


@dataclass(frozen=True)
class Certificates:
    """PEM of the chain, of its key, and of the clients' authorities (empty for none)."""

    chain: str
    key: str = field(repr=False)
    client_ca: str
    ends: datetime
    """When the server's certificate ends."""

    @property
    def server(self) -> str:
        """The server's own certificate, the first of the chain."""
        return each_of(self.chain)[0]


def load(files: TlsFiles, now: datetime | None = None) -> Certificates:
    """Read and check the files; EngineError names the file that is not what it must be.

    The key must be that of the certificate, unencrypted, and closed to other users; the certificate
    must be valid ``now``.
    """
    chain_pem, key_pem, *ca_pem = files.contents()
    _require_private(files.key)
    chain = _certificates("certificate", files.cert, chain_pem)
    key, public = _key(files.key, key_pem)
    if public != chain[0].public_key().public_bytes(*_PUBLIC):
        raise EngineError(
            f"key {files.key} does not fit certificate {files.cert}: its first certificate,"
            f" {_name(chain[0])}, has another public key"
        )
    _require_valid(files.cert, chain[0], now or datetime.now(UTC))
    authorities = [
        one
        for path, pem in zip([files.client_ca], ca_pem, strict=False)
        if path is not None
        for one in _certificates("client CA", path, pem)
    ]
    return Certificates(_pem(chain), key, _pem(authorities), chain[0].not_valid_after_utc)


def end_of(pem: str) -> datetime:
    """Return when the first certificate of a PEM text ends."""
    return load_pem_x509_certificates(pem.encode())[0].not_valid_after_utc


def each_of(pem: str) -> list[str]:
    """Return the certificates of a PEM text that holds nothing else, as texts."""
    return [one + _END for one in pem.split(_END)[:-1]]


def moment(when: datetime) -> str:
    """Return a time as people read it."""
    return f"{when:%Y-%m-%d %H:%M} UTC"


def _read(what: str, path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise EngineError(f"{what} {path} is no file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise EngineError(f"{what} {path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise EngineError(f"{what} {path} is over the limit of {MAX_BYTES} bytes")
    return content


def _require_private(key: Path) -> None:
    mode = stat.S_IMODE(key.stat().st_mode)
    if mode & stat.S_IRWXO:
        raise EngineError(f"key {key} is open to other users (mode {mode:o}): chmod o= {key}")


def _certificates(what: str, path: Path, pem: bytes) -> list[Certificate]:
    try:
        return load_pem_x509_certificates(pem)
    except ValueError as error:
        raise EngineError(f"{what} {path} holds no certificates in PEM: {error}") from None


def _key(path: Path, pem: bytes) -> tuple[str, bytes]:
    """Return a key as PEM of PKCS #8 (RFC 5958), and its public key."""
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:
        raise EngineError(f"key {path} is encrypted; give one without a passphrase") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise EngineError(f"key {path} holds no private key in PEM: {error}") from None
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return text, key.public_key().public_bytes(*_PUBLIC)


def _require_valid(path: Path, certificate: Certificate, now: datetime) -> None:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    what = f"certificate {path} of {_name(certificate)}"
    if now >= ends:
        raise EngineError(f"{what} expired on {moment(ends)}")
    if now < begins:
        raise EngineError(f"{what} is not valid before {moment(begins)}")


def _name(certificate: Certificate) -> str:
    return certificate.subject.rfc4514_string() or "an unnamed server"


def _pem(certificates: Sequence[Certificate]) -> str:
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in certificates)
