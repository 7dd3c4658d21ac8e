"""The spans of a call between processes: one where it is made, one below it where it is answered.

Where spans that are to be shown go: to the controller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from anabranch.components.contract import Context
from anabranch.serve.calls.controller import ControllerActor
from anabranch.serve.identity import here
from anabranch.telemetry.span import Attribute, Span
from anabranch.telemetry.trace import Trace
from anabranch.telemetry.tracing import TRACES, SpanRecording

_TELL_S = 5.0
"""Longest time that the controller's answer is waited for."""


def hop(trace: Trace, callee: str) -> SpanRecording:
    """The span of a call into another process, as its caller records it."""
    about: dict[str, Attribute] = {"anabranch.segment": callee}
    return SpanRecording(trace, f"hop {callee}", about, "client")


def entered(trace: Trace, what: str, name: str) -> SpanRecording:
    """The span of the same call in the process that answers it."""
    graph, revision = here()
    about: dict[str, Attribute] = {
        "anabranch.graph": graph,
        "anabranch.revision": int(revision or 0),
        "anabranch.segment": name,
    }
    return SpanRecording(trace, f"{what} {name}", about, "server")


def within(context: Context, recording: SpanRecording) -> Context:
    """The context of what is done within a span."""
    return replace(context, trace=recording.trace)


def show_traces() -> None:
    """Have spans of this process that are to be shown sent to the controller from now on."""
    controller = ControllerActor()

    def tell(spans: Sequence[Span]) -> None:
        controller.ask("traced", spans, timeout=_TELL_S)

    TRACES.show(tell)
