"""The reports of ``anabranch batch``. Pure."""

from __future__ import annotations

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
        lines.append(f"{found.failed:,} rows have failed: {errors} has their errors")
    return "\n".join(lines)


def duration_text(seconds: float) -> str:
    """Return a time in its largest two units, such as ``1h 20m``."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"
