"""Progress of a download, logged every few seconds."""

from __future__ import annotations

import logging
import time

from anabranch.components.artefacts.sources import shown_size

logger = logging.getLogger("anabranch.artefacts")

_EVERY_S = 5.0


class TransferProgress:
    """Logs bytes, share and rate of what is counted; ``total`` is None where it is not known."""

    def __init__(self, what: str, total: int | None) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._fresh = 0
        self._started = self._told = time.monotonic()

    def skip(self, size: int) -> None:
        """Count bytes that were there already."""
        self._done += size

    def add(self, size: int) -> None:
        """Count bytes that came."""
        self._done += size
        self._fresh += size
        if self._is_due():
            logger.info("%s: %s", self._what, self.text())

    def waiting(self) -> None:
        """Say that another process does the work."""
        if self._is_due():
            logger.info("%s: waiting for another process that downloads it", self._what)

    def done(self) -> None:
        """Say that all is here."""
        logger.info("%s: here, %s", self._what, self.text())

    def text(self) -> str:
        """Return what came so far, and how fast."""
        rate = shown_size(self._fresh / max(time.monotonic() - self._started, 1e-3))
        if self._total is None:
            return f"{shown_size(self._done)}, {rate}/s"
        share = self._done / self._total if self._total else 1.0
        return f"{shown_size(self._done)} of {shown_size(self._total)} ({share:.0%}), {rate}/s"

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now - self._told < _EVERY_S:
            return False
        self._told = now
        return True
