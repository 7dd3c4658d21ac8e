"""Which arm a key belongs to, with no state: weighted rendezvous hashing.

An arm is a revision of a graph, or a route of a router node. Every arm draws a number from the
key, and the key goes to the arm whose number, divided by its weight, is the least. The numbers
depend on nothing but the key and the arm, so all replicas agree, also after a restart; and since
the number of an arm falls as its weight rises, raising a weight moves keys to that arm only, and no
more than its new share. Whatever the weights, a common factor changes nothing.

Rendezvous (highest random weight) hashing is by Thaler and Ravishankar, "Using name-based mappings
to increase hit rates", IEEE/ACM Transactions on Networking 6(1), 1998. The score -ln(u) / w, which
makes shares exactly proportional to weights, is by Schindelhauer and Schomaker, "Weighted
distributed hash tables", SPAA 2005.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Generic, TypeVar

K = TypeVar("K", int, str)

_BITS = 52
"""So many and a half are what a float holds exactly."""


class Rendezvous(Generic[K]):
    """Assigns keys to arms, given as revision or route and weight; arms of weight 0 get none.

    Two assignments of other ``salt`` are independent of each other, also where arms have the same
    names. At least one weight is above 0.
    """

    def __init__(self, weights: Mapping[K, float], salt: str = "") -> None:
        # A power of two scales exactly: scores compare alike, but neither over- nor underflow.
        _, exponent = math.frexp(max(weights.values()))
        arms = sorted((arm, math.ldexp(w, -exponent)) for arm, w in weights.items())
        self._arms: list[tuple[K, float, Any]] = [
            (arm, w, blake2b(f"{salt}{arm}:".encode(), digest_size=8)) for arm, w in arms if w
        ]

    def pick(self, key: str) -> K:
        """Return the arm that ``key`` belongs to; about a microsecond for two arms."""
        # JSON may hold lone surrogates.
        data = key.encode("utf-8", "surrogatepass")
        found, least = self._arms[0][0], math.inf
        for arm, weight, salted in self._arms:
            drawn = salted.copy()
            drawn.update(data)
            score = -math.log(_unit(drawn.digest())) / weight
            if score < least:
                found, least = arm, score
        return found


def _unit(digest: bytes) -> float:
    """A number strictly between 0 and 1, evenly distributed, of a digest of 64 bits."""
    return math.ldexp((int.from_bytes(digest, "big") >> (64 - _BITS)) + 0.5, -_BITS)
