"""A job goes on only as it was begun, and what it says of that has no secrets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from anabranch.client.batch.files import InputFile
from anabranch.client.batch.manifest import BatchJob, JobManifest, check_same
from anabranch.errors import JobError

JOB = BatchJob("digits", "https://host/rows.csv?token=hunter2", "s3://bucket/out/?key=hunter2")
FILE = InputFile("https://host/rows.csv?token=hunter2", 10, "a")
BEGUN = JobManifest(JOB, [FILE], [["x"]], [], {})


@pytest.mark.parametrize(
    ("job", "files", "said"),
    [
        (replace(JOB, input="https://host/b.csv?token=hunter2"), [FILE], "input was"),
        (replace(JOB, graph="other"), [FILE], "graph was 'digits' and is 'other'"),
        (replace(JOB, chunk=5), [FILE], "chunk was None and is 5"),
        (JOB, [FILE._replace(size=11)], "has changed .10 bytes before, 11 now."),
        (JOB, [], "is gone"),
        (JOB, [FILE, FILE._replace(url="https://host/c.csv?token=hunter2")], "is new"),
    ],
)
def test_another_job_is_refused_without_the_secrets_of_its_urls(
    job: BatchJob, files: list[InputFile], said: str
) -> None:
    with pytest.raises(JobError, match=said) as refused:
        check_same(BEGUN, job, files, JOB.output)
    assert "hunter2" not in str(refused.value)


def test_the_same_job_goes_on() -> None:
    check_same(BEGUN, replace(JOB, output="s3://bucket/out?key=other"), [FILE], JOB.output)
