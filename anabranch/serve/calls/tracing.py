"""The spans of a call between processes: one where it is made, one below it where it is answered.

Where spans that are to be shown go: to the controller.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace

from anabranch.components.contract import Context
from anabranch.serve.calls.controller import ControllerActor
from anabranch.serve.identity import here
from anabranch.telemetry.span import Attribute, Span
from anabranch.telemetry.tracing import TRACES, SpanRecording

_TELL_S = 5.0
"""Longest time that the controller's answer is waited for."""


def hop(context: Context, callee: str) -> AbstractContextManager[Context]:
    """Record a call into another process, if it is traced; gives the context to call with."""
    if context.trace is None:
        return nullcontext(context)
    about: dict[str, Attribute] = {"anabranch.segment": callee}
    return _within(context, SpanRecording(context.trace, f"hop {callee}", about, "client"))


def entered(context: Context, what: str, name: str) -> AbstractContextManager[Context]:
    """Record the same call in the process that answers it; gives the context of the answer."""
    if context.trace is None:
        return nullcontext(context)
    graph, revision = here()
    about: dict[str, Attribute] = {
        "anabranch.graph": graph,
        "anabranch.revision": int(revision or 0),
        "anabranch.segment": name,
    }
    return _within(context, SpanRecording(context.trace, f"{what} {name}", about, "server"))


@contextmanager
def _within(context: Context, recording: SpanRecording) -> Iterator[Context]:
    with recording:
        yield replace(context, trace=recording.trace)


def show_traces() -> None:
    """Have spans of this process that are to be shown sent to the controller from now on."""
    controller = ControllerActor()

    def tell(spans: Sequence[Span]) -> None:
        controller.ask("traced", spans, timeout=_TELL_S)

    TRACES.show(tell)
