"""The process that runs one job of the engine: an actor that Ray starts again where it dies.

All that a job has done lies in its output, so a process that starts anew goes on there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anabranch.client.batch.job import Answer, EngineGraph, JobPace, run_job
from anabranch.client.batch.progress import JobProgress
from anabranch.client.connection.engine_state import read_token, require_state
from anabranch.client.connection.session import EngineSession
from anabranch.client.http import AsyncTransport, EngineUnreachable
from anabranch.control.jobs.record import JobRecord
from anabranch.control.jobs.replicas import ReplicaSpec, on_replicas
from anabranch.errors import AnabranchError, Conflict, LeaseLost, Unavailable
from anabranch.serve.export.logs import write_logs

logger = logging.getLogger("anabranch.control")

PATIENCE_S = 600.0
"""Time for which a job waits for an engine, or for files, that do not answer, in seconds."""
_PAUSE_S = 2.0
_NICENESS = 10
"""What a job takes of processors is left over by what answers requests."""
_PASSING = (EngineUnreachable, Unavailable, Conflict, LeaseLost)


@dataclass(frozen=True)
class JobStatus:
    """What the process of a job tells: its counts, and how it has ended; ``state`` is one of
    ``JobState``.
    """

    state: str
    reason: str
    progress: dict[str, Any]


class JobPatience:
    """Ends with a job that gets no further for ``PATIENCE_S`` seconds since its last trouble began.

    To begin again is no progress: a job that fails anew at the same rows would never end.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._done = -1
        self._since: float | None = None

    def is_at(self, done: int) -> None:
        """Note how many rows are done."""
        if done > self._done:
            self._done, self._since = done, None

    def is_over_after_trouble(self) -> bool:
        """Note a trouble; return whether the job has been in trouble for too long."""
        now = self._clock()
        self._since = now if self._since is None else self._since
        return now - self._since > PATIENCE_S


class JobWorker:
    """The actor's class. ``record`` is the job's as JSON, ``home`` the engine's."""

    def __init__(self, record: str, home: Path, replicas: ReplicaSpec | None = None) -> None:
        write_logs()
        os.nice(_NICENESS)
        self._record = JobRecord.from_json(record)
        self._home = home
        self._answer: Answer | None = None if replicas is None else on_replicas(replicas)
        self._progress: JobProgress | None = None
        self._patience = JobPatience()
        self._end: tuple[str, str] | None = None
        threading.Thread(target=self._run, name="job", daemon=True).start()

    async def status(self) -> JobStatus:
        """Return how far the job is."""
        state, reason = self._end or ("running", "")
        found = self._progress
        return JobStatus(state, reason, {} if found is None else found.document())

    async def close(self) -> None:
        """Answer before the process is ended."""

    def _run(self) -> None:
        """Run the job until it has ended for good."""
        while self._end is None:
            try:
                asyncio.run(self._once())
                self._end = ("finished", "")
            except _PASSING as error:
                self._wait(error)
            except AnabranchError as error:
                self._end = ("failed", str(error))
            except Exception as error:
                logger.exception("job %s has failed", self._record.id)
                self._end = ("failed", f"unexpected error: {type(error).__name__}; see the log")

    def _wait(self, error: AnabranchError) -> None:
        """Wait a moment before the job is gone on with; end it where it has waited long enough."""
        if self._patience.is_over_after_trouble():
            self._end = ("failed", str(error))
        else:
            logger.warning("job %s waits: %s", self._record.id, error)
            time.sleep(_PAUSE_S)

    async def _once(self) -> None:
        state, token = require_state(self._home), read_token(self._home)
        transport = AsyncTransport(state.http, token, verify=state.verify)
        session = EngineSession(state.http, token, self._home, state.verify)
        job, plan = self._record.job, self._record.plan
        pace = JobPace(plan.rows, plan.concurrency, plan.rate, None, PATIENCE_S)
        try:
            graph = EngineGraph(transport, session, job)
            by = f"job {self._record.id} of the engine"
            await run_job(job, graph, pace, self._said, answer=self._answer, by=by)
        finally:
            await transport.close()

    def _said(self, progress: JobProgress) -> None:
        self._progress = progress
        self._patience.is_at(progress.done)
