"""Copies of requests for what is done with them off the request path, within bounds.

A copy is made before its request is evaluated, since components may work in place, and what is done
with it is a task of its own: the client waits for nothing, and nothing that goes wrong there can
reach it. Bounded is what all copies hold, from before the evaluation to the end of their task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context as Variables
from dataclasses import dataclass
from typing import Any, TypeVar

from msgspec.structs import replace

from anabranch.components.tensors.memory import TEXT, size_of
from anabranch.router.inference.contract import Array, InferenceRequest

_CLOSE_S = 1.0
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Copy:
    """A request as it was before its evaluation, and the bytes that it holds."""

    request: InferenceRequest
    size: int


class Copies:
    """Copies of one kind in one router: at most ``most`` tasks, and ``size`` bytes of tensors."""

    def __init__(self, most: int, size: int) -> None:
        self._most = most
        self._size = size
        self.held = 0
        """Bytes of all copies now."""
        self._tasks: set[asyncio.Task[Any]] = set()

    @contextmanager
    def kept(self, request: InferenceRequest) -> Iterator[Copy | None]:
        """Keep a request while it is evaluated; None if there is no room.

        Tensors are copied: components may work in place, and a view may hold far more memory than
        its own size.
        """
        copy = self._copy(request)
        size = 0 if copy is None else copy.size
        self.held += size
        try:
            yield copy
        finally:
            self.held -= size

    def _copy(self, request: InferenceRequest) -> Copy | None:
        parameters = dict(request.parameters)
        size = sum(map(size_of, request.inputs.values())) + _size_of_parameters(parameters)
        inputs = self.copied(request.inputs, size)
        if inputs is None:
            return None
        headers = dict(request.headers.items())
        kept = replace(request, inputs=inputs, parameters=parameters, headers=headers)
        return Copy(kept, size)

    def copied(self, arrays: Mapping[str, Array], size: int) -> dict[str, Array] | None:
        """Copies of tensors that hold ``size`` bytes; None if there is no room."""
        if not self.has_room(size):
            return None
        try:
            return {name: array.copy() for name, array in arrays.items()}
        except MemoryError:
            return None

    def has_room(self, size: int) -> bool:
        """Return whether so many bytes, and their task, may be added."""
        return self.held + size <= self._size and len(self._tasks) < self._most

    def launch(self, work: Coroutine[Any, Any, _Result], size: int) -> asyncio.Task[_Result]:
        """Start what is done with ``size`` bytes of copies.

        It gets nothing of the request's own context: Serve would take it for a part of the request,
        and cancel one with the other.
        """
        task = asyncio.get_running_loop().create_task(work, context=Variables())
        self.held += size
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(done, size))
        return task

    def _ended(self, task: asyncio.Task[Any], size: int) -> None:
        self._tasks.discard(task)
        self.held -= size

    async def close(self) -> None:
        """Cancel all tasks, and wait a second for them to end."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSE_S)


def _size_of_parameters(parameters: Mapping[str, Any]) -> int:
    texts = [*parameters, *(value for value in parameters.values() if isinstance(value, str))]
    return sum(map(len, texts)) + TEXT * 2 * len(parameters)
