"""Copies of requests to mirrors, off the request path.

A copy starts once its request has been evaluated, as a task of its own, so the client waits for
nothing, and nothing that goes wrong here can reach it. The mirror evaluates the copy and compares;
only its verdict comes back. What copies may hold is bounded, from before their request's evaluation
to the verdict: those beyond are dropped and counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context as Variables
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

from anabranch.router.core import Array, InferenceCore, InferenceRequest, InferenceResponse, Verdict
from anabranch.router.limits import Limits
from anabranch.router.tally import MirrorTally, keep_latest
from anabranch.specs.models import Compare

HEADER = "x-anabranch-mirror"
"""In the headers of a copy: the revision that it went to. What bears it is not mirrored again."""

Outcome: TypeAlias = Verdict | str
"""A verdict, or the class of the error in its place."""

_CLOSE_S = 1.0
_SAMPLED = 1024
_TEXT_OVERHEAD = 56
"""Bytes of a Python string beside its characters."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A request as it was before its evaluation, and the bytes that it holds."""

    request: InferenceRequest
    headers: dict[str, str]
    size: int


@dataclass(frozen=True, slots=True)
class Parcel:
    """All that goes to a mirror: a copy, and the outputs that the client gets."""

    copy: Copy
    expected: dict[str, Array]
    rule: Compare
    size: int


class Mirrors:
    """The mirrors of one router."""

    def __init__(self, limits: Limits) -> None:
        self.tallies: dict[int, MirrorTally] = {}
        """By revision; those of the last former mirrors stay."""
        self._limits = limits
        self._wanted: frozenset[int] = frozenset()
        self._tasks: dict[asyncio.Task[Outcome], int] = {}
        self._bytes = 0

    def keep(self, wanted: Iterable[int]) -> None:
        """Send to these revisions from now on; copies on their way to others are cancelled."""
        self._wanted = frozenset(wanted)
        keep_latest(self.tallies, self._wanted)
        for task, revision in self._tasks.items():
            if revision not in self._wanted:
                task.cancel()

    async def close(self) -> None:
        """Cancel all copies, wait a second for them to end, and send no more."""
        self.keep(())
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSE_S)

    @contextmanager
    def kept(
        self, request: InferenceRequest, headers: Mapping[str, str], request_id: str
    ) -> Iterator[Copy | None]:
        """Keep a request for mirrors, while it is evaluated; None if there is no room.

        Tensors are copied: components may work in place, and a view may hold far more memory than
        its own size.
        """
        copy = self._copy(request, headers, request_id)
        size = 0 if copy is None else copy.size
        self._bytes += size
        try:
            yield copy
        finally:
            self._bytes -= size

    def _copy(
        self, request: InferenceRequest, headers: Mapping[str, str], request_id: str
    ) -> Copy | None:
        parameters = dict(request.parameters)
        size = sum(map(size_of, request.inputs.values())) + _size_of_parameters(parameters)
        inputs = self._copied(request.inputs, size)
        if inputs is None:
            return None
        own_id = request.id or request_id
        kept = replace(request, inputs=inputs, id=own_id, parameters=parameters)
        return Copy(kept, dict(headers), size)

    def send(
        self,
        mirrors: Mapping[int, InferenceCore],
        copy: Copy | None,
        response: InferenceResponse,
        rule: Compare,
    ) -> None:
        """Send a request to the mirrors that were selected for it, and ``response`` to compare.

        ``copy`` is None if there was no room for one.
        """
        parcel = self._packed(copy, response, rule)
        for revision, core in mirrors.items():
            if revision in self._wanted:
                self._send(revision, core, parcel, response.seconds)

    def _packed(
        self, copy: Copy | None, response: InferenceResponse, rule: Compare
    ) -> Parcel | None:
        if copy is None:
            return None
        outputs = {output.name: output.array for output in response.outputs}
        size = copy.size + sum(map(size_of, outputs.values()))
        expected = self._copied(outputs, size)
        return None if expected is None else Parcel(copy, expected, rule, size)

    def _copied(self, arrays: Mapping[str, Array], size: int) -> dict[str, Array] | None:
        if not self._has_room(size):
            return None
        try:
            return {name: array.copy() for name, array in arrays.items()}
        except MemoryError:
            return None

    def _has_room(self, size: int) -> bool:
        limits = self._limits
        fits = self._bytes + size <= limits.max_mirror_bytes
        return fits and len(self._tasks) < limits.max_mirrors

    def _send(
        self, revision: int, core: InferenceCore, parcel: Parcel | None, seconds: float
    ) -> None:
        tally = self.tallies.setdefault(revision, MirrorTally())
        tally.selected += 1
        if parcel is None or not self._has_room(parcel.size):
            tally.dropped += 1
            return
        tally.sent += 1
        tally.pending += 1
        self._bytes += parcel.size
        # Nothing of the request's own context: Serve would take the copy for a part of it, and
        # cancel one with the other.
        work = _outcome(core, parcel, str(revision))
        task = asyncio.get_running_loop().create_task(work, context=Variables())
        self._tasks[task] = revision
        task.add_done_callback(partial(self._done, tally, parcel.size, seconds))

    def _done(
        self, tally: MirrorTally, size: int, seconds: float, task: asyncio.Task[Outcome]
    ) -> None:
        del self._tasks[task]
        self._bytes -= size
        tally.pending -= 1
        outcome = "Cancelled" if task.cancelled() else task.result()
        if isinstance(outcome, str):
            tally.fail(outcome)
        else:
            _compared(tally, outcome, seconds)


def _compared(tally: MirrorTally, verdict: Verdict, seconds: float) -> None:
    tally.compared += 1
    tally.agreed += verdict.agreed
    tally.close += verdict.close
    tally.latency.add(verdict.seconds)
    tally.primary.add(seconds)


async def _outcome(core: InferenceCore, parcel: Parcel, revision: str) -> Outcome:
    """Let a mirror evaluate and compare, within the time of its graph.

    Errors end here, for a task that fails with one keeps all that the copy held until Python's
    collector comes by.
    """
    headers = parcel.copy.headers | {HEADER: revision}
    try:
        return await core.compare(parcel.copy.request, headers, parcel.expected, parcel.rule)
    except Exception as error:
        return type(error).__name__


def _size_of_parameters(parameters: Mapping[str, Any]) -> int:
    texts = [*parameters, *(value for value in parameters.values() if isinstance(value, str))]
    return sum(map(len, texts)) + _TEXT_OVERHEAD * 2 * len(parameters)


def size_of(array: Array) -> int:
    """Bytes that a tensor holds; for BYTES with many elements an estimate, from some of them."""
    if array.dtype != object or not array.size:
        return array.nbytes
    # Every so many-th, an odd number of them: patterns mostly have an even period.
    sample = array.flat[:: array.size // _SAMPLED | 1]
    texts = sum(len(item) if isinstance(item, str | bytes) else 0 for item in sample)
    return array.nbytes + array.size * (_TEXT_OVERHEAD + texts // len(sample))
