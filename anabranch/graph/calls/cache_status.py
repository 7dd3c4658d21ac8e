"""How caches have handled a request, as ``Cache-Status`` tells it (RFC 9211).

Each member of the header is a cache: ``anabranch`` that of the graph, ``anabranch/<node>`` that of
a node. ``hit; ttl=42`` came from the cache and is good for 42 seconds more; ``fwd=miss`` was
evaluated, and then kept if ``stored``; ``fwd=miss; collapsed`` is the answer to the same question
that somebody else had asked just before; ``fwd=request`` was evaluated since the request wants so.
"""

from __future__ import annotations

from collections.abc import Mapping

GRAPH = ""
"""Name of the cache of a whole graph, beside those of nodes."""
HEADER = "cache-status"
MISS = "fwd=miss"
COLLAPSED = "fwd=miss; collapsed"
BYPASS = "fwd=request"


def hit(seconds: float) -> str:
    """Return the status of an answer that is kept for so many seconds more."""
    return f"hit; ttl={int(seconds)}"


def stored(status: str) -> str:
    """Return the status of an answer that was made now, and is kept from now on."""
    return f"{status}; stored"


def is_kept(caches: Mapping[str, str]) -> bool:
    """Return whether the answer of a graph was made for another request."""
    own = caches.get(GRAPH, "")
    return own.startswith("hit") or own == COLLAPSED


def header_of(caches: Mapping[str, str]) -> str:
    """Return the value of the header; the cache that is closest to the client comes last."""
    names = sorted(caches, reverse=True)
    return ", ".join(f"anabranch{f'/{name}' if name else ''}; {caches[name]}" for name in names)
