"""Opens the sink of a request log, by the scheme of ``to`` in the spec."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from anabranch.names import slashless
from anabranch.router.request_log.files import Files, Rotation
from anabranch.router.request_log.http import HttpSink
from anabranch.router.request_log.kafka import KafkaSink
from anabranch.router.request_log.settings import LogSettings
from anabranch.specs.models import RequestLog


class LogSink(Protocol):
    """Takes events, one thread at a time; blocks for some seconds at most."""

    @property
    def most(self) -> int:
        """Bytes of the largest event that it takes."""

    def send(self, events: Iterable[bytes]) -> int:
        """Deliver events, each a document in JSON; say how many arrived, or raise if none did."""

    def close(self) -> None:
        """Let go of files and connections."""


@dataclass(frozen=True)
class Origin:
    """Whose log it is."""

    graph: str
    revision: int
    router: str
    """The replica of the graph's router."""


def open_sink(log: RequestLog, origin: Origin, settings: LogSettings) -> LogSink:
    """Open what a log goes to. Raises what its library does, and CannotLoad without that."""
    return _OPENERS[log.to.partition("://")[0]](log, origin, settings)


def _files(log: RequestLog, origin: Origin, settings: LogSettings) -> LogSink:
    folder = settings.folder / slashless(origin.graph)
    rotation = Rotation(total=settings.size)
    return Files(folder, f"r{origin.revision}-{origin.router}", log.format, rotation)


def _http(log: RequestLog, origin: Origin, settings: LogSettings) -> LogSink:
    return HttpSink(log.to)


def _kafka(log: RequestLog, origin: Origin, settings: LogSettings) -> LogSink:
    return KafkaSink(log.to, settings.kafka)


_OPENERS: dict[str, Callable[[RequestLog, Origin, LogSettings], LogSink]] = {
    "file": _files,
    "http": _http,
    "https": _http,
    "kafka": _kafka,
}
