"""Experience with batches: the largest safe size, and the speed of the component."""

from __future__ import annotations

import math

from anabranch.errors import AnabranchError

LONGEST_RETRY = 60
"""Most seconds after which a client is told to try again."""


class BatchOutcome:
    """The result of one batch, call by call."""

    __slots__ = ("_alike", "_exhausted", "_is_memory", "_last", "_succeeded", "failed")

    _ALIKE = 3

    def __init__(self) -> None:
        self.failed = False
        self._succeeded = False
        self._last = ""
        self._alike = 0
        self._exhausted: int | None = None
        self._is_memory = False

    def succeed(self) -> None:
        """Note a call that did not fail."""
        self._succeeded = True
        self._alike = 0

    def fail(self, requests: int, rows: int, error: AnabranchError) -> None:
        """Note a call for some requests that failed."""
        self.failed = True
        memory, text = is_out_of_memory(error), str(error)
        if requests > 1:
            if memory:
                self._exhausted = min(rows, self._exhausted or rows)
            return
        self._is_memory = self._is_memory or memory
        self._alike = self._alike + 1 if text == self._last else 1
        self._last = text

    @property
    def is_hopeless(self) -> bool:
        """Whether several requests in a row have failed alone and alike.

        Then halving has little left to find; the rest is called one by one.
        """
        return self._alike >= self._ALIKE

    @property
    def is_broken(self) -> bool:
        """Whether that is so and nothing succeeded: it seems to be the component's fault."""
        return self.is_hopeless and not self._succeeded

    @property
    def exhausted(self) -> int | None:
        """The rows of the smallest call that memory ran out for, if none failed so alone.

        A request that fails alone for want of memory says nothing about the size of batches.
        """
        return None if self._is_memory else self._exhausted


def is_out_of_memory(error: AnabranchError) -> bool:
    """Return whether memory ran out, in the words of Python, PyTorch, ONNX Runtime and others."""
    return isinstance(error.__cause__, MemoryError) or "out of memory" in str(error).lower()


class Room:
    """The most rows of a batch: ``most``, unless larger batches have failed as a whole.

    That is half of those for which memory ran out; it doubles again after some successes in a row,
    of which every fall makes it take twice as many. A component that seems to be broken gets single
    requests, no more calls than without batching; then each success doubles the room.
    """

    __slots__ = ("_most", "_needed", "_streak", "rows")

    _LONGEST = 256

    def __init__(self, most: int) -> None:
        self._most = most
        self._needed = 1
        self._streak = 0
        self.rows = most

    def learn(self, outcome: BatchOutcome) -> None:
        """Note a batch."""
        if outcome.is_broken:
            self.rows, self._streak = 1, 0
        elif outcome.exhausted is not None:
            self._fall(outcome.exhausted // 2)
        elif not outcome.failed and self.rows < self._most:
            self._grow()

    def _fall(self, rows: int) -> None:
        self.rows, self._streak = max(1, min(rows, self.rows)), 0
        self._needed = min(2 * self._needed, self._LONGEST)

    def _grow(self) -> None:
        self._streak += 1
        if self._streak >= self._needed:
            self.rows, self._streak = min(2 * self.rows, self._most), 0


class Service:
    """The speed of a component in rows: an average in which recent batches weigh most."""

    __slots__ = ("_rows", "_seconds")

    _KEPT = 0.9

    def __init__(self) -> None:
        self._rows = 0.0
        self._seconds = 0.0

    def note(self, rows: int, seconds: float) -> None:
        """Note a batch that took ``seconds``."""
        self._rows = self._rows * self._KEPT + rows
        self._seconds = self._seconds * self._KEPT + seconds

    def retry_after(self, rows: int, slots: int) -> int:
        """Whole seconds until ``rows`` are done in ``slots`` calls at a time; at least 1."""
        if not self._rows:
            return 1
        seconds = rows * self._seconds / self._rows / slots
        return max(1, min(math.ceil(seconds), LONGEST_RETRY))
