"""How long requests wait for the event loop, and whether more come than it can take; pure.

Work on the loop itself does not wait among the requests in progress, but in sockets. A loop takes
all requests that have come, works on them, and then looks for more: that is a turn. So what comes
meanwhile waits for the whole turn. There is overload where turns become longer and longer: where
each client waits for its answer before it asks again, they do not. Under overload a turn takes no
more requests than it can answer within ``TARGET``.
"""

from __future__ import annotations

from math import inf

TARGET = 0.002
"""Seconds that the requests of a turn may take under overload; at least one is let in."""
IDLE = 0.005
"""Seconds between two turns, if not half of the last one, in which the loop had nothing to do."""
GROWTH, GROWN, FLAT = 1.3, 4, 2
"""There is overload once ``GROWN`` turns each took ``GROWTH`` times as long as the one before, with
fewer than ``FLAT`` in a row that did not,"""
LONG, LONGER = 0.05, 3
"""and the last one took so many seconds, and so many times as long as the first one;"""
LONGEST_TURN = 1.0
"""or once a turn takes so many seconds."""
WINDOW, FEW = 0.25, 6
"""Overload is over once, for so many seconds, fewer than one of so many requests are refused."""
LONGEST = 20.0
"""Seconds after which an overload has to show again."""
SHORT, SKIPPED = 0.001, 16
"""Behind a turn that took less than so many seconds, so many requests are not looked at."""


class Turns:
    """The turns of one event loop, as far as requests of one graph fill them.

    A turn begins with its first request, has ``polled`` once all that had come have begun, and ends
    with the next one's first request, or when the loop has nothing to do. Times are in seconds on
    one monotonic clock.
    """

    __slots__ = (
        "_began", "_cost", "_ended", "_first", "_flat", "_grown", "_has_polled", "_last",
        "_offered", "_refused", "_since", "_skip", "_taken", "_until", "is_pressed",
    )  # fmt: skip

    def __init__(self) -> None:
        self.is_pressed = False
        """Whether there is overload."""
        self._began: float | None = None
        self._has_polled = False
        self._taken = 0
        """Requests that this turn has let in."""
        self._cost = 0.0
        """Seconds that each of them takes."""
        self._ended = -inf
        self._last = self._first = 0.0
        """Seconds of the last turn, and of the first one of those that became longer."""
        self._grown = self._flat = 0
        """How many became longer, and how many in a row did not."""
        self._offered = self._refused = self._skip = 0
        self._since = self._until = 0.0

    def begins(self, now: float) -> bool:
        """Note a request that is let in; return whether it is the first one of its turn."""
        self._offered += 1
        if self._has_polled:
            self.ends(now)
        if self._began is not None:
            self._taken += 1
            return False
        if self._skip:
            self._skip -= 1
            return False
        self._began, self._taken = now, 1
        if now - self._ended > max(IDLE, self._last / 2):
            self._last, self._grown, self._flat = 0.0, 0, 0
        return True

    def polled(self) -> None:
        """Note that all requests that had come have begun: the next one is of the next turn."""
        self._has_polled = self._began is not None

    def ends(self, now: float) -> None:
        """Note the end of a turn, if it has not ended yet."""
        if self._began is None or not self._has_polled:
            return
        took = now - self._began
        self._began, self._has_polled, self._ended = None, False, now
        if self.is_pressed:
            self._look(now, took)
            return
        if took < SHORT:
            self._skip = SKIPPED
        self._compare(took)
        if self._has_grown(took) or took >= LONGEST_TURN:
            self.is_pressed = True
            self._cost = took / self._taken
            self._until = now + LONGEST
            self._begin_window(now)

    def refuses(self, now: float) -> bool:
        """Return whether a request is one too many for its turn, under overload; note it."""
        if self._has_polled:
            self.ends(now)
        if self._began is None or (self._taken + 1) * self._cost <= TARGET:
            return False
        self._offered += 1
        self._refused += 1
        return True

    @property
    def rate(self) -> float:
        """Requests that the loop can answer in a second, under overload."""
        return 1 / self._cost

    def _compare(self, took: float) -> None:
        """Count a turn as one that was longer than the last, or as an exception."""
        if took > GROWTH * self._last:
            self._grown, self._flat = self._grown + 1, 0
        else:
            self._flat += 1
        if self._flat >= FLAT:
            self._grown = 0
        if self._grown <= 1:
            self._first = took
        self._last = took

    def _has_grown(self, took: float) -> bool:
        is_long = took >= max(LONG, LONGER * self._first)
        return is_long and self._grown >= GROWN and not self._flat

    def _begin_window(self, now: float) -> None:
        self._offered, self._refused, self._since = 0, 0, now

    def _look(self, now: float, took: float) -> None:
        """Under overload: see now and then whether nearly all requests could be let in."""
        if now - self._since < WINDOW:
            return
        if now >= self._until or FEW * self._refused < self._offered:
            self.is_pressed = False
            self._last = self._first = took
            self._flat = 0
            self._grown = GROWN - 2  # where there still is overload, it shows within two turns
        self._begin_window(now)
