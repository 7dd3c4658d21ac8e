"""Decides where a synchronous component runs: on the event loop, or in a thread.

A call on the loop costs microseconds less but blocks every other request while it lasts, so only
components that are known to be fast run there. Each starts in threads, moves to the loop after a
few fast calls in a row, and goes back when it turns out to be slow. On a busy machine any call may
look slow, because the scheduler took the processor away; that hits calls at random and rarely for
long. So it takes two slow calls in a row, or two very slow ones within a second. Each time a
component goes back it must be fast for longer before it may return.

The decision is a pure function of the durations and times handed in.
"""

from __future__ import annotations

FAST = 0.0005
"""A call up to this many seconds counts as fast."""
SLOW = 0.002
"""A call on the loop that takes longer than this many seconds is held against the component."""
VERY_SLOW = 0.02
"""Longer than this many seconds, the scheduler is hardly to blame."""
WINDOW = 1.0
"""Two very slow calls within this many seconds send a component back to threads."""
FIRST_STREAK = 3
LONGEST_STREAK = 256


class CallPace:
    """Decides, call by call, whether one component runs ``inline``."""

    __slots__ = ("_fast", "_needed", "_streak", "_very_slow_at", "inline", "was_slow")

    def __init__(self, fast: float = FAST) -> None:
        """``fast`` is the longest call that counts as fast, in seconds; 0 for none at all."""
        self.inline = False
        self._fast = fast
        self.was_slow = False
        """Whether the last call on the loop was slow; only then do fast ones need to be noted."""
        self._streak = 0
        self._needed = FIRST_STREAK
        self._very_slow_at = float("-inf")

    def in_thread(self, seconds: float) -> bool:
        """Note a call that ran in a thread; True if the component moves to the loop."""
        self._streak = self._streak + 1 if seconds <= self._fast else 0
        self.inline = self._streak >= self._needed
        return self.inline

    def on_loop(self, seconds: float, now: float) -> bool:
        """Note a call on the loop that ended at ``now``; True if it moves back to threads."""
        slow, again = seconds > SLOW, self.was_slow
        self.was_slow = slow
        very_slow_again = seconds > VERY_SLOW and now - self._very_slow_at <= WINDOW
        if seconds > VERY_SLOW:
            self._very_slow_at = now
        if (slow and again) or very_slow_again:
            self.inline = self.was_slow = False
            self._streak = 0
            self._needed = min(2 * self._needed, LONGEST_STREAK)
        return not self.inline
