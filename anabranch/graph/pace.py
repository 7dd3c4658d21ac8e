"""Where a synchronous component runs: on the event loop, or in a thread.

A call on the loop costs microseconds less but blocks every other request while it lasts, so only
components that are known to be fast run there. Each starts in threads, moves to the loop after a
few fast calls in a row, and goes back once it has twice been slow within a second. (Once may be
the scheduler's doing.) Each time it goes back it must be fast for longer before it may return.

The decision is a pure function of the durations and times handed in.
"""

from __future__ import annotations

FAST = 0.0005
"""A call up to this many seconds counts as fast."""
SLOW = 0.002
"""A call on the loop that takes longer than this many seconds is held against the component."""
WINDOW = 1.0
"""Two slow calls within this many seconds send a component back to threads."""
FIRST_STREAK = 3
LONGEST_STREAK = 1024


class Pace:
    """Decides, call by call, whether one component runs ``inline``."""

    __slots__ = ("_needed", "_slow_at", "_streak", "inline")

    def __init__(self) -> None:
        self.inline = False
        self._streak = 0
        self._needed = FIRST_STREAK
        self._slow_at = float("-inf")

    def in_thread(self, seconds: float, others_running: bool) -> bool:
        """Note a call that ran in a thread; True if the component moves to the loop.

        It never moves while ``others_running`` says that further calls are still in threads: a
        component is not to run in two places at once.
        """
        self._streak = self._streak + 1 if seconds <= FAST else 0
        if self._streak >= self._needed and not others_running:
            self.inline = True
        return self.inline

    def on_loop(self, seconds: float, now: float) -> bool:
        """Note a call on the loop that ended at ``now``; True if it moves back to threads."""
        if seconds <= SLOW:
            return False
        if now - self._slow_at <= WINDOW:
            self.inline = False
            self._streak = 0
            self._needed = min(2 * self._needed, LONGEST_STREAK)
        self._slow_at = now
        return not self.inline
