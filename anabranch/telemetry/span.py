"""A span that has ended, as plain data: it costs the request little, and crosses processes.

What OpenTelemetry makes of it is made in the thread that exports it, see ``otlp``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from anabranch.masking import masked
from anabranch.telemetry.trace import Trace

Kind: TypeAlias = Literal["internal", "server", "client"]
"""Of OpenTelemetry's kinds those that there are here."""
Attribute: TypeAlias = str | bool | int | float

MAX_TEXT = 500
"""Longest text of an error, in characters."""


@dataclass(frozen=True, slots=True)
class SpanFailure:
    """The failure of the work of a span."""

    kind: str
    """Class of the error, or a status."""
    text: str = ""

    @classmethod
    def of(cls, error: BaseException) -> SpanFailure:
        """Return the failure of an error or of its cause: ours only add the node's name.

        The text has no secrets of this process.
        """
        first = error.__cause__ or error
        return cls(type(first).__name__, masked(str(first))[:MAX_TEXT])


@dataclass(frozen=True, slots=True)
class Span:
    """One span; times in nanoseconds since the Unix epoch."""

    place: Trace
    """Where it is itself."""
    parent_id: str
    """The span above it; empty for the first of a trace."""
    name: str
    kind: Kind
    start: int
    end: int
    attributes: Mapping[str, Attribute]
    failure: SpanFailure | None = None
    links: tuple[Trace, ...] = ()

    def view(self) -> dict[str, Any]:
        """Return the span for people: times in seconds."""
        failed = self.failure
        return {
            "name": self.name,
            "span_id": self.place.span_id,
            "parent_id": self.parent_id or None,
            "kind": self.kind,
            "start": self.start / 1e9,
            "seconds": (self.end - self.start) / 1e9,
            "status": "ok" if failed is None else "error",
            "error": None if failed is None else f"{failed.kind}: {failed.text}".rstrip(": "),
            "attributes": dict(self.attributes),
            "links": [link.span_id for link in self.links],
        }
