"""Certificates of an authority of the tests, and TLS clients that show what they met.

They have all that Python 3.13 asks for (``ssl.VERIFY_X509_STRICT``).
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import (
    AuthorityKeyIdentifier,
    BasicConstraints,
    CertificateBuilder,
    DNSName,
    IPAddress,
    KeyUsage,
    Name,
    NameAttribute,
    SubjectAlternativeName,
    SubjectKeyIdentifier,
    load_der_x509_certificate,
    random_serial_number,
)
from cryptography.x509.oid import NameOID

from anabranch.serve.edge.tls.certificates import TlsFiles


class Authority:
    """Issues certificates; its own is in ``file``."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder, self._name = folder, _named(name)
        self._key = generate_private_key(SECP256R1())
        self.file = folder / f"{name}.pem"
        public = self._key.public_key()
        own = (
            self._certificate(self._name, public, timedelta(days=365))
            .add_extension(BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(KeyUsage(*(bit == 5 for bit in range(9))), critical=True)  # signs
            .add_extension(SubjectKeyIdentifier.from_public_key(public), critical=False)
        )
        self.file.write_bytes(own.sign(self._key, SHA256()).public_bytes(Encoding.PEM))

    def issue(
        self,
        name: str | None,
        *,
        file: str = "server",
        ends: timedelta = timedelta(days=90),
        begins: timedelta = timedelta(days=-1),
        addresses: Sequence[str] = ("127.0.0.1",),
    ) -> TlsFiles:
        """Write a new certificate of a common name, for localhost and addresses, and its key."""
        key = generate_private_key(SECP256R1())
        names = [DNSName("localhost"), *(IPAddress(ip_address(one)) for one in addresses)]
        issuer = AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        made = (
            self._certificate(_named(name), key.public_key(), ends, begins)
            .add_extension(SubjectAlternativeName(names), critical=name is None)
            .add_extension(issuer, critical=False)
        )
        found = TlsFiles(self._folder / f"{file}.pem", self._folder / f"{file}.key")
        _replace(found.cert, made.sign(self._key, SHA256()).public_bytes(Encoding.PEM))
        plain = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _replace(found.key, key.private_bytes(*plain))
        return found

    def _certificate(
        self,
        subject: Name,
        key: object,
        ends: timedelta,
        begins: timedelta = timedelta(days=-1),
    ) -> CertificateBuilder:
        now = datetime.now(UTC)
        return CertificateBuilder(
            self._name, subject, key, random_serial_number(), now + begins, now + ends
        )


def client(
    authority: Authority | None = None, own: TlsFiles | None = None, alpn: str = "http/1.1"
) -> ssl.SSLContext:
    """A context of a client that trusts an authority, or anybody, with a certificate or none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority is None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    else:
        context.load_verify_locations(authority.file)
    if own is not None:
        context.load_cert_chain(own.cert, own.key)
    context.set_alpn_protocols([alpn])
    return context


def name_at(port: int) -> str:
    """The common name in the certificate of the server at a port, on a new connection."""
    with (
        socket.create_connection(("127.0.0.1", port), 20) as plain,
        client().wrap_socket(plain) as tls,
    ):
        der = tls.getpeercert(binary_form=True)
    assert der is not None
    (name,) = load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(name.value)


def _named(name: str | None) -> Name:
    return Name([] if name is None else [NameAttribute(NameOID.COMMON_NAME, name)])


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_suffix(".draft")
    draft.write_bytes(content)
    draft.chmod(0o600)
    draft.replace(path)
