"""The reports of ``anabranch batch``, and of the jobs of an engine. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anabranch.cli.terminal import table

if TYPE_CHECKING:
    from anabranch.client.batch.progress import JobProgress


def progress_text(found: JobProgress) -> str:
    """Return how far a job is, in one line."""
    share = found.done / found.total if found.total else 1.0
    parts = [f"{found.done:,} of {found.total:,} rows ({share:.0%})"]
    if found.rate:
        parts.append(f"{found.rate:,.0f} rows/s")
    if found.remaining:
        parts.append(f"{duration_text(found.remaining)} left")
    if found.failed:
        parts.append(f"{found.failed:,} failed")
    return ", ".join(parts)


def result_text(found: JobProgress, output: str, errors: str) -> str:
    """Return the result of a job."""
    rate = f", {found.asked / found.seconds:,.0f} rows/s" if found.asked and found.seconds else ""
    lines = [f"{found.total - found.failed:,} rows in {output} ({found.seconds:.1f} s{rate})"]
    if found.resumed:
        lines.append(f"{found.resumed:,} rows were done before this start")
    if found.revisions:
        counts = sorted(found.revisions.items())
        lines.append("answered: " + ", ".join(f"{rows:,} by r{number}" for number, rows in counts))
    if found.failed:
        lines.append(f"failed rows: {found.failed:,}, with their errors in {errors}")
    return "\n".join(lines)


def duration_text(seconds: float) -> str:
    """Return a time in its largest two units, such as ``1h 20m``."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"


def jobs_text(found: Sequence[dict[str, Any]]) -> str:
    """Return jobs of the engine as a table."""
    rows = [
        [*(one[name] for name in ("id", "graph", "state")), _share(one["progress"]), one["input"]]
        for one in found
    ]
    return table(("JOB", "GRAPH", "STATE", "DONE", "INPUT"), rows)


def job_text(found: dict[str, Any]) -> str:
    """Return a job of the engine, a line for each of what there is to say."""
    progress = found["progress"]
    how = f"{found['replicas']} replicas of its own" if found["replicas"] else "the graph"
    lines = [
        f"job {found['id']} of {found['graph']} by {found['author']}, through {how}",
        f"from  {found['input']}",
        f"to    {found['output']}",
        f"state {found['state']}" + (f": {found['reason']}" if found["reason"] else ""),
    ]
    if progress:
        lines.append(f"rows  {job_progress_text(found).partition(': ')[2]}")
    if progress.get("revisions"):
        each = ", ".join(f"{rows:,} by {name}" for name, rows in progress["revisions"].items())
        lines.append(f"answered since the last start: {each}")
    return "\n".join(lines)


def job_progress_text(found: dict[str, Any]) -> str:
    """Return how far a job of the engine is, in one line."""
    progress = found["progress"]
    if not progress:
        return f"{found['state']}"
    parts = [f"{found['state']}: {progress['done']:,} of {progress['rows']:,} rows"]
    if found["state"] == "running" and progress["rate"]:
        parts.append(f"{progress['rate']:,.0f} rows/s")
        parts.append(f"{duration_text(progress['remaining_s'])} left")
    if progress["failed"]:
        parts.append(f"{progress['failed']:,} failed")
    return ", ".join(parts)


def _share(progress: dict[str, Any]) -> str:
    if not progress:
        return ""
    share = progress["done"] / progress["rows"] if progress["rows"] else 1.0
    failed = f", {progress['failed']:,} failed" if progress["failed"] else ""
    return f"{share:.0%} of {progress['rows']:,}{failed}"
