"""HAProxy's rules by which it tells who its clients are, in headers that no client can set.

A client's certificate names its owner by the first common name of its subject (RFC 5280, 4.1.2.6).
A name that no header could carry as it is, and a certificate without one, are refused: what was
refused here is nobody's name further on.
"""

from __future__ import annotations

from anabranch.router.http.headers import CLIENT_ADDRESS, CLIENT_NAME
from anabranch.serve.edge.counting import EdgeDoor, refused

UNNAMED = (
    "the subject of the certificate has no common name, or one that is not printable ASCII of 256 "
    "characters at most, without space around it"
)
_NAME = "ssl_c_s_dn(cn)"
_FIT = "^[!-~]([ -~]{0,254}[!-~])?$"


def client_rules(door: EdgeDoor, unnamed: str, verifies: bool) -> list[str]:
    """Return the rules of a frontend; ``unnamed`` is the reply to a certificate without a name.

    ``verifies`` tells whether clients may have certificates.
    """
    rules = [
        "http-request del-header anabranch- -m beg",
        f"http-request set-header {CLIENT_ADDRESS} %[src]",
    ]
    if verifies:
        rules += [
            *refused(
                door, "forbidden", unnamed, f"if {{ ssl_c_used }} !{{ {_NAME} -m reg '{_FIT}' }}"
            ),
            f"http-request set-header {CLIENT_NAME} %[{_NAME}] if {{ ssl_c_used }}",
        ]
    return rules
