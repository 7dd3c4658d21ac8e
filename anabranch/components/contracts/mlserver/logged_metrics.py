"""Values that a model logs by ``mlserver.log``, as measures of the request.

``log`` observes each value in a histogram that ``register`` of ``mlserver/metrics/context.py``
returns. The function ``register`` that it finds there is replaced once in a process; the histograms
stay those of the package.
"""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar
from typing import Any

from anabranch.components.contract import Context

REQUEST: ContextVar[Context | None] = ContextVar("anabranch_mlserver_request", default=None)
"""The request that the model of the current task works for."""


def measure_logged() -> None:
    """Measure what models of this process log from now on."""
    from mlserver.metrics import context

    if not isinstance(context.register, _Register):
        context.register = _Register(context.register)


class _Register:
    def __init__(self, register: Any) -> None:
        self._register = register

    def __call__(self, name: str, description: str) -> _Measured:
        return _Measured(name, self._register(name, description))


class _Measured:
    """A histogram whose values are measures, too."""

    def __init__(self, name: str, histogram: Any) -> None:
        self._name, self._histogram = name, histogram

    def labels(self, **labels: Any) -> _Measured:
        return _Measured(self._name, self._histogram.labels(**labels))

    def observe(self, value: float, exemplar: Any = None) -> None:
        self._histogram.observe(value, exemplar)
        request = REQUEST.get()
        if request is not None:
            with suppress(ValueError):  # of what no metric here can hold, and the histogram can
                request.measure(self._name, value, "gauge")
