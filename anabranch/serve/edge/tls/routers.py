"""HAProxy's words for TLS to routers on other nodes, with the engine's certificates for nodes.

HAProxy takes certificates for servers that come at run time only from files that it has read at
its start. A server that is never asked has it read them.
"""

from __future__ import annotations

from pathlib import Path

from anabranch.router.between_nodes import AUTHORITY, NAME, NODE

LINK = "nodes"
"""Name in HAProxy's folder of a link to the folder of the certificates."""
_KEYWORDS = (
    f" ssl verify required ca-file {LINK}/{AUTHORITY} crt {LINK}/{NODE} verifyhost {NAME}"
    " ssl-min-ver TLSv1.3"
)


def far_keywords(nodes: Path | None) -> str:
    """Return what is said of each router that is reached by TCP; nothing without certificates."""
    return "" if nodes is None else _KEYWORDS


def read_at_start(nodes: Path | None) -> list[str]:
    """Return the lines of ``UNASKED_BACKEND``; none without certificates."""
    return [] if nodes is None else [f"server nobody 127.0.0.1:1{_KEYWORDS} disabled"]
