"""The body with which a batch job is started."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from anabranch.client.batch.job import CONCURRENCY, ROWS
from anabranch.client.batch.manifest import BatchJob
from anabranch.control.jobs.record import JobPlan
from anabranch.control.settings.job_places import as_path
from anabranch.specs.models import Model

_Name = Annotated[str, Field(min_length=1, max_length=256)]
_Url = Annotated[str, Field(min_length=1, max_length=2048)]
_Names = Annotated[tuple[_Name, ...], Field(max_length=4096, strict=False)]


class JobRequest(Model):
    """A job to run: ``columns`` by input, ``kept`` are copied, ``outputs`` are asked for.

    With ``replicas`` it runs on so many of its own, else through the graph, in requests of ``rows``
    rows, ``concurrency`` of them at a time, and at most ``rate`` rows a second.
    """

    graph: _Name
    input: _Url
    output: _Url
    revision: Annotated[int, Field(ge=1)] | None = None
    columns: Annotated[dict[_Name, _Names], Field(max_length=256)] = Field(default_factory=dict)
    kept: _Names = ()
    outputs: _Names = ()
    chunk: Annotated[int, Field(ge=1)] | None = None
    rows: Annotated[int, Field(ge=1, le=100_000)] = ROWS
    concurrency: Annotated[int, Field(ge=1, le=256)] = CONCURRENCY
    rate: Annotated[float, Field(gt=0, le=1e9)] | None = None
    replicas: Annotated[int, Field(ge=0, le=1024)] = 0

    def job(self) -> BatchJob:
        """Return the job itself."""
        columns = {name: list(listed) for name, listed in self.columns.items()}
        return BatchJob(
            self.graph,
            as_path(self.input),
            as_path(self.output),
            self.revision,
            columns,
            list(self.kept),
            list(self.outputs),
            self.chunk,
        )

    def plan(self) -> JobPlan:
        """Return how it runs."""
        return JobPlan(self.rows, self.concurrency, self.rate, self.replicas)
