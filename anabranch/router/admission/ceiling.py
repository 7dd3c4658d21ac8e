"""The limit on requests in progress under overload, measured; pure.

It is that of BBR (Cardwell et al., "BBR: Congestion-Based Congestion Control", ACM Queue 14(5),
2016): by Little's law, the rate at which requests end times the time that one takes without a queue
is the number in progress that keeps all servers busy. How many servers these are, and where they
run, need not be known. Now and then the limit is halved for some requests, so that this time can be
measured anew (BBR's ProbeRTT).
"""

from __future__ import annotations

GAIN = 1.6
"""Limit, in requests for each one that keeps a server busy: so one that is let in takes less than
twice as long as without a queue."""
FEWEST = 2
"""Least limit: one request that is served, one that waits."""
SAMPLES, MANY = 6, 32
"""Requests at least and at most by which a probe measures the time without a queue."""
PROBE_EVERY, PROBE_ROUNDS = 5.0, 100
"""Least time between two probes, in seconds, and in times that a request takes without a queue."""
ENOUGH = 3
"""Requests that ended from which on a rate is known."""


class Ceiling:
    """The most requests that may be in progress at one graph under overload.

    ``rate``: how many end in a second; ``unloaded``: seconds that one takes without a queue;
    ``fewest``: so many are let in whatever was measured, but for probes.
    """

    __slots__ = (
        "_busy", "_busy_since", "_fewest", "_knee", "_probe_due", "_probing", "_samples",
        "_served", "_sum", "most", "rate", "unloaded",
    )  # fmt: skip

    def __init__(self, now: float, rate: float, unloaded: float, fewest: int) -> None:
        self.rate = rate
        self.unloaded = unloaded
        self._fewest = fewest
        self.most = 0
        """The limit now."""
        self.begin_window(now)
        self._probe(now)

    @property
    def is_probing(self) -> bool:
        """Whether few are let in, to see how long they take."""
        return self._probing

    @property
    def busy(self) -> int:
        """How many in progress keep all servers busy."""
        return self._knee

    def began(self, now: float, inside: int) -> None:
        """Note a request that makes ``inside`` in progress."""
        if inside == self._knee:
            self._busy_since = now

    def left(self, now: float, inside: int) -> None:
        """Note the end of one of ``inside`` in progress."""
        if inside == self._knee:
            self._busy += now - self._busy_since

    def served(self, inside: int) -> None:
        """Note that one of ``inside`` in progress is about to leave, having been served."""
        if inside >= self._knee:
            self._served += 1

    def begin_window(self, now: float) -> None:
        """Begin to count at what rate requests end while all servers are busy."""
        self._knee = max(1, round(self.rate * self.unloaded))
        self._served, self._busy, self._busy_since = 0, 0.0, now

    def end_window(self, now: float, inside: int) -> None:
        """Learn the rate of a window; a lower one may be by chance, and counts less."""
        busy = self._busy + (now - self._busy_since if inside >= self._knee else 0.0)
        if self._served >= ENOUGH and busy:
            found = self._served / busy
            self.rate += (0.5 if found > self.rate else 0.1) * (found - self.rate)

    def renew(self, now: float) -> None:
        """Set the limit by what is known now, or begin to probe where that is long ago."""
        if self._probing:
            return
        if now >= self._probe_due:
            self._probe(now)
        else:
            self._set()

    def sample(self, now: float, began: float, rank: int) -> None:
        """Note how long a request took that ``began`` as so many in progress; they may be few."""
        if not self._probing or rank > self.most or began < self._probe_due:
            return
        self._samples += 1
        self._sum += now - began
        if self._samples >= max(SAMPLES, min(2 * self.most, MANY)):
            self._probed(now, self._sum / self._samples)

    def _probe(self, now: float) -> None:
        """Let few in until it is known how long they take."""
        self._probing, self._samples, self._sum = True, 0, 0.0
        self._probe_due = now
        self.most = max(1, round(self.rate * self.unloaded / 2))

    def _probed(self, now: float, found: float) -> None:
        """Take over a time without a queue; try with still fewer where it has fallen.

        What seems to have become far slower may have been held up, and is looked at again soon.
        """
        before = self.unloaded
        is_held_up = found > 2 * before
        if is_held_up:
            self.unloaded = 2 * before
        else:
            self.unloaded = found if found < before / 2 else (before + found) / 2
        if found < 0.7 * before and self.most > 1:
            self._probe(now)
            return
        self._probing = False
        pause = 0.0 if is_held_up else max(PROBE_EVERY, PROBE_ROUNDS * self.unloaded)
        self._probe_due = now + pause
        self._set()

    def _set(self) -> None:
        self.most = max(self._fewest, int(GAIN * self.rate * self.unloaded))
