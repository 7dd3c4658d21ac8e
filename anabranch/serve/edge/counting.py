"""Counts what the edge refuses by itself, which no router sees.

HAProxy counts refusals of frontends in a table, by door and reason, and those by routers' limits in
another one, by backend; its statistics have the requests that it could not read, and the
connections that it reset. All begin anew with each HAProxy.
"""

from __future__ import annotations

import asyncio
import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Literal, TypeAlias

from anabranch.errors import EngineError
from anabranch.router.measure.refusals import Reason
from anabranch.serve.edge.refusing import REFUSALS
from anabranch.serve.edge.runtime_api import INFO, RuntimeApi, pid_of
from anabranch.telemetry.activity import ACTIVITY
from anabranch.telemetry.definitions import ACCESS_REFUSED
from anabranch.telemetry.registry import REGISTRY, Registry

EdgeDoor: TypeAlias = Literal["http", "grpc"]
"""Names of the frontends, too."""
Counts: TypeAlias = Mapping[tuple[str, str], int]
"""By door and reason, since HAProxy's start."""

REFUSED = "refused"
"""Backend without servers that holds the table."""
PERIOD_S = 5.0
"""Time between two looks at HAProxy's counts, in seconds."""
_ROW = re.compile(r"key=(\w+)/(\w+) .*http_req_cnt=(\d+)")
_LIMITED = re.compile(r" gpc0=(\d+) .*gpc1=(\d+)")
_FRONTENDS = "show stat -1 1 -1"
_STATISTICS: Mapping[str, Reason] = {"ereq": "unreadable", "dcon": "limited"}
"""Reasons by the names of HAProxy's statistics: of requests, and of connections."""


def table() -> list[str]:
    """Return the lines of the backend that holds the table."""
    return ["stick-table type string len 32 size 64 store http_req_cnt"]


def counted(door: EdgeDoor, reason: Reason, condition: str) -> str:
    """Return the rule of a frontend that counts a request, before the one that refuses it."""
    return f"http-request track-sc2 str({door}/{reason}) table {REFUSED} {condition}"


def refused(door: EdgeDoor, reason: Reason, reply: str, condition: str) -> list[str]:
    """Return the rules of a frontend that refuse a request with a reply, and count that."""
    return [counted(door, reason, condition), f"http-request return {reply} {condition}"]


class RefusalCounts:
    """Adds to the metrics what HAProxy refuses from the first look on.

    An HAProxy that goes on under a new owner has been counted by the one before.
    """

    def __init__(self, api: RuntimeApi, registry: Registry = REGISTRY) -> None:
        self._api = api
        self._registry = registry
        self._pid: int | None = None
        self._seen: Counts = {}

    async def run(self) -> None:
        """Look for ever; an HAProxy that does not answer has its turn with the next look."""
        while True:
            await asyncio.sleep(PERIOD_S)
            with suppress(EngineError):
                await self.look()

    async def look(self) -> None:
        """Add what has come since the last look; EngineError where HAProxy does not answer."""
        pid, found = await read_counts(self._api)
        before = self._seen if pid == self._pid else {}
        if self._pid is not None:
            for labels, count in found.items():
                self._add(labels, count - before.get(labels, 0))
        self._pid, self._seen = pid, found

    def _add(self, labels: tuple[str, str], more: int) -> None:
        if more > 0:
            self._registry.number(ACCESS_REFUSED, *labels).value += more
            ACTIVITY.mark()


async def read_counts(api: RuntimeApi) -> tuple[int, Counts]:
    """Return HAProxy's process and its counts; EngineError where it does not answer."""
    info, entries, limits, statistics = await api.ask(
        INFO, f"show table {REFUSED}", f"show table {REFUSALS}", _FRONTENDS
    )
    found: Counter[tuple[str, str]] = Counter()
    for rows in (_of_frontends(entries), _of_limits(limits), _of_statistics(statistics)):
        for labels, count in rows:
            found[labels] += count
    return pid_of(info), +found  # without those that are 0


def _of_frontends(entries: str) -> Iterator[tuple[tuple[str, str], int]]:
    for door, reason, count in _ROW.findall(entries):
        yield (door, reason), int(count)


def _of_limits(entries: str) -> Iterator[tuple[tuple[str, str], int]]:
    for every, grpc in _LIMITED.findall(entries):
        yield ("http", "overload"), int(every) - int(grpc)
        yield ("grpc", "overload"), int(grpc)


def _of_statistics(statistics: str) -> Iterator[tuple[tuple[str, str], int]]:
    """Read CSV, with its names in a line that begins like a comment."""
    for row in csv.DictReader(statistics.removeprefix("# ").splitlines()):
        for name, reason in _STATISTICS.items():
            yield (row["pxname"], reason), int(row[name])
