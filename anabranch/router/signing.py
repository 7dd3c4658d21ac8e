"""Signatures under what a graph's replies tell, so that nobody can make it up (RFC 2104).

All routers of an engine get the same keys with their tables. They sign with the second newest, so
that one signs only once all have it.
"""

from __future__ import annotations

import hmac
import time
from binascii import b2a_base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from anabranch.errors import InvalidRequest

MAX_AGE_S = 30 * 86_400.0
"""How long a signature is good for, in seconds."""
_DOMAIN = b"anabranch routing 1"
"""Keeps signatures of one kind from being taken for another's."""


@dataclass(frozen=True)
class SigningKey:
    """A key of an engine's signatures; ``created_at`` is a Unix time."""

    id: str
    secret: bytes = field(repr=False)
    created_at: float


class Signatures:
    """Makes and checks signatures of one graph; ``keys`` are the newest first, at least one.

    ``clock`` gives Unix time.
    """

    def __init__(
        self, graph: str, keys: Sequence[SigningKey], clock: Callable[[], float] = time.time
    ) -> None:
        if not keys:
            raise ValueError(f"there is no key to sign for graph {graph!r} with")
        self._graph = graph
        self._clock = clock
        begin = b"%b\0%b\0" % (_DOMAIN, graph.encode())
        self._known = {key.id: hmac.new(key.secret, begin, "sha256") for key in keys}
        self.key = keys[:2][-1].id
        """The id of the key that signs."""
        self._signing = self._known[self.key]

    def now(self) -> int:
        """Return the time of a signature: Unix time in whole seconds."""
        return int(self._clock())

    def sign(self, text: bytes) -> str:
        """Return the signature of a text, in base64; about 2 us."""
        return _signature(self._signing, text).decode()

    def check(self, text: bytes, signature: str, key: str, made_at: int) -> None:
        """Raise InvalidRequest unless ``sign`` has made the signature of the text, not long ago.

        ``key`` and ``made_at`` are parts of the text.
        """
        known = self._known.get(key)
        if known is None:
            raise InvalidRequest(
                "the routing is signed with a key that this engine does not have: it is of "
                f"another engine, or older than {_DAYS:g} days"
            )
        if not hmac.compare_digest(_signature(known, text), signature.encode()):
            raise InvalidRequest(
                "the signature of the routing is wrong: it was changed, or is of another graph "
                f"than {self._graph!r}"
            )
        if self._clock() - made_at > MAX_AGE_S:
            raise InvalidRequest(
                f"the routing is older than {_DAYS:g} days, so it takes no rewards any more"
            )


_DAYS = MAX_AGE_S / 86_400


def _signature(begun: hmac.HMAC, text: bytes) -> bytes:
    mac = begun.copy()
    mac.update(text)
    return b2a_base64(mac.digest(), newline=False)
