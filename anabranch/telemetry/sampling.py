"""Which requests are traced: as their caller says, or else a share of them.

The parent-based sampler of OpenTelemetry around its ``TraceIdRatioBased``: a trace is in by its id
alone, so other services with the same share choose the same ones. Nothing is made for a request
that is not sampled.
"""

from __future__ import annotations

from random import getrandbits

from anabranch.telemetry.trace import Trace, incoming

_BITS = 64
_MASK = 2**_BITS - 1


class Sampler:
    """Decides for the requests of one router.

    ``ratio`` is the share of new traces, 0 to 1. Where spans are not ``exported``, only those
    requests are sampled whose tracestate asks for it.
    """

    def __init__(self, ratio: float, exported: bool) -> None:
        self._exported = exported
        self._bound = round(ratio * 2**_BITS) if exported else 0

    def drawn(self) -> Trace | None:
        """Return the trace of a request that comes with none; None if it is not sampled."""
        if not self._bound:
            return None
        number = getrandbits(128) or 1
        return Trace(f"{number:032x}", "") if number & _MASK < self._bound else None

    def continued(self, traceparent: str, tracestate: str = "") -> Trace | None:
        """Return the trace of a request that comes with one, its span the parent of the next."""
        found = incoming(traceparent, tracestate)
        if found is None:
            return self.drawn()
        if found.trace.is_shown or (found.sampled and self._exported):
            return found.trace
        return None


UNTRACED = Sampler(0.0, exported=False)
"""For a router that has nowhere to send spans to."""
