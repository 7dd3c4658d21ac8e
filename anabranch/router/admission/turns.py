"""How many requests wait for the event loop, and whether more come than it can take; pure.

Work on the loop itself does not wait among the requests in progress, but in sockets. A loop takes
requests that have come, works on them, and then looks for more: that is a turn. How many wait is
told by the edge, which counts all of them, and else by how many a turn takes. There is overload
where that number grows, by more than chance explains, and goes on to grow, as in ``backlog``: where
each client waits for its answer before it asks again, it does not. It is looked at more often than
there, lest clients run out of connections before: from then on, they are such clients.
"""

from __future__ import annotations

from math import inf

from anabranch.router.admission.backlog import INTERVAL, SIGMAS
from anabranch.router.admission.ceiling import ENOUGH, FEWEST, GAIN

TARGET = 0.002
"""Seconds that the requests of a turn may take under overload, if they are more than the limit."""
IDLE = 0.005
"""Seconds between two turns, if not half of the last one, in which the loop had nothing to do."""
LOOK = INTERVAL / 4
"""Seconds that a look takes at least; an overload grows in each of several, for ``INTERVAL``."""
WINDOW, FEW = 1.0, 10
"""Overload is over once, for so many seconds, fewer than one of so many requests are refused."""
LONGEST = 60.0
"""Seconds after which an overload has to show again."""
SHORT, SKIPPED = 0.001, 16
"""Behind a turn that took less than so many seconds, so many requests are not looked at."""
ON_THE_WAY = 1
"""Requests on their way between the edge and the loop at least, beside those that keep it busy."""
SPARE, NO_SPARE = 0.1, 0.02
"""Shares of a window with nothing to do for the loop from which on more are on their way, and
below which fewer are. Under a small overload it has little to do now and then, by chance."""
CUSHION = 0.01
"""Most requests on their way, in seconds that the loop takes to answer them."""


class Turns:
    """The turns of one event loop, as far as requests of one graph fill them.

    A turn begins with its first request, has ``polled`` once all that had come have begun, and ends
    with the next one's first request, or when the loop has nothing to do. Times are in seconds on
    one monotonic clock.
    """

    __slots__ = (
        "_began", "_edge_refused", "_ended", "_growing", "_has_polled", "_idle", "_inside", "_last",
        "_offered", "_on_the_way", "_refused", "_served", "_since", "_skip", "_taken", "_told",
        "_until", "_waited", "is_pressed", "rate",
    )  # fmt: skip

    def __init__(self) -> None:
        self.is_pressed = False
        """Whether there is overload."""
        self.rate = 0.0
        """Requests that the loop answers in a second, under overload."""
        self._began: float | None = None
        self._has_polled = False
        self._taken = 0
        """Requests that this turn has let in."""
        self._inside = self._told = 0
        """Requests in progress when it began, and the most that the edge has counted since."""
        self._ended = -inf
        self._last = 0.0
        """Seconds of the last turn."""
        self._since, self._waited, self._served = -inf, 0, 0
        """When a look began, how many waited then, and how many were taken since."""
        self._growing: float | None = None
        """When the first look began at whose end more waited, as at those of all since."""
        self._offered = self._refused = self._skip = 0
        self._until, self._edge_refused = 0.0, -inf
        self._idle, self._on_the_way = 0.0, ON_THE_WAY
        """Seconds of a window in which nothing was in progress; requests on their way."""

    def begins(self, now: float, inside: int) -> bool:
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
        self._began, self._taken, self._inside = now, 1, inside
        if not inside:
            self._idle += now - self._ended
        return True

    def polled(self) -> None:
        """Note that all requests that had come have begun: the next one is of the next turn."""
        self._has_polled = self._began is not None

    def told(self, in_flight: int) -> None:
        """Note how many requests the edge has sent to this router that are not answered yet."""
        self._told = max(self._told, in_flight)

    def ends(self, now: float) -> None:
        """Note the end of a turn, if it has not ended yet."""
        if self._began is None or not self._has_polled:
            return
        began, took = self._began, now - self._began
        was_idle = began - self._ended > max(IDLE, self._last / 2)
        waiting = max(self._taken, self._told - self._inside)
        is_told = self._told > 0
        self._began = None
        self._has_polled, self._told = False, 0
        self._ended, self._last = now, took
        self._served += self._taken
        if self.is_pressed:
            self._look(now)
        elif not is_told and (was_idle or took < SHORT):
            self._skip = SKIPPED if took < SHORT else 0
            self._begin(now, waiting)
        else:
            self._compare(now, waiting)

    def limit(self, unloaded: float) -> int:
        """Return how many requests may be in progress at the router under overload.

        ``unloaded``: seconds that a request takes without any; Little's law, as in ``ceiling``.
        """
        return max(FEWEST, int(GAIN * self.rate * unloaded)) + self._on_the_way

    def refuses(self, now: float, unloaded: float) -> bool:
        """Return whether a request is one too many for its turn, under overload; note it."""
        if self._has_polled:
            self.ends(now)
        if self._began is None or self._taken < max(self.limit(unloaded), TARGET * self.rate):
            return False
        self._offered += 1
        self._refused += 1
        return True

    def edge_refuses(self, now: float) -> None:
        """Note that the edge refuses many requests, so that there still is overload."""
        self._edge_refused = now

    def _begin(self, now: float, waiting: int) -> None:
        """Look anew: the queue is short."""
        self._since, self._waited, self._served = now, waiting, 0
        self._growing = None

    def _compare(self, now: float, waiting: int) -> None:
        """See whether more wait than when the look began."""
        grown, seconds = waiting - self._waited, now - self._since
        if waiting <= FEWEST or grown <= -ENOUGH:
            self._begin(now, waiting)
            return
        chance = SIGMAS**2 * (2 * self._served + grown)
        if seconds < LOOK or grown <= 0 or grown**2 <= chance:
            return
        growing, rate, began = self._growing, self._served / seconds, self._since
        self._begin(now, waiting)
        self._growing = began if growing is None else growing
        if growing is not None and now - growing >= INTERVAL:
            self.is_pressed, self._skip = True, 0
            self.rate = rate
            self._until = now + LONGEST
            self._begin_window(now)

    def _begin_window(self, now: float) -> None:
        self._offered = self._refused = self._served = 0
        self._since, self._idle = now, 0.0

    def _look(self, now: float) -> None:
        """Under overload: see now and then whether nearly all requests could be let in."""
        seconds = now - self._since
        if seconds < WINDOW:
            return
        is_refusing = FEW * self._refused >= self._offered or now - self._edge_refused < WINDOW
        if now >= self._until or not is_refusing:
            self.is_pressed = False
            self._begin(now, 0)
            return
        self.rate += 0.25 * (self._served / seconds - self.rate)
        self._fill(self._idle / seconds)
        self._begin_window(now)

    def _fill(self, idle: float) -> None:
        """Have more on their way where the loop was idle for a share of the window, else fewer.

        An edge that waits for a processor itself is slow to send the next one.
        """
        most = max(ON_THE_WAY, int(CUSHION * self.rate))
        step = 1 + self._on_the_way // 2 if idle > SPARE else -(idle < NO_SPARE)
        self._on_the_way = min(most, max(ON_THE_WAY, self._on_the_way + step))
