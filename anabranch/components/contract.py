"""The component contract: the methods that the engine calls on a node's component.

A component is an instance of any class with the method of its node's type; no base class is
needed::

    class Scale:
        def __init__(self, divide_by: float) -> None: ...
        def transform(self, pixels: np.ndarray) -> np.ndarray: ...

The parameters are the node's inputs, NumPy arrays of the datatypes and shapes that the graph
declares or infers; BYTES are arrays of ``object``. The result is an array, which becomes the output
``output``, or a dict of arrays by output. Methods may be ``async``. A predictor whose ``predict``
is an async generator streams: it yields its results one by one. With a method ``join``, which makes
one result of the list of all, the graph can be asked for one answer, too. Optional hooks, each sync
or async: ``load()``, ``warmup()``, ``unload()``, ``check_health()``. A parameter named ``context``
receives the request's ``Context``. ``route`` returns the name of a route, ``BROADCAST`` for the
router's ``broadcast``, or None for its ``skip``.

Synchronous methods run in one thread at a time, so a component need not be thread-safe. A
thread-safe component may have the attribute ``max_concurrency``, the number of threads that may
call it at the same time. A loaded component may describe its tensors, as in ``model_types``.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from anabranch.components.annotations import Annotations, MeasureKind, Names, Tags
from anabranch.components.raised import settled
from anabranch.telemetry.logs import NODE
from anabranch.telemetry.trace import Trace

METHODS = {
    "transformer": "transform",
    "predictor": "predict",
    "combiner": "combine",
    "router": "route",
    "explainer": "explain",
    "monitor": "score",
}
"""The method that the component of each node type, or of a monitor, must have."""

DEFAULT_OUTPUT = "output"
"""Name of the output of a component that returns a bare array."""


BROADCAST = "*"
"""What ``route`` returns to have all routes asked: the router's ``broadcast`` is chosen then."""


class Choice(str):
    """A route with the features by which a router node chose it; ``route`` may return it.

    ``features`` are finite numbers, at most 1,024. Replies carry them, so that a reward can be
    learned from later.
    """

    __slots__ = ("features",)

    features: tuple[float, ...]

    def __new__(cls, route: str, features: tuple[float, ...] = ()) -> Self:
        """Make the choice of ``route`` by ``features``."""
        choice = super().__new__(cls, route)
        choice.features = features
        return choice

    def __reduce__(self) -> tuple[type[Choice], tuple[str, tuple[float, ...]]]:
        return Choice, (str(self), self.features)


class CannotLoad(Exception):
    """The reason why a node's code or model cannot be loaded; ``bind`` makes a LoadError of it."""


@dataclass(slots=True)
class Context:
    """The request that a component works for: id, headers, parameters, deadline and trace.

    ``deadline`` is on the clock of ``time.monotonic``, in seconds; None means no deadline. The
    deadline never crosses processes: ``remaining`` does.
    """

    id: str = ""
    """The request's ``id``, or else its ``x-request-id``."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """HTTP headers or gRPC metadata, names in lower case."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the request, as the protocol has them."""
    deadline: float | None = None
    path: dict[str, str] = field(default_factory=dict)
    """The routes chosen for the request so far, by router node; the executor fills it."""
    trace: Trace | None = None
    """The span of the node, below which further spans belong; None unless the request is traced."""
    is_traffic: bool = True
    """False for calls without a client: warm-up, and an explanation's calls of the model."""
    annotations: Annotations = field(default_factory=Annotations)
    """Tags, names of columns and measures that travel with the request and its answer."""
    has_stand_in: bool = False
    """Whether something stands in for what a node has failed to give; the executor sets it."""

    @property
    def tags(self) -> Tags:
        """Tags of the request; a component may set some: a later node's value replaces others."""
        return self.annotations.tags

    @property
    def names(self) -> Names:
        """Names of columns, by graph input, node, or graph output; a component may set some."""
        return self.annotations.names

    def names_of(self, source: str) -> list[str]:
        """Return the names of the columns of a graph input or a node; empty where it has none.

        A router node has the names of the route that it has chosen for the request.
        """
        vertex = source.partition(".")[0]
        while vertex in self.path:
            vertex = self.path[vertex]
        return self.names.get(vertex, [])

    def measure(self, name: str, value: float, kind: MeasureKind = "counter") -> None:
        """Measure a number in this call: a counter's increment, a gauge, or a timer's seconds.

        The number goes to the metrics of the engine with the name of the node, and to clients
        whose protocol has a place for measures. ValueError for a name or a value that no metric can
        hold.
        """
        self.annotations.measure(NODE.get(), name, value, kind)

    def remaining(self) -> float | None:
        """Return the seconds until the deadline, at least 0; None where there is no deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


@dataclass(frozen=True, slots=True)
class NodeFeedback:
    """A reward for a request that a node had a part in, as its component's ``feedback`` gets it."""

    id: str
    """The request's id."""
    reward: float
    truth: Sequence[bool | int | float | str] | None = None
    """The right label of each row, where the feedback tells it."""
    path: Mapping[str, str] = field(default_factory=dict)
    """The routes that were chosen for the request, by router node."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Arrays by graph input, over protocols whose feedback repeats the request; else empty."""
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Names of these arrays' columns, where the feedback has some."""


@dataclass(frozen=True)
class Bound:
    """A node's component, constructed and ready to call.

    ``call`` takes the node's inputs as keyword arguments (a combiner over a list takes one list)
    and, if ``wants_context``, ``context=``. It returns an array, a dict of arrays, or for router
    nodes the name of a route. If ``is_async``, ``call`` is a coroutine function; if ``is_stream``,
    it returns an async generator of such results.
    """

    node: str
    instance: Any
    call: Callable[..., Any]
    is_async: bool = False
    wants_context: bool = False
    is_stream: bool = False
    join: Callable[[list[Any]], Any] | None = None
    """Of a stream: makes one result of all of them, where one answer is asked for."""

    @property
    def feedback(self) -> Callable[[NodeFeedback], Any] | None:
        """The component's ``feedback(given)``, which takes rewards; None where it has none."""
        method = getattr(self.instance, "feedback", None)
        return method if callable(method) else None

    async def load(self, in_thread: bool = False) -> None:
        """Run the component's ``load()`` and then its ``warmup()``, where it has these methods.

        Methods that are not async block the event loop, unless they run ``in_thread``.
        """
        await self._hook("load", in_thread)
        await self._hook("warmup", in_thread)

    async def unload(self) -> None:
        """Run the component's ``unload()``, where it has this method."""
        await self._hook("unload")

    async def check_health(self) -> None:
        """Run the component's ``check_health()``, where it has this method; raise its error."""
        await self._hook("check_health")

    async def _hook(self, name: str, in_thread: bool = False) -> None:
        hook = getattr(self.instance, name, None)
        if callable(hook):
            result = (await asyncio.to_thread(settled, hook))() if in_thread else hook()
            if inspect.isawaitable(result):
                await result
