"""Destinations of request logs: files, and URLs that the settings allow.

Specs come from whoever may deploy, and routers send what clients ask to where a spec says. So it is
looked at when a bundle comes, and again when routers are told: settings may have changed since.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator

from anabranch.control.settings.destinations import HTTP, allowed, shown
from anabranch.errors import InvalidRequest
from anabranch.specs.models import RequestLog, Telemetry
from anabranch.specs.sections.request_log import FILE

SCHEMES = (*HTTP, "kafka")
"""Of URLs to log to."""
_LIBRARIES = {"kafka": ("confluent_kafka", "kafka"), "parquet": ("pyarrow", "parquet")}
"""The module that a scheme or a format needs, and the extra that brings it."""


def check(log: RequestLog | None, prefixes: Iterable[str]) -> None:
    """Refuse a log that this engine cannot or may not write; InvalidRequest says why."""
    problems = list(_problems(log, tuple(prefixes))) if log is not None else []
    if problems:
        raise InvalidRequest("; ".join(problems))


def permitted(telemetry: Telemetry, prefixes: Iterable[str]) -> Telemetry:
    """Return a graph's telemetry, without its request log if that is allowed no more."""
    log = telemetry.requests
    if log is None or _may_go(log, tuple(prefixes)):
        return telemetry
    return telemetry.model_copy(update={"requests": None})


def _problems(log: RequestLog, prefixes: tuple[str, ...]) -> Iterator[str]:
    if not _may_go(log, prefixes):
        known = ", ".join(prefixes) or "nothing"
        what = f"telemetry.requests.to: {shown(log.to)[:256]!r}"
        yield f"{what} is not below what ANABRANCH_REQUEST_LOGS allows: {known}"
    for field, needed in (("to", log.to.partition("://")[0]), ("format", log.format)):
        module, extra = _LIBRARIES.get(needed, ("", ""))
        if module and importlib.util.find_spec(module) is None:
            how = f"the engine needs {module}: pip install 'anabranch[{extra}]'"
            yield f"telemetry.requests.{field}: for {needed} {how}"


def _may_go(log: RequestLog, prefixes: tuple[str, ...]) -> bool:
    return log.to == FILE or allowed(log.to, prefixes, SCHEMES)
