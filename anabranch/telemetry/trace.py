"""A place in a trace, as requests carry it through the engine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trace:
    """The span under which work is to be recorded: plain data that crosses processes.

    It is there only where the trace is sampled; W3C Trace Context, https://www.w3.org/TR/trace-context/
    """

    trace_id: str
    """32 lower-case hexadecimal digits."""
    span_id: str
    """16 of them: the parent of what is recorded next."""
    state: str = ""
    """The tracestate that came along."""
