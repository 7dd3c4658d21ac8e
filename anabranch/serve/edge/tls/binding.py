"""HAProxy's words for TLS on its ports.

TLS 1.2 with forward secrecy and authenticated encryption only (RFC 9325, 4.2), and TLS 1.3. Where
clients have certificates no session is resumed: a resumed one would know its client by a CA that
has been replaced since.
"""

from __future__ import annotations

from anabranch.serve.edge.tls.in_force import CLIENT_CA, LINK, SERVER, InForce

HANDSHAKE_S = 3600
"""Time that a connection for gRPC may be silent, in seconds, from before its first call and with
open calls. HAProxy 2.8 has one time for both; without TLS it needs none."""
_CIPHERS = ":".join(
    f"ECDHE-{key}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for key in ("ECDSA", "RSA")
)


def terms(in_force: InForce | None) -> list[str]:
    """Return the lines that hold for all ports."""
    if in_force is None:
        return []
    tickets = " no-tls-tickets" if in_force.verifies else ""
    return [
        f"ssl-default-bind-options ssl-min-ver TLSv1.2{tickets}",
        f"ssl-default-bind-ciphers {_CIPHERS}",
        *(["tune.ssl.cachesize 0"] if in_force.verifies else []),
    ]


def bound(protocol: str, in_force: InForce | None) -> str:
    """Return what a port is bound with, for a protocol by its ALPN id (RFC 7301); or nothing."""
    if in_force is None:
        return ""
    verify = f" ca-file {LINK}/{CLIENT_CA} verify optional" if in_force.verifies else ""
    return f" ssl crt {LINK}/{SERVER} alpn {protocol}{verify}"
