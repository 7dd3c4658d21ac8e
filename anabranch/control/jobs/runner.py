"""Sees to it that each job which should run has a process, and that none has which should not."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from anabranch.control.jobs.book import JobBook
from anabranch.control.jobs.metrics import JobMetrics
from anabranch.control.jobs.places import check_job
from anabranch.control.jobs.record import JobRecord
from anabranch.control.jobs.replicas import ReplicaSpec
from anabranch.control.jobs.worker import JobStatus, JobWorker
from anabranch.control.lifecycle.operations import GONE
from anabranch.control.release.releases import Releases
from anabranch.control.settings.job_places import JobPlace
from anabranch.control.settings.settings import Settings
from anabranch.control.store.store import Store
from anabranch.control.tasks import WokenLoop
from anabranch.errors import AnabranchError, NotFound, Unavailable
from anabranch.serve import bound_actors
from anabranch.serve.data_pipeline import ReplicaNeeds
from anabranch.serve.node import node_id

logger = logging.getLogger("anabranch.control")

PERIOD_S, _REST_S = 1.0, 3600.0
"""Seconds between two rounds, with and without jobs that are not over."""
MOST_AT_ONCE = 2
"""Jobs that run at the same time; others wait for their turn, the oldest first."""
ACTOR = "job."
_PATIENCE_S = 2.0


class JobProcesses:
    """The processes that run jobs, by the jobs' ids: actors on the engine's own machine, which Ray
    starts again where they die.
    """

    def __init__(self, settings: Settings) -> None:
        self._home = settings.home

    def running(self) -> set[str]:
        """Return the jobs that have an actor."""
        names = bound_actors.actors()
        return {name.removeprefix(ACTOR) for name in names if name.startswith(ACTOR)}

    def start(self, record: JobRecord, replicas: ReplicaSpec | None) -> None:
        """Start the actor of a job, if it has none; returns before it is up."""
        name, text = ACTOR + record.id, record.to_json()
        bound_actors.start_on(node_id(), JobWorker, name, text, self._home, replicas)

    def status(self, id: str) -> JobStatus | None:
        """Return what a job's actor tells; None if it does not answer now."""
        found: Any = bound_actors.ask(ACTOR + id, "status", _PATIENCE_S)
        return found if isinstance(found, JobStatus) else None

    def stop(self, id: str) -> None:
        """End the actor for good."""
        bound_actors.stop(ACTOR + id, last="close")


class JobRunner(WokenLoop[str]):
    """Runs the jobs in the store."""

    def __init__(
        self,
        store: Store,
        book: JobBook,
        releases: Releases,
        processes: JobProcesses,
        allowed: tuple[JobPlace, ...],
        clock: Callable[[], float] = time.time,
        metrics: JobMetrics | None = None,
    ) -> None:
        super().__init__()
        self._store = store
        self._book = book
        self._releases = releases
        self._processes = processes
        self._allowed = allowed
        self._clock = clock
        self._metrics = metrics or JobMetrics()
        self._may_run = True
        """Whether a job may have a process: one of a controller before this one, at first."""

    async def _round(self) -> float:
        return PERIOD_S if await asyncio.to_thread(self.round) else _REST_S

    def round(self) -> bool:
        """Look once: note what has ended, start what is due, and end what is over.

        Return whether there is more to look for.
        """
        if not (self._may_run or self._book.open()):
            return False
        self._leave_deleted()
        processes = self._processes.running()
        for record in self._book.open():
            if record.state == "running":
                self._apart(record, partial(self._follow, record, record.id in processes))
        still = self._book.open()
        running = [one for one in still if one.state == "running"]
        waiting = [one for one in still if one.state == "pending"]
        for record in _due(waiting, MOST_AT_ONCE - len(running)):
            self._apart(record, partial(self._begin, record))
        after = self._book.open()
        for id in processes - {one.id for one in after if one.state == "running"}:
            self._processes.stop(id)
        self._may_run = bool(after)
        return self._may_run

    def _leave_deleted(self) -> None:
        """Let the jobs fail whose graph is gone."""
        there = {
            one.situation.graph
            for one in self._store.situations()
            if one.situation.state not in GONE
        }
        for record in self._book.open():
            graph = record.job.graph
            if graph not in there:
                self._apart(record, partial(self._fail, record, f"graph {graph!r} was deleted"))

    def _apart(self, record: JobRecord, work: Callable[[], None]) -> None:
        """Do something for a job, whose trouble must not keep the others from running."""
        try:
            work()
        except Unavailable as error:
            logger.warning("job %s has to wait: %s", record.id, error)
        except Exception:
            logger.exception("job %s has to wait", record.id)

    def _fail(self, record: JobRecord, reason: str) -> None:
        self._book.change(record.id, lambda now: now.ended(self._clock(), "failed", reason))

    def _follow(self, record: JobRecord, has_process: bool) -> None:
        """Note how far a job is; start its process again if it has none."""
        if not has_process:
            self._launch(record)
            return
        status = self._processes.status(record.id)
        if status is None:
            return
        now = replace(record, progress=status.progress or record.progress)
        if status.state in ("finished", "failed"):
            now = now.ended(self._clock(), status.state, status.reason)  # type: ignore[arg-type]
        after = self._book.change(record.id, lambda before: now)
        self._metrics.progressed(record.job.graph, record.progress, after.progress)

    def _begin(self, record: JobRecord) -> None:
        """Begin a job, which fails where that can never be."""
        try:
            begun = record.begun(self._clock(), self._revision(record))
        except Unavailable:
            raise  # the next round tries again
        except AnabranchError as error:
            self._fail(record, str(error))
            return
        after = self._book.change(record.id, lambda before: begun)
        if after.state == "running":
            self._launch(after)

    def _launch(self, record: JobRecord) -> None:
        """Start the process of a job, which fails where that can never be."""
        try:
            check_job(record.job, self._allowed)
            self._processes.start(record, self._replicas(record))
        except Unavailable:
            raise  # the next round tries again
        except AnabranchError as error:
            self._fail(record, str(error))

    def _revision(self, record: JobRecord) -> int | None:
        """Return the revision that a job keeps to; None where it has the graph's traffic."""
        job = record.job
        if job.revision is not None or not record.plan.replicas:
            return job.revision
        stable = self._store.situation(job.graph).situation.stable
        if stable is None:
            raise NotFound(f"graph {job.graph!r} has no stable revision")
        return stable

    def _replicas(self, record: JobRecord) -> ReplicaSpec | None:
        """Return the replicas of a job; None where it goes through the graph."""
        number = record.job.revision
        if number is None or not record.plan.replicas:
            return None
        release = self._releases.release(self._store.revision(record.job.graph, number))
        wanted = [one.resources for one in release.plan.segments if one.resources is not None]
        needs = ReplicaNeeds(
            max((one.cpu or 0 for one in wanted), default=0.0),
            sum(one.gpu or 0 for one in wanted),
            release.environment(release.plan.head),
        )
        return ReplicaSpec(record.plan.replicas, number, release.spec, needs)


def _due(waiting: Sequence[JobRecord], places: int) -> Sequence[JobRecord]:
    return sorted(waiting, key=lambda one: one.created_at)[: max(0, places)]
