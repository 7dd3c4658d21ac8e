"""Copies of requests to mirrors, off the request path.

A copy starts once its request has been evaluated, as a task of its own, so the client waits for
nothing, and nothing that goes wrong here can reach it. The mirror evaluates the copy and compares;
only its verdict comes back. What copies may hold is bounded, from before their request's evaluation
to the verdict: those beyond are dropped and counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import NamedTuple, TypeAlias

from msgspec.structs import replace

from anabranch.components.tensors.memory import size_of
from anabranch.errors import DeadlineExceeded
from anabranch.router.inference.contract import Array, InferenceResponse, Verdict
from anabranch.router.inference.core import InferenceCore
from anabranch.router.limits import RequestLimits
from anabranch.router.measure.tally import MirrorTally, keep_latest
from anabranch.router.tracing import below
from anabranch.router.traffic.request_copies import Copies, Copy
from anabranch.specs.models import Compare
from anabranch.telemetry.activity import ACTIVITY

HEADER = "x-anabranch-mirror"
"""In the headers of a copy: the revision that it went to. What bears it is not mirrored again."""

WATCH_S = 0.1
"""Seconds between two looks for copies whose time is over: a timer for each would cost more."""
Outcome: TypeAlias = Verdict | str
"""A verdict, or the class of the error in its place."""


class MirrorCopy(NamedTuple):
    """A copy for a mirror, with the outputs that the client gets."""

    copy: Copy
    expected: dict[str, Array]
    rule: Compare
    size: int


class Mirrors:
    """The mirrors of one router."""

    def __init__(self, limits: RequestLimits) -> None:
        self.tallies: dict[int, MirrorTally] = {}
        """By revision; those of the last former mirrors stay."""
        self._copies = Copies(limits.max_mirrors, limits.max_mirror_bytes)
        self.kept = self._copies.kept
        self._wanted: frozenset[int] = frozenset()
        self._tasks: dict[asyncio.Task[Outcome], tuple[int, float]] = {}
        """Revision, and when the time of the copy is over, on the clock of ``time.monotonic``."""
        self._is_watching = False

    def keep(self, wanted: Iterable[int]) -> None:
        """Send to these revisions from now on; copies on their way to others are cancelled."""
        self._wanted = frozenset(wanted)
        keep_latest(self.tallies, self._wanted)
        for task, (revision, _) in self._tasks.items():
            if revision not in self._wanted:
                task.cancel()

    def _watch(self) -> None:
        """Cancel copies whose time is over, and look again while there are others."""
        now = time.monotonic()
        for task, (_, due) in self._tasks.items():
            if due <= now and not task.cancelling():
                task.cancel()
        self._is_watching = bool(self._tasks)
        if self._is_watching:
            asyncio.get_running_loop().call_later(WATCH_S, self._watch)

    async def close(self) -> None:
        """Cancel all copies, wait a second for them to end, and send no more."""
        self.keep(())
        await self._copies.close()

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
    ) -> MirrorCopy | None:
        if copy is None:
            return None
        outputs = {output.name: output.array for output in response.outputs}
        size = copy.size + sum(map(size_of, outputs.values()))
        expected = self._copies.copied(outputs, size)
        return None if expected is None else MirrorCopy(copy, expected, rule, size)

    def _send(
        self, revision: int, core: InferenceCore, parcel: MirrorCopy | None, seconds: float
    ) -> None:
        tally = self.tallies.setdefault(revision, MirrorTally())
        tally.selected += 1
        if parcel is None or not self._copies.has_room(parcel.size):
            tally.dropped += 1
            return
        tally.sent += 1
        tally.pending += 1
        due = time.monotonic() + core.seconds(parcel.copy.request.parameters)
        task = self._copies.launch(_outcome(core, parcel, str(revision)), parcel.size)
        self._tasks[task] = revision, due
        task.add_done_callback(partial(self._done, tally, seconds))
        if not self._is_watching:
            self._watch()

    def _done(self, tally: MirrorTally, seconds: float, task: asyncio.Task[Outcome]) -> None:
        _, due = self._tasks.pop(task)
        tally.pending -= 1
        ACTIVITY.mark()  # the request may have ended long ago
        outcome = _cancelled(due) if task.cancelled() else task.result()
        if isinstance(outcome, str):
            tally.fail(outcome)
        else:
            _compared(tally, outcome, seconds)


def _cancelled(due: float) -> str:
    return DeadlineExceeded.__name__ if time.monotonic() >= due else "Cancelled"


def _compared(tally: MirrorTally, verdict: Verdict, seconds: float) -> None:
    tally.compared += 1
    tally.agreed += verdict.agreed
    tally.close += verdict.close
    tally.latency.add(verdict.seconds)
    tally.primary.add(seconds)


async def _outcome(core: InferenceCore, parcel: MirrorCopy, revision: str) -> Outcome:
    """Let a mirror evaluate and compare.

    Errors end here, for a task that fails with one keeps all that the copy held until Python's
    collector comes by.
    """
    # A copy of its own: several mirrors share the request.
    request = parcel.copy.request
    request = replace(request, headers={**request.headers, HEADER: revision})
    try:
        with below(request, f"mirror r{revision}", revision=core.revision, mirror=True):
            return await core.compare(request, parcel.expected, parcel.rule)
    except Exception as error:
        return type(error).__name__
