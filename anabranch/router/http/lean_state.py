"""The state that the connections of one lean server share."""

from __future__ import annotations

import time
from email.utils import formatdate

from uvicorn.server import ServerState


class LeanState(ServerState):
    """Uvicorn's state of a server, with a date that needs no timer."""

    def __init__(self) -> None:
        super().__init__()
        self.closing = False
        """Whether connections end with the request that is at work."""
        self._second = 0

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers of every reply: its date (RFC 9110, 6.6.1)."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self.default_headers = [(b"date", formatdate(second, usegmt=True).encode())]
        return self.default_headers
