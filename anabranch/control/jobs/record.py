"""The record of a job, as the store keeps it; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Self, TypeAlias

from anabranch.client.batch.manifest import BatchJob, job_document
from anabranch.components.artefacts.uris import redacted
from anabranch.control.timestamps import timestamp, timestamp_if_any

JobState: TypeAlias = Literal["pending", "running", "finished", "failed", "cancelled"]
OVER: frozenset[JobState] = frozenset({"finished", "failed", "cancelled"})


@dataclass(frozen=True)
class JobPlan:
    """How the engine runs a job: through the graph, or on so many ``replicas`` of its own."""

    rows: int
    concurrency: int
    rate: float | None = None
    replicas: int = 0


@dataclass(frozen=True)
class JobRecord:
    """A job, who asked for it, and how far it is; times are Unix times."""

    id: str
    job: BatchJob
    plan: JobPlan
    actor: str
    created_at: float
    state: JobState = "pending"
    reason: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    progress: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether nothing runs it any more."""
        return self.state in OVER

    def to_json(self) -> str:
        """Return the record as JSON."""
        return json.dumps({**asdict(self), "job": job_document(self.job)})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` has written."""
        found = json.loads(text)
        own = {"job": BatchJob(**found["job"]), "plan": JobPlan(**found["plan"])}
        return cls(**{**found, **own})

    def begun(self, now: float, revision: int | None = None) -> Self:
        """Return the record once the job runs, from now on with ``revision`` if it keeps to one."""
        job = replace(self.job, revision=revision or self.job.revision)
        return replace(self, job=job, state="running", started_at=now)

    def ended(self, now: float, state: JobState, reason: str = "") -> Self:
        """Return the record once nothing runs the job any more."""
        return replace(self, state=state, reason=reason, ended_at=now)

    def view(self) -> dict[str, Any]:
        """Return the job as the control API shows it; URLs without their secrets."""
        job = job_document(self.job)
        return {
            "id": self.id,
            **job,
            **asdict(self.plan),
            "input": redacted(self.job.input),
            "output": redacted(self.job.output),
            "author": self.actor,
            "state": self.state,
            "reason": self.reason,
            "created_at": timestamp(self.created_at),
            "started_at": timestamp_if_any(self.started_at),
            "ended_at": timestamp_if_any(self.ended_at),
            "progress": dict(self.progress),
        }
