"""Counts the requests of a graph, as clients see them: each reply once, over either protocol."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Literal, TypeAlias

from anabranch.telemetry.activity import ACTIVITY
from anabranch.telemetry.definitions import (
    ACCESS_REFUSED,
    REQUEST_DURATION,
    REQUESTS,
    REQUESTS_IN_FLIGHT,
)
from anabranch.telemetry.registry import REGISTRY, Distribution, Number, Registry
from anabranch.telemetry.trace import Trace

Protocol: TypeAlias = Literal["http", "grpc"]
ENDPOINTS = frozenset(
    {
        "infer",
        "document",
        "explain",
        "generate",
        "generate_stream",
        "feedback",
        "predict",
        "predictions",
        "completions",
        "embeddings",
    }
)
"""Endpoints that metrics tell apart; the others count as ``OTHER``."""
OTHER = "other"
GONE = 499
"""The status of a request whose client hung up before it was answered, as nginx has it."""
_REFUSED: Mapping[int | str, str] = {
    401: "unauthenticated", "UNAUTHENTICATED": "unauthenticated",
    403: "forbidden", "PERMISSION_DENIED": "forbidden",
    429: "limited",
}  # fmt: skip
"""Reasons of refusals, by the code of the reply."""
clock = time.perf_counter
_mark = ACTIVITY.mark


class Requests:
    """The requests of one graph by one protocol; for one thread. About a microsecond each."""

    def __init__(self, graph: str, protocol: Protocol, registry: Registry = REGISTRY) -> None:
        self._graph = graph
        self._protocol = protocol
        self._registry = registry
        self._in_flight = registry.number(REQUESTS_IN_FLIGHT, graph)
        self._cells: dict[tuple[str, int | str], tuple[Number, Distribution, Number | None]] = {}
        """By endpoint and code: how many, the times of that endpoint, and how many were refused."""

    def began(self) -> float:
        """Count a request in; what to give to ``ended``."""
        self._in_flight.value += 1
        _mark()
        return clock()

    def ended(self, endpoint: str, code: int | str, started: float, trace: Trace | None) -> None:
        """Count a request out, whose reply had this code; a traced one is an example."""
        seconds = clock() - started
        number, duration, refused = self._cells.get((endpoint, code)) or self._new(endpoint, code)
        number.value += 1
        if refused is not None:
            refused.value += 1
        duration.observe(seconds)
        if trace is not None:
            duration.witness(seconds, trace.trace_id, time.time())
        _mark()
        self._in_flight.value -= 1  # last: who reads that none is in flight reads that all count

    def _new(self, endpoint: str, code: int | str) -> tuple[Number, Distribution, Number | None]:
        of = self._graph, endpoint, self._protocol
        number = self._registry.number(REQUESTS, *of, str(code))
        reason, refused = _REFUSED.get(code), None
        if reason is not None:
            refused = self._registry.number(ACCESS_REFUSED, self._protocol, reason)
        cells = number, self._registry.distribution(REQUEST_DURATION, *of), refused
        self._cells[endpoint, code] = cells
        return cells
