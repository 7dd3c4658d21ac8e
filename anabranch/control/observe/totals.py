"""Totals of the routers of every graph, which never shrink, and windows of them.

Each router sends all its sums, again and again; here is added what came since that router's last
report. So a report that is lost, late or doubled changes nothing, and a router that is gone leaves
its counts behind. Sums that are smaller than before come from a router that began anew: all of
them are new then.

There are two sums. ``totals`` is all that is known. ``watched`` leaves out every router's first
report, which may hold hours from before these totals began, as after a restart of the controller:
windows are differences of ``watched``.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from operator import attrgetter
from typing import TypeVar

from anabranch.router.measure.tally import Report
from anabranch.telemetry.sums import Sums

MAX_SILENT = 64
"""Routers whose last report is kept though they were not heard of for SILENCE seconds."""
SILENCE = 600.0
MAX_DROPPED = 4096
"""Routers beyond, whose next report would be no news but for the fact that they are known."""
RECENT = 10.0
"""Length of the window of what came lately, in seconds."""
_SPACING = 1.0
"""Shortest time between two beginnings of such a window, in seconds."""


@dataclass
class _Heard:
    """A router as last heard of."""

    report: Report
    at: float


@dataclass
class _Account:
    """The sums of one graph."""

    total: Report = field(default_factory=Report)
    watched: Report = field(default_factory=Report)
    routers: dict[str, _Heard] = field(default_factory=dict)
    """In the order in which they were last heard of."""
    dropped: dict[str, None] = field(default_factory=dict)
    """Names of routers that were left out of ``routers``, oldest first."""
    marks: deque[tuple[float, Report]] = field(default_factory=deque)
    """Earlier states of ``watched``, oldest first."""


class ArmTotals:
    """Sums of all graphs' reports; ``clock`` is monotonic, in seconds. For one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._accounts: dict[str, _Account] = {}

    def take(self, graph: str, replica: str, report: Report) -> None:
        """Add what is new in a router's report."""
        account = self._accounts.setdefault(graph, _Account())
        now = self._clock()
        _mark(account, now)
        before = account.routers.pop(replica, None)
        if before is not None:
            news = _news(report, before.report)
            account.total = _grown(account.total, news)
            account.watched = _grown(account.watched, news)
        elif replica not in account.dropped:
            account.total = _grown(account.total, report)
        account.dropped.pop(replica, None)
        account.routers[replica] = _Heard(report, now)
        _shed(account, now)

    def totals(self, graph: str) -> Report:
        """All that the graph's routers have ever counted, as far as is known."""
        account = self._accounts.get(graph, _NOTHING)
        return _with_pending(account.total, account)

    def watched(self, graph: str) -> Report:
        """Return the routers' counts since each was first heard of; differences are windows."""
        account = self._accounts.get(graph, _NOTHING)
        return _with_pending(account.watched, account)

    def recent(self, graph: str) -> tuple[Report, float]:
        """Return the routers' counts of the last RECENT seconds or little more, and that time.

        The time is in seconds, and 0 where no router has ever reported.
        """
        account = self._accounts.get(graph)
        if account is None:
            return Report(), 0.0
        now = self._clock()
        _mark(account, now)
        since, mark = account.marks[0]
        return _with_pending(account.watched.minus(mark), account), now - since

    def forget(self, graph: str) -> None:
        """Drop a graph that is gone."""
        self._accounts.pop(graph, None)


_NOTHING = _Account()


def _mark(account: _Account, now: float) -> None:
    """Remember the sums as they are; the oldest mark is the newest of at least RECENT seconds."""
    marks = account.marks
    if not marks or now - marks[-1][0] >= _SPACING:
        marks.append((now, account.watched))
    while len(marks) > 1 and now - marks[1][0] >= RECENT:
        marks.popleft()


def _shed(account: _Account, now: float) -> None:
    """Let go of the longest silent routers, whose counts are in the sums already."""
    silent = [name for name, heard in account.routers.items() if now - heard.at >= SILENCE]
    for name in islice(silent, max(0, len(silent) - MAX_SILENT)):
        del account.routers[name]
        account.dropped[name] = None
    while len(account.dropped) > MAX_DROPPED:
        del account.dropped[next(iter(account.dropped))]


def _grown(sums: Report, news: Report) -> Report:
    """The sums and what is new; revisions without news are not touched, however many there are."""
    arms = {one: sums.arm(one).plus(tally) for one, tally in news.arms.items()}
    mirrors = {one: sums.mirror(one).plus(tally) for one, tally in news.mirrors.items()}
    return Report(sums.arms | arms, sums.mirrors | mirrors)


def _with_pending(report: Report, account: _Account) -> Report:
    """The sums, with the copies that are on their way now: those only the last reports know."""
    pending = dict.fromkeys(report.mirrors, 0)
    for heard in account.routers.values():
        for revision, tally in heard.report.mirrors.items():
            pending[revision] = pending.get(revision, 0) + tally.pending
    mirrors = {one: replace(report.mirror(one), pending=count) for one, count in pending.items()}
    return replace(report, mirrors=mirrors)


def _news(report: Report, before: Report) -> Report:
    return Report(
        arms=_fresh(report.arms, before.arms, attrgetter("requests")),
        mirrors=_fresh(report.mirrors, before.mirrors, attrgetter("selected")),
    )


_Kind = TypeVar("_Kind", bound=Sums)


def _fresh(
    now: Mapping[int, _Kind], before: Mapping[int, _Kind], size: Callable[[_Kind], int]
) -> dict[int, _Kind]:
    """Return the growth of sums, by revision; whole where they began anew."""
    return {
        revision: tally.minus(before[revision])
        if revision in before and size(tally) >= size(before[revision])
        else tally
        for revision, tally in now.items()
        if tally != before.get(revision)
    }
