"""Stop sequences: a text ends where the first of them is complete, whatever pieces it comes in."""

from __future__ import annotations

from collections.abc import Iterable


class StopScanner:
    """Lets pieces of one text through up to the first stop sequence, which it leaves out.

    That is the sequence whose last character comes first; of several that end there, the longest.
    What may be the beginning of one is held until it is known.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(stops)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self.stopped = False
        """Whether a sequence was found: all further text is left out."""

    def push(self, piece: str) -> str:
        """Return the text that may go out once a piece has come."""
        if self.stopped or not self._stops:
            return "" if self.stopped else piece
        text = self._held + piece
        found = [(text.find(stop), len(stop)) for stop in self._stops]
        ends = [(at + length, at) for at, length in found if at >= 0]
        if ends:
            self.stopped, self._held = True, ""
            return text[: min(ends)[1]]
        cut = len(text) - self._overlap(text)
        self._held = text[cut:]
        return text[:cut]

    def flush(self) -> str:
        """Return what was held, since the text has ended."""
        held, self._held = self._held, ""
        return held

    def _overlap(self, text: str) -> int:
        """Return the length of the longest end of a text that is the beginning of a sequence."""
        most = min(self._longest - 1, len(text))
        for length in range(most, 0, -1):
            end = text[-length:]
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0
