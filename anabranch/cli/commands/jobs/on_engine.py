"""Batch jobs that the engine runs: ``jobs`` and ``job``, and ``batch`` with ``--engine``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anabranch.cli import options
from anabranch.cli.reports.batch import job_progress_text, job_text, jobs_text
from anabranch.cli.terminal import note, on_change, progress, result_json
from anabranch.errors import JobError

if TYPE_CHECKING:
    from anabranch.client.batch.manifest import BatchJob

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")]


def jobs(
    graph: Annotated[
        str | None, typer.Option("--graph", help="Jobs of this graph; all if left out.")
    ] = None,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """List the batch jobs that the engine runs or has run, the newest first."""
    with options.client(home) as client:
        options.show(client.jobs(graph), output, jobs_text)


def status(
    id: JobId,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the job is over.")] = False,
    home: options.Home = None,
    output: options.Output = options.Format.TABLE,
) -> None:
    """Show a batch job of the engine: how far it is, and why it has ended."""
    with options.client(home) as client:
        found = client.until_job_over(id) if wait else client.job(id)
    options.show(found, output, job_text)


def cancel(
    id: JobId, home: options.Home = None, output: options.Output = options.Format.TABLE
) -> None:
    """Cancel a batch job of the engine; what it has written stays, and the same job goes on there.

    A job that is over stays as it is.
    """
    with options.client(home) as client:
        options.show(client.cancel_job(id), output, job_text)


def run_on_engine(
    job: BatchJob,
    rows: int,
    concurrency: int,
    rate: float | None,
    replicas: int,
    as_json: bool,
    home: Path | None,
) -> None:
    """Have the engine run a job, and wait for it; JobError where it fails, Exit 1 if a row does."""
    fields: dict[str, Any] = {
        "revision": job.revision,
        "columns": dict(job.columns or {}),
        "kept": list(job.kept),
        "outputs": list(job.outputs),
        "chunk": job.chunk,
        "rows": rows,
        "concurrency": concurrency,
        "rate": rate,
        "replicas": replicas,
    }
    with options.client(home) as client:
        begun = client.start_job(job.graph, _absolute(job.input), _absolute(job.output), **fields)
        note(f"job {begun['id']}: `anabranch job cancel {begun['id']}` ends it")
        with progress(f"the engine sends rows to {job.graph}") as say:
            found = client.until_job_over(begun["id"], on_change(job_progress_text, say))
    if as_json:
        result_json(found, indent=None)
    else:
        note(job_text(found))
    if found["state"] != "finished":
        raise JobError(f"job {found['id']} is {found['state']}: {found['reason']}".rstrip(": "))
    if found["progress"].get("failed"):
        raise typer.Exit(1)


def _absolute(place: str) -> str:
    """Return a path as an absolute one; a URL as it is. A slash at its end stays."""
    if "://" in place:
        return place
    return str(Path(place).absolute()) + ("/" if place.endswith("/") else "")
