"""Metrics that a Prometheus server knows: instant queries, each for one number.

A query that gives nothing has no value, which is inconclusive; all that goes wrong is an error.
"""

from __future__ import annotations

import json
from string import Template
from typing import Any

from anabranch.control.lifecycle.analysis import External, Outside
from anabranch.control.rollout.outgoing import Caller
from anabranch.specs.limits import parse_limit
from anabranch.specs.models import Metric

MAX_REPLY = 2**20
"""Most bytes of an answer."""


class Prometheus:
    """Asks the server at ``url``; the path below which its API lies is part of it."""

    def __init__(self, url: str, caller: Caller) -> None:
        self._endpoint = f"{url.rstrip('/')}/api/v1/query" if url else ""
        self._caller = caller

    async def outside(self, metric: Metric, graph: str, revision: int, stable: int) -> Outside:
        """The value for the candidate, and for the stable revision if a limit is relative."""
        query = metric.query or ""
        candidate = await self.ask(filled(query, graph, revision, stable))
        if not _is_relative(metric):
            return Outside(candidate)
        return Outside(candidate, await self.ask(filled(query, graph, stable, stable)))

    async def ask(self, query: str) -> External:
        """The one number that a query gives."""
        if not self._endpoint:
            return External(error="no Prometheus server is known: ANABRANCH_PROMETHEUS is not set")
        reply = await self._caller.call("GET", self._endpoint, MAX_REPLY, params={"query": query})
        if reply.cut:
            return External(error=f"Prometheus: the answer has more than {MAX_REPLY} bytes")
        if not reply.ok:
            return External(error=f"Prometheus: {_complaint(reply.body) or reply}")
        return _read(reply.body)


def filled(query: str, graph: str, revision: int, stable: int) -> str:
    """The query with ``$graph``, ``$revision`` and ``$stable`` filled in; ``$$`` is a dollar."""
    return Template(query).safe_substitute(graph=graph, revision=revision, stable=stable)


def _is_relative(metric: Metric) -> bool:
    return any(limit is not None and parse_limit(limit)[0] for limit in (metric.max, metric.min))


def _complaint(body: bytes) -> str:
    """Return the message of the server's own error; empty if the answer is no such error."""
    try:
        return f"{json.loads(body)['error']}"[:200]
    except (ValueError, TypeError, LookupError, RecursionError):
        return ""


def _read(body: bytes) -> External:
    try:
        answer = json.loads(body)
        if answer["status"] != "success":
            return External(error=f"Prometheus: {_complaint(body) or 'no success'}")
        return _result(answer["data"]["resultType"], answer["data"]["result"])
    except (ValueError, TypeError, LookupError, RecursionError):
        return External(error="Prometheus: the answer is not what its API promises")


def _result(kind: Any, result: Any) -> External:
    """A scalar's value, or that of a vector's only sample: ``[time, "value"]``."""
    if kind == "scalar":
        return External(float(result[1]))
    if kind != "vector":
        return External(error=f"Prometheus: the query gives a {kind!s:.32}, not a number")
    if len(result) > 1:
        return External(error=f"Prometheus: the query gives {len(result)} samples, not one")
    return External(float(result[0]["value"][1]) if result else None)
