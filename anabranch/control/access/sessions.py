"""Sessions of the console: what a browser is given for a key, so that it never keeps the key.

A session has two random halves. One is a cookie that no script reads, the other one belongs to the
page, whose origin alone can read it, and travels in a header. Browsers send cookies to every port
of a host; whoever gets one there, or makes a browser send it, lacks the other half. Sessions live
in the controller's memory, as digests, and end with it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf

from anabranch.access.keys import digest_of
from anabranch.access.table import KnownKey

SESSION_S = 12 * 3600.0
"""Longest time that a session lasts."""
MOST_OF_KEY = 16
"""Sessions of one key at a time; a further one ends the oldest of them."""
MOST = 1024
"""Sessions at a time; a further one ends the oldest."""
_BYTES = 32


@dataclass(frozen=True)
class _Session:
    key: str
    """Digest of the key that it is of."""
    ends: float


class Sessions:
    """The sessions that last. For one thread; ``clock`` gives Unix time."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._kept: dict[str, _Session] = {}
        """By digest, oldest first."""

    def begin(self, key: str, known: KnownKey) -> tuple[str, str]:
        """Begin a session of the key with a digest; return its two halves.

        It ends with the key at the latest.
        """
        now = self._clock()
        self._kept = {digest: one for digest, one in self._kept.items() if one.ends > now}
        own = [digest for digest, one in self._kept.items() if one.key == key]
        self._end_oldest(own, MOST_OF_KEY)
        self._end_oldest(list(self._kept), MOST)
        cookie, csrf = (secrets.token_urlsafe(_BYTES) for _ in range(2))
        ends = min(now + SESSION_S, inf if known.expires_at is None else known.expires_at)
        self._kept[digest_of(shown_as(cookie, csrf))] = _Session(key, ends)
        return cookie, csrf

    def end(self, shown: str) -> None:
        """End a session; what is none changes nothing."""
        self._kept.pop(digest_of(shown), None)

    def known(self, keys: Mapping[str, KnownKey]) -> dict[str, KnownKey]:
        """Return whose the sessions are, by their digests; those of other keys than ``keys`` end.

        A session acts as its key's identity.
        """
        self._kept = {digest: one for digest, one in self._kept.items() if one.key in keys}
        return {
            digest: KnownKey(keys[one.key].identity, one.ends) for digest, one in self._kept.items()
        }

    def _end_oldest(self, digests: list[str], most: int) -> None:
        for digest in digests[: max(0, len(digests) - most + 1)]:
            del self._kept[digest]


def shown_as(cookie: str, csrf: str) -> str:
    """Return the bearer token that the halves of a session are together."""
    return f"{cookie}.{csrf}"
