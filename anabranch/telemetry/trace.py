"""A place in a trace, as requests carry it through the engine.

After W3C Trace Context, https://www.w3.org/TR/trace-context/.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from random import getrandbits
from typing import NamedTuple, Self

SHOW = "anabranch=show"
"""Member of a tracestate that has the engine keep the spans of a request, for its console."""
_MAX_STATE = 512
"""Longest tracestate that is carried on, in characters."""
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?").fullmatch
_MEMBER = re.compile(
    r"[a-z0-9][a-z0-9_*/@-]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
).fullmatch
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class Trace:
    """The span under which work is to be recorded: plain data that crosses processes.

    It is there only where the trace is sampled.
    """

    trace_id: str
    """32 lower-case hexadecimal digits."""
    span_id: str
    """16 of them: the parent of what is recorded next; empty where that is the trace's first."""
    state: str = ""
    """The tracestate that came along."""

    @property
    def traceparent(self) -> str:
        """The header by which to pass the trace on."""
        return f"00-{self.trace_id}-{self.span_id}-01"

    @property
    def is_shown(self) -> bool:
        """Whether the spans are to be kept for the console."""
        return SHOW in self.state and is_shown(self.state)

    def child(self) -> Self:
        """Return a new place below this one."""
        return replace(self, span_id=f"{getrandbits(64) or 1:016x}")


class Incoming(NamedTuple):
    """What a caller says of the trace that its request belongs to."""

    trace: Trace
    sampled: bool


def incoming(traceparent: str, tracestate: str = "") -> Incoming | None:
    """Read the headers; None where they say nothing that is valid, so that a new trace begins."""
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
    """Return the tracestate to carry on; empty where it is not valid, or too long."""
    members = [text for part in tracestate.split(",") if (text := part.strip(" \t"))]
    state = ",".join(members)
    return state if len(state) <= _MAX_STATE and all(map(_MEMBER, members)) else ""


def is_shown(state: str) -> bool:
    """Tell whether a tracestate asks for the spans to be kept for the console."""
    return SHOW in state.split(",")
