"""The model as an explainer asks it: a function that waits, over an executor that does not.

Rows are asked in parts. What a copy in this process is asked has no reader but the explanation, so
there only memory bounds a part. A deployment of the node also answers predictions, and what is one
call to it keeps them waiting: with ``batching`` a part is one batch, of the lowest priority;
without, parts are as large as take ``PART_S``, no more of them are on their way than there are
replicas, and after each there is a rest as long as it took.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from statistics import median_low
from typing import Any, TypeAlias, TypeVar

import numpy as np

from anabranch.components.annotations import Annotations
from anabranch.components.contract import Context
from anabranch.components.tensors.arrays import to_array
from anabranch.components.tensors.datatypes import to_dtype
from anabranch.errors import DeadlineExceeded, NodeError
from anabranch.graph.batch.batching import LOWEST_LEVEL, PRIORITY
from anabranch.graph.batch.rows import check_rows
from anabranch.graph.calls.tasks import LeftBehind, Tasks
from anabranch.graph.compile.explainers import ExplainedPart
from anabranch.specs.models import NodeBase, TensorSpec

Array: TypeAlias = np.ndarray[Any, Any]
Values: TypeAlias = Mapping[str, Array]
Evaluate: TypeAlias = Callable[[Values, Context], Awaitable[Values]]
"""Evaluates the model for some rows."""
T = TypeVar("T")

PART_S = 0.004
"""How long the rows of a part may keep a deployment busy that also answers predictions, in seconds,
beside what a call takes by itself."""
_CALM = 16
"""Parts after one that took too long before they may grow again."""
MOST_ROWS = 1024
_BY_ROWS = "what is explained must have one row for each of its input"
MOST_BYTES = 64 * 2**20
"""Bytes of inputs in a part, wherever it goes."""


@dataclass(eq=False)
class Asking:
    """One explanation under way: its request, what it has asked, and what it waits for."""

    context: Context
    calls: int = 0
    """Calls of the explainer to the model."""
    rows: int = 0
    _waits: set[Future[Any]] = field(default_factory=set)
    _over: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
        """Run ``work`` on the loop and wait for it in this thread, until ``end``."""
        with self._lock:
            if self._over:
                work.close()
                raise DeadlineExceeded("nobody waits for this explanation any more")
            future = asyncio.run_coroutine_threadsafe(work, loop)
            self._waits.add(future)
        try:
            return future.result()
        except CancelledError:
            raise DeadlineExceeded("nobody waits for this explanation any more") from None
        except BaseException:
            future.cancel()
            raise
        finally:
            with self._lock:
                self._waits.discard(future)

    def end(self) -> None:
        """Cancel what it waits for, and let it ask no more."""
        with self._lock:
            self._over = True
            waits = tuple(self._waits)
        for future in waits:
            future.cancel()


class PartSizes:
    """The number of rows of the next part, by the time that the parts before it took.

    A call takes time by itself, which fewer rows do not save: what a part of one row takes is left
    out of what its rows take.
    """

    def __init__(self, most: int, seconds: float | None) -> None:
        self.rows = most if seconds is None else 1
        self._most = most
        self._seconds = seconds
        self._calls: deque[float] = deque(maxlen=_CALM)
        """Durations of the latest parts of one row, in seconds."""
        self._calm = 1
        """Parts until one may be larger; of the first two, one may have found everything cold."""

    @classmethod
    def of(cls, target: NodeBase | None, is_remote: bool) -> PartSizes:
        """Parts for a node; for a copy, or the whole graph, as large as they may be."""
        if not is_remote or target is None:
            return cls(2**31, None)
        if target.batching is not None:
            return cls(target.batching.max_size, None)
        return cls(MOST_ROWS, PART_S)

    def took(self, rows: int, seconds: float) -> float:
        """Note how long a part took; returns how long to rest, in seconds."""
        if self._seconds is None:
            return 0.0
        of_rows = seconds - self._call(rows, seconds)
        if of_rows > self._seconds:
            self.rows, self._calm = max(1, min(self.rows, rows) // 2), _CALM
        elif rows == self.rows and of_rows < self._seconds / 2:
            self.rows = self.rows if self._calm else min(self.rows * 2, self._most)
            self._calm = max(0, self._calm - 1)
        return seconds

    def _call(self, rows: int, seconds: float) -> float:
        """Return the estimated time of a call by itself, in seconds, after one more part."""
        if rows > 1 and self._calls and seconds < median_low(self._calls):
            self._calls.clear()
        if rows == 1 or not self._calls:
            self._calls.append(seconds)
        return median_low(self._calls)


_CURRENT: ContextVar[Asking | None] = ContextVar("asking", default=None)


class AskedModel:
    """A ``Model`` over an asynchronous function, for the explanations of one explainer.

    ``inputs``, ``outputs`` and ``instance`` are as in ``Model``. A deployment of the node may have
    as many calls on their way as it has replicas.
    """

    def __init__(
        self,
        reach: ExplainedPart,
        evaluate: Evaluate,
        instance: Any,
        inputs: Mapping[str, TensorSpec | None],
        outputs: Mapping[str, TensorSpec | None] | None,
    ) -> None:
        target = reach.target
        self.node: NodeBase | None = None if target is None else target.spec
        self.inputs = inputs
        self.outputs = outputs
        self.instance = instance
        self._name = reach.node.name if target is None else target.name
        self._evaluate = evaluate
        self._parts = PartSizes.of(self.node, reach.remote is not None)
        self._is_batched = self.node is not None and self.node.batching is not None
        self._places = _replicas(self.node) if reach.remote is not None else 1
        self._limit = asyncio.Semaphore(self._places)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._left_behind = LeftBehind()
        self._ongoing: list[Asking] = []

    @contextmanager
    def asked(self, asking: Asking) -> Iterator[None]:
        """Within, calls to the model from this thread belong to an explanation."""
        token = _CURRENT.set(asking)
        self._ongoing.append(asking)
        try:
            yield
        finally:
            self._ongoing.remove(asking)
            _CURRENT.reset(token)

    def __call__(self, inputs: Values) -> Values:
        """Evaluate rows, as many as there are; see ``Model``."""
        if threading.get_ident() == self._thread:
            raise NodeError(self._name, "its model must not be called on the event loop")
        asking = self._asking()
        arrays = {name: self._typed(name, value) for name, value in inputs.items()}
        asking.calls += 1
        asking.rows += max(
            (len(array) if array.ndim else 1 for array in arrays.values()), default=1
        )
        return asking.wait(self._all(arrays, asking.context), self._loop)

    def _asking(self) -> Asking:
        """The explanation that this thread works for, or one that works for it may have."""
        ongoing = tuple(self._ongoing)
        found = _CURRENT.get() or (ongoing[0] if len(ongoing) == 1 else None)
        return found or Asking(Context(is_traffic=False))

    def _typed(self, name: str, value: Any) -> Array:
        """A value as the model would get it in a prediction: of the declared datatype."""
        array, spec = to_array(value), self.inputs.get(name)
        return array if spec is None else array.astype(to_dtype(spec.datatype), copy=False)

    async def _all(self, values: Values, context: Context) -> Values:
        rows = _rows(self._name, values)
        # What an explanation asks the model is not recorded call by call: there are thousands.
        parameters = self._parameters(context)
        context = replace(
            context, path={}, parameters=parameters, trace=None, annotations=Annotations()
        )
        size = sum(array.nbytes for array in values.values()) // max(rows or 1, 1)
        largest = max(1, MOST_BYTES // max(size, 1))
        if rows is None or rows <= min(self._parts.rows, largest):
            return await self._part(values, context, rows or 1)
        found: dict[int, Values] = {}
        spans = _spans(rows, lambda: min(self._parts.rows, largest))

        async def work() -> None:
            for start, end in spans:
                part = {name: array[start:end] for name, array in values.items()}
                found[start] = await self._part(part, context, end - start)
                check_rows(self._name, found[start], end - start, _BY_ROWS)

        tasks = Tasks(self._left_behind)

        async def begin() -> None:
            for _ in range(self._places):
                tasks.create_task(work())

        await tasks.run(begin())
        return _joined([found[start] for start in sorted(found)])

    def _parameters(self, context: Context) -> Mapping[str, Any]:
        if not self._is_batched:
            return context.parameters
        return {**context.parameters, PRIORITY: LOWEST_LEVEL}

    async def _part(self, values: Values, context: Context, rows: int) -> Values:
        await self._limit.acquire()
        started, rest = time.perf_counter(), 0.0
        try:
            found = await self._evaluate(values, context)
            rest = self._parts.took(rows, time.perf_counter() - started)
        finally:
            self._loop.call_later(rest, self._limit.release)
        return found


def _spans(rows: int, size: Callable[[], int]) -> Iterator[tuple[int, int]]:
    """Where parts of some rows begin and end; the size is asked for when each is taken."""
    start = 0
    while start < rows:
        end = min(start + size(), rows)
        yield start, end
        start = end


def _replicas(node: NodeBase | None) -> int:
    scaling = None if node is None else node.scaling
    return 1 if scaling is None else scaling.replicas or scaling.min or 1


def _rows(name: str, values: Values) -> int | None:
    """The rows of all inputs; None where they have none, or not the same."""
    found = {array.shape[0] if array.ndim else None for array in values.values()}
    return found.pop() if len(found) == 1 else None


def _joined(parts: list[Values]) -> Values:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
