"""Whether a job may have its files where it says: when it is asked for, and whenever it starts."""

from __future__ import annotations

from anabranch.client.batch.claim import LOCK
from anabranch.client.batch.job import output_place
from anabranch.client.batch.manifest import BatchJob
from anabranch.control.settings.job_places import JobPlace, check_place
from anabranch.errors import InvalidRequest, JobError


def check_job(job: BatchJob, allowed: tuple[JobPlace, ...]) -> None:
    """Raise InvalidRequest where the input, or what is written, is in no place of the graph's jobs.

    Links may lead elsewhere from the files beside an output, as from the output itself. Patterns
    and folders of an input follow none.
    """
    check_place("input", job.input, job.graph, allowed)
    try:
        place = output_place(job, "")
    except JobError as error:
        raise InvalidRequest(f"output: {error}") from None
    for url in (job.output, place.folder, place.errors, f"{place.folder}/{LOCK}"):
        check_place("output", url, job.graph, allowed)
