"""Endpoints of batch jobs.

| method | path | answers |
|---|---|---|
| GET | ``/jobs?graph=`` | ``{"jobs": [...]}``, the newest first |
| POST | ``/jobs`` | 201, the job, for ``{"graph", "input", "output", …}``, see ``JobRequest`` |
| GET | ``/jobs/<job>`` | the job, with its ``state`` and ``progress`` |
| POST | ``/jobs/<job>/cancel`` | the job; its output so far stays |

Input and output are below what ``ANABRANCH_JOBS`` allows graphs of the namespace. To start and to
cancel a job takes what changes the traffic of its graph, to see it what shows the graph.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from anabranch.access.roles import Action
from anabranch.control.api.endpoints import (
    ApiAnswer,
    ApiCall,
    Guarded,
    Routes,
    answer,
    deleted,
    read_body,
)
from anabranch.control.api.jobs.job_request import JobRequest
from anabranch.control.jobs.book import JobBook
from anabranch.control.jobs.places import check_job
from anabranch.control.jobs.record import JobRecord
from anabranch.control.lifecycle.operations import GONE
from anabranch.control.settings.job_places import JobPlace
from anabranch.control.store.store import Store

_JOB = "/jobs/(?P<key>[^/]{1,64})"


@dataclass(eq=False, repr=False)
class JobApi:
    """Answers about jobs."""

    _store: Store
    _book: JobBook
    _allowed: tuple[JobPlace, ...]
    _changed: Callable[[], None]
    """Called where a job was added or cancelled."""

    def __post_init__(self) -> None:
        self.routes: Routes = {
            "/jobs": {
                "GET": Guarded("view", self._list, somewhere=True),
                "POST": Guarded("operate", self._start, somewhere=True),
            },
            _JOB: {"GET": Guarded("view", self._show, somewhere=True)},
            f"{_JOB}/cancel": {"POST": Guarded("operate", self._cancel, somewhere=True)},
        }

    async def _list(self, call: ApiCall) -> ApiAnswer:
        found = await asyncio.to_thread(self._book.all)
        graph = call.query.get("graph")
        shown = [
            one.view()
            for one in found
            if call.may_view(one.job.graph) and graph in (None, one.job.graph)
        ]
        return answer(200, {"jobs": shown})

    async def _show(self, call: ApiCall) -> ApiAnswer:
        return answer(200, (await self._found(call, "view")).view())

    async def _start(self, call: ApiCall) -> ApiAnswer:
        asked = read_body(call.body, JobRequest)
        _check(call, "operate", asked.graph)
        await asyncio.to_thread(check_job, asked.job(), self._allowed)
        record = JobRecord(
            uuid4().hex[:12], asked.job(), asked.plan(), str(call.identity), time.time()
        )
        await asyncio.to_thread(self._add, record)
        self._changed()
        return answer(201, record.view())

    def _add(self, record: JobRecord) -> None:
        """Keep a job; NotFound for a graph or revision that is not there; as ``JobBook.add``."""
        if self._store.situation(record.job.graph).situation.state in GONE:
            raise deleted(record.job.graph)
        if record.job.revision is not None:
            self._store.revision(record.job.graph, record.job.revision)
        self._book.add(record)

    async def _cancel(self, call: ApiCall) -> ApiAnswer:
        record = await self._found(call, "operate")
        found = await asyncio.to_thread(
            self._book.change, record.id, lambda one: one.ended(time.time(), "cancelled")
        )
        self._changed()
        return answer(200, found.view())

    async def _found(self, call: ApiCall, action: Action) -> JobRecord:
        record = await asyncio.to_thread(self._book.get, call.key)
        _check(call, action, record.job.graph)
        return record


def _check(call: ApiCall, action: Action, graph: str) -> None:
    if not call.identity.may(action, graph):
        raise call.identity.refusal(action, graph)
