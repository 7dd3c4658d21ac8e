"""The certificate authority of an engine: one certificate for all its nodes, and then no more.

The authority's key signs that certificate and is forgotten, so nobody can have another one made.
All nodes show the same: whoever runs a node runs code for the engine anyway. Both certificates are
made anew at each start of the engine and hold until the end of it, whatever the clocks of its
machines say: they have no end that anybody knows (RFC 5280, 4.1.2.5).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from anabranch.files import disk_errors, replace_file
from anabranch.router.between_nodes import AUTHORITY, NAME, NODE, NODE_TLS

FOLDER = "nodes"
"""Name of the certificates' folder in the home of an engine, and of each node."""
_BEGIN, _END = datetime(2000, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
_SIGNS = x509.KeyUsage(*(bit == 5 for bit in range(9)))
"""An authority's only use: to sign certificates, which is bit 5 (RFC 5280, 4.2.1.3)."""


def make_certificates(home: Path) -> None:
    """Make a new authority and the nodes' certificate; StorageError where the home takes none."""
    key, node_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "anabranch engine")])
    authority = (
        _certificate(issuer, key.public_key(), issuer)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_SIGNS, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    node = (
        _certificate(subject, node_key.public_key(), issuer)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(issuer_key, critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = node_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = node.public_bytes(Encoding.PEM)
    write_certificates(
        home, {AUTHORITY: authority.public_bytes(Encoding.PEM), NODE: chain + secret}
    )


def cluster_certificates(home: Path) -> dict[str, bytes]:
    """Return the files of an engine by their names: what a machine that joins must get.

    The machine gives them to ``write_certificates`` with its own home, before it starts Ray, and
    all its processes get ``certificates_environment`` of that home. They hold a private key: they
    travel as the Ray token does, to those who may have that. None of an engine on loopback.
    """
    return {path.name: path.read_bytes() for path in sorted((home / FOLDER).glob("*.pem"))}


def write_certificates(home: Path, files: Mapping[str, bytes]) -> None:
    """Keep the files in a home, readable for its owner alone; StorageError where it takes none."""
    folder = home / FOLDER
    with disk_errors(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
    for name in (AUTHORITY, NODE):
        replace_file(folder / name, files[name])


def certificates_environment(home: Path) -> dict[str, str]:
    """Return the variable by which the processes of a machine find the files in its home."""
    return {NODE_TLS: str(home / FOLDER)}


def remove_certificates(home: Path) -> None:
    """Remove the files, if there are any: their engine has ended, or has been left."""
    shutil.rmtree(home / FOLDER, ignore_errors=True)


def _certificate(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, issuer: x509.Name
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), _BEGIN, _END)
