"""A place in a trace, which requests carry through the engine.

The formats are those of W3C Trace Context, https://www.w3.org/TR/trace-context/.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from random import getrandbits
from typing import NamedTuple, Self

SHOW = "anabranch=show"
"""Member of a tracestate by which the engine keeps a request's spans, for its console."""
_MAX_STATE = 512
"""Longest tracestate that is carried on, in characters."""
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?").fullmatch
_MEMBER = re.compile(
    r"[a-z0-9][a-z0-9_*/@-]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
).fullmatch
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class Trace:
    """The span below which further spans belong: plain data that crosses processes.

    It exists only where the trace is sampled.
    """

    trace_id: str
    """32 lower-case hexadecimal digits."""
    span_id: str
    """16 such digits: the parent of the next span; empty for the first span of the trace."""
    state: str = ""
    """The tracestate of the request."""

    @property
    def traceparent(self) -> str:
        """The header ``traceparent``, by which the trace is passed on to other services."""
        return f"00-{self.trace_id}-{self.span_id}-01"

    @property
    def is_shown(self) -> bool:
        """Whether the spans are to be kept for the console."""
        return SHOW in self.state and is_shown(self.state)

    def child(self) -> Self:
        """Return a new place below this one."""
        return replace(self, span_id=f"{getrandbits(64) or 1:016x}")


class Incoming(NamedTuple):
    """The trace context of a client's request."""

    trace: Trace
    sampled: bool


def incoming(traceparent: str, tracestate: str = "") -> Incoming | None:
    """Read the headers; return None without a valid context, so that a new trace begins."""
    found = _PARENT(traceparent.strip())
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    is_known = version != "ff" and not (version == "00" and rest)
    if not is_known or not int(trace_id, 16) or not int(span_id, 16):
        return None
    trace = Trace(trace_id, span_id, _state(tracestate))
    return Incoming(trace, bool(int(flags, 16) & _SAMPLED))


def _state(tracestate: str) -> str:
    """Return the tracestate to pass on; empty where it is invalid or too long."""
    members = [text for part in tracestate.split(",") if (text := part.strip(" \t"))]
    state = ",".join(members)
    return state if len(state) <= _MAX_STATE and all(map(_MEMBER, members)) else ""


def is_shown(state: str) -> bool:
    """Return whether a tracestate asks for the spans to be kept for the console."""
    return SHOW in state.split(",")
