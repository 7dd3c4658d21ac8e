"""Polls the controller for the routing table, and reports counters and decisions to it.

The controller may be away. Whatever fails is tried again, for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

from anabranch.router.following import Follower
from anabranch.router.measure.tally import Report
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.arms import Arms
from anabranch.telemetry.activity import ACTIVITY, Activity, Pace
from anabranch.telemetry.outlet import line_of

logger = logging.getLogger("anabranch.router")

REPORT_S = 0.5
"""Time between two reports while requests come."""
REST_S = 30.0
"""Longest time without a look at what is to be reported."""
POLL_S = 60.0
"""A poll that takes longer is lost: the controller answers after half of that at the latest."""
SEND_S = 5.0
"""Longest time of a report, or of a call with decisions."""
ASK_S = 5.0
"""Longest time of a call that a client waits for; a busy machine may take a few seconds."""
SHARED = 2000
"""Decisions that are told in one call."""
_PIECE = 100
"""Decisions that are made ready at a time, which is a millisecond in which nothing else is done."""
LAST_S = 1.0
"""Longest time of the last report."""
LEAVE_S = 5.0
"""Longest time until all who send requests know that the router ends. An edge on a busy machine may
be late; what it sends after that meets closed sockets."""


class TableSource(Protocol):
    """Source of routing tables, and sink of sums and decisions."""

    breaks: int
    """How often it was lost: what it remembered of decisions may be gone."""

    async def next(self, generation: int) -> RoutingTable | None:
        """Wait for a table of another generation than ``generation``; 0 stands for none yet.

        After a while it may also be the same one again. None means that the graph is gone. Raises
        where the controller is away.
        """

    async def report(self, report: Report) -> int:
        """Take a router's sums, and return how many routers the graph has.

        Raises if they may not have arrived.
        """

    async def remember(self, made: Sequence[tuple[str, bytes]]) -> None:
        """Take decisions by their ids, packed; raises likewise."""


class MetricsSink(Protocol):
    """Sink of a router's own metrics."""

    def flush(self, report: Report) -> None:
        """Show these sums."""

    def weights(self, table: RoutingTable) -> None:
        """Show the weights of a table."""


class RouterSync:
    """Keeps a router's arms up to date, and sends what they count and decide.

    ``interval`` is in seconds. While nothing marks the ``activity`` it looks for nothing to send.
    """

    def __init__(
        self,
        arms: Arms,
        source: TableSource,
        sink: MetricsSink,
        interval: float = REPORT_S,
        activity: Activity = ACTIVITY,
    ) -> None:
        self._arms = arms
        self._source = source
        self._sink = sink
        self._interval = interval
        self._activity = activity
        self._tables = Follower(f"routing table of graph {arms.name!r}", self._next, self._apply)
        self._sent: tuple[int, ...] = ()
        """Numbers of the report that was sent last, and the breaks before it."""
        self._breaks = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Return when the first table is in force; go on in the background."""
        await self._tables.begin()
        self._tasks = [
            asyncio.create_task(self._repeat(work, name))
            for work, name in (
                (self._tell, "report to the controller"),
                (self._share, "decisions to the controller"),
                (self._show, "metrics"),
            )
        ]

    async def close(self) -> None:
        """Stop, cancel the copies on their way to mirrors, and send what has come since."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(self._tables.close(), *self._tasks, return_exceptions=True)
        await self._arms.close()
        with suppress(Exception):
            async with asyncio.timeout(LAST_S):
                last = self._tell(), self._share()
                await asyncio.gather(*last, return_exceptions=True)

    async def _next(self, generation: int) -> RoutingTable | None:
        try:
            return await self._source.next(generation)
        except Exception:
            self._activity.mark()  # a controller that starts anew has to be told all again
            raise

    async def _apply(self, table: RoutingTable) -> None:
        """Put a table in force. One that cannot be used changes nothing."""
        self._arms.apply(table)
        self._shown(lambda: self._sink.weights(table))

    async def _repeat(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        pace = Pace(self._activity, self._interval, REST_S)
        while True:
            await pace.next()
            try:
                await work()
            except Exception as error:
                self._activity.mark()
                logger.info("no %s of graph %r: %s", name, self._arms.name, line_of(error))

    async def _show(self) -> None:
        self._shown(lambda: self._sink.flush(self._arms.report()))

    def _shown(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            logger.exception("the metrics of graph %r are not up to date", self._arms.name)

    async def _tell(self) -> None:
        report = self._arms.report()
        # To a controller that has started anew all is news.
        counted = (self._source.breaks, *_counted(report))
        if counted != self._sent:
            self._arms.share(await self._source.report(report))
            self._sent = counted

    async def _share(self) -> None:
        """Send the decisions that are news; all of them where the controller has been away."""
        made, breaks = self._arms.made, self._source.breaks
        if breaks != self._breaks:
            made.retell()
            self._breaks = breaks
        while made.has_news:
            news: list[tuple[str, bytes]] = []
            try:
                await self._gather(news)
                await self._source.remember(news)
            except BaseException:
                made.retell([id for id, _ in news])
                raise

    async def _gather(self, news: list[tuple[str, bytes]]) -> None:
        made = self._arms.made
        while made.has_news and len(news) < SHARED:
            news += made.news(_PIECE)
            await asyncio.sleep(0)


def _counted(report: Report) -> tuple[int, ...]:
    """Numbers of which some differ whenever anything was counted."""
    mirrors = report.mirrors.values()
    arms = report.arms.values()
    return (
        sum(tally.requests for tally in arms),
        sum(tally.rewards.count + tally.repeated for tally in arms),
        sum(tally.selected for tally in mirrors),
        sum(tally.compared + tally.errors for tally in mirrors),
    )
