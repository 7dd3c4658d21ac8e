"""The component contract: what a node is once it is loaded.

A component is any class with the method of its type; no base class is needed::

    class Scale:
        def __init__(self, divide_by: float) -> None: ...
        def transform(self, pixels: np.ndarray) -> np.ndarray: ...

Methods may be ``async``. A predictor whose ``predict`` is an async generator streams: it yields its
results one by one. Optional hooks, each sync or async: ``load()``, ``warmup()``, ``unload()``,
``check_health()``. A parameter named ``context`` receives the request's ``Context``.

Synchronous methods run in one thread at a time, so a component need not be thread-safe. One that
is says so by the attribute ``max_concurrency``, the number of threads that may be in it at once.
What it knows of its tensors once it is loaded it may tell as in ``model_types``.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from anabranch.telemetry.trace import Trace

METHODS = {
    "transformer": "transform",
    "predictor": "predict",
    "combiner": "combine",
    "router": "route",
    "explainer": "explain",
    "monitor": "score",
}
"""The method that a component of each node type must have, or that of a monitor."""

DEFAULT_OUTPUT = "output"
"""Name of the output of a component that returns a bare array."""


class Choice(str):
    """A route as a router may return it that wants to learn from the reward of its choice.

    ``features`` are what it knew of the request when it chose.
    """

    __slots__ = ("features",)

    features: tuple[float, ...]

    def __new__(cls, route: str, features: tuple[float, ...] = ()) -> Self:
        """Make a choice of a route."""
        choice = super().__new__(cls, route)
        choice.features = features
        return choice

    def __reduce__(self) -> tuple[type[Choice], tuple[str, tuple[float, ...]]]:
        return Choice, (str(self), self.features)


class CannotLoad(Exception):
    """Why a node's code or model cannot be loaded; ``bind`` adds the node and makes a LoadError."""


@dataclass(slots=True)
class Context:
    """What a component may know of the request.

    ``deadline`` is on the clock of ``time.monotonic``, in seconds; None means none. It never
    crosses processes: ``remaining`` does.
    """

    id: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """HTTP headers, names in lower case."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Request-level parameters of the protocol."""
    deadline: float | None = None
    path: dict[str, str] = field(default_factory=dict)
    """What routers have picked for the request so far: router to route; kept by the executor."""
    trace: Trace | None = None
    """Where to record what is done for the request; None for most."""
    is_traffic: bool = True
    """False for what no client has asked: warm-up, and what an explanation asks the model."""

    def remaining(self) -> float | None:
        """Return seconds until the deadline, never below 0; None where there is no deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


@dataclass(frozen=True)
class Bound:
    """A node's code, constructed and ready to call.

    ``call`` takes the node's inputs as keyword arguments (a combiner over a list takes one list)
    and, if ``wants_context``, ``context=``. It returns an array, a dict of arrays, or for routers
    the name of a route. If ``is_async`` it is a coroutine function; if ``is_stream`` it returns an
    async generator of such results.
    """

    node: str
    instance: Any
    call: Callable[..., Any]
    is_async: bool = False
    wants_context: bool = False
    is_stream: bool = False

    async def load(self) -> None:
        """Run the component's ``load()`` and then ``warmup()``, where it has them."""
        await self._hook("load")
        await self._hook("warmup")

    async def unload(self) -> None:
        """Run the component's ``unload()``, where it has one."""
        await self._hook("unload")

    async def check_health(self) -> None:
        """Run the component's ``check_health()``, where it has one; it raises when unwell."""
        await self._hook("check_health")

    async def _hook(self, name: str) -> None:
        hook = getattr(self.instance, name, None)
        if callable(hook):
            result = hook()
            if inspect.isawaitable(result):
                await result
