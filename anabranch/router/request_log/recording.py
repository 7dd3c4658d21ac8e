"""The request logs of a router: one for each arm whose revision has one, and their way out.

Nothing here can fail a request or hold it up.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import TypeAlias

from anabranch.components.contract import NodeFeedback
from anabranch.components.weights import DRAW, Draw
from anabranch.graph.plan.plan import Signature
from anabranch.router.inference.contract import InferenceRequest, InferenceResponse
from anabranch.router.request_log import entries
from anabranch.router.request_log.entries import MAX_TENSOR, LogEntry, LogRule, RewardLogEntry
from anabranch.router.request_log.events import encode
from anabranch.router.request_log.settings import LogSettings
from anabranch.router.request_log.sinks import LogSink, Origin, open_sink
from anabranch.specs.models import RequestLog
from anabranch.telemetry.outlet import Outlet
from anabranch.telemetry.registry import REGISTRY, Registry

AnyEntry: TypeAlias = LogEntry | RewardLogEntry

OUTLET = "requests"
MOST = 8192
"""Requests that may wait: what a router that is busy answers in a second."""
_MOST = 2**20
"""Bytes of all tensors of one entry, or of its largest one if the spec allows that to be larger."""

logger = logging.getLogger("anabranch.telemetry")


class ArmLog:
    """The log of one revision in one router."""

    def __init__(
        self, log: RequestLog, signature: Signature, origin: Origin, shared: RequestLogs
    ) -> None:
        self._log = log
        self._origin = origin
        self._shared = shared
        self._share = None if log.sample is None else log.sample.share
        max_tensor = MAX_TENSOR if log.max_tensor is None else int(log.max_tensor)
        self._rule = LogRule(
            frozenset(log.redact or ()), max_tensor, signature.inputs, max(_MOST, max_tensor)
        )
        self._sink: LogSink | None = None

    def begin(self, request: InferenceRequest) -> LogEntry | None:
        """Keep a request before it is evaluated, if it is drawn."""
        if self._share is not None and self._shared.draw() >= self._share:
            return None
        origin, request.records = self._origin, self._log.nodes is not None
        return entries.begin(self._rule, origin.graph, origin.revision, request)

    async def followed(
        self,
        entry: LogEntry,
        request: InferenceRequest,
        responses: AsyncGenerator[InferenceResponse, None],
    ) -> AsyncGenerator[InferenceResponse, None]:
        """Pass the parts of a reply on, and log the request once there are no more.

        One that was closed before its end is logged where it was answered by then.
        """
        try:
            async with aclosing(responses):
                async for response in responses:
                    entries.answered(self._rule, entry, response)
                    yield response
        except Exception as error:
            self.failed(entry, error)
            raise
        except GeneratorExit:
            if request.is_answered:
                self._shared.offer(self, entry)
            raise
        self._shared.offer(self, entry)

    def answered(self, entry: LogEntry, response: InferenceResponse) -> None:
        """Log a request with its reply."""
        entries.answered(self._rule, entry, response)
        self._shared.offer(self, entry)

    def failed(self, entry: LogEntry, error: Exception) -> None:
        """Log a request with the error in the reply's place."""
        entries.failed(self._rule, entry, error)
        self._shared.offer(self, entry)

    def rewarded(self, given: NodeFeedback) -> None:
        """Log a reward that counts, where the spec says so."""
        if self._log.feedback:
            graph, revision = self._origin.graph, self._origin.revision
            entry = RewardLogEntry(given.id, graph, revision, given.reward, given.truth)
            self._shared.offer(self, entry)

    def send(self, kept: Sequence[AnyEntry]) -> int:
        """Deliver entries, in the outlet's thread; how many arrived. Raises if none did."""
        if self._sink is None:
            self._sink = open_sink(self._log, self._origin, self._shared.settings)
        return self._sink.send(_encoded(kept, self._sink.most))

    def close(self) -> None:
        """Close what it goes to; opened again if there is more."""
        sink, self._sink = self._sink, None
        try:
            if sink is not None:
                sink.close()
        except Exception:
            logger.exception("the request log to %s was not closed properly", self._log.to)


def _encoded(kept: Sequence[AnyEntry], most: int) -> Iterator[bytes]:
    """Events; one that cannot be encoded is left out, and so counts as one that failed."""
    for entry in kept:
        try:
            yield encode(entry, most)
        except Exception:
            logger.exception("request %s cannot be logged", entry.id)


class RequestLogs:
    """The logs of one router, whose name among those of its graph is ``router``.

    They share one outlet, so that what waits in a process is bounded whatever its arms log to.
    """

    def __init__(
        self,
        graph: str,
        router: str,
        settings: LogSettings,
        draw: Draw = DRAW,
        registry: Registry = REGISTRY,
    ) -> None:
        self.settings = settings
        self.draw = draw
        self._graph = graph
        self._router = router
        self._registry = registry
        self._outlet: Outlet[tuple[ArmLog, AnyEntry]] | None = None
        self._kept: set[ArmLog] = set()
        self._gone: set[ArmLog] = set()

    def of(self, revision: int, signature: Signature) -> ArmLog | None:
        """The log of a revision; None if it has none."""
        log = signature.telemetry.requests
        if log is None:
            return None
        if self._outlet is None:
            self._outlet = Outlet(self._graph, OUTLET, self._deliver, MOST, registry=self._registry)
        found = ArmLog(log, signature, Origin(self._graph, revision, self._router), self)
        self._kept.add(found)
        return found

    def retire(self, log: ArmLog) -> None:
        """Close a log with the next delivery: its revision went, though requests may be in it."""
        self._kept.discard(log)
        self._gone.add(log)

    def offer(self, log: ArmLog, entry: AnyEntry) -> None:
        """Have an entry delivered to a log; never waits."""
        assert self._outlet is not None
        self._outlet.offer((log, entry), entry.size)

    def close(self) -> None:
        """Deliver what waits, for two seconds at most, and close all logs; blocks."""
        if self._outlet is None or self._outlet.close():
            for log in (*self._kept, *self._gone):
                log.close()

    def _deliver(self, items: Sequence[tuple[ArmLog, AnyEntry]]) -> int:
        by_log: dict[ArmLog, list[AnyEntry]] = {}
        for log, entry in items:
            by_log.setdefault(log, []).append(entry)
        arrived = 0
        problem: Exception | None = None
        for log, kept in by_log.items():
            try:
                arrived += log.send(kept)
            except Exception as error:
                problem = error
        while self._gone:
            by_log[self._gone.pop()] = []
        for log in by_log.keys() - self._kept:
            log.close()
        if problem is not None and not arrived:
            raise problem
        return arrived
