"""Where jobs may have their files, links included."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.client.batch.files import input_files
from anabranch.client.batch.manifest import BatchJob
from anabranch.control.jobs.places import check_job
from anabranch.control.settings.job_places import read_places
from anabranch.errors import InvalidRequest, JobError


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A folder for jobs with links to one beside it."""
    for name in ("rows/own", "secret"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.csv").write_text("x\n1\n")
    found = tmp_path / "rows"
    (found / "leak").symlink_to(tmp_path / "secret")
    (found / "own" / "leak.csv").symlink_to(tmp_path / "secret" / "a.csv")
    (found / "alias").symlink_to(found / "own")
    return found


@pytest.mark.parametrize("pattern", ["*/*.csv", "**/*.csv", "", "own/", "alias/*.csv"])
def test_patterns_and_folders_follow_no_links(rows: Path, pattern: str) -> None:
    check_job(BatchJob("shop", f"{rows}/{pattern}", f"{rows}/out/"), read_places(str(rows)))
    (found,) = input_files(f"{rows}/{pattern}")
    assert Path(found.url.removeprefix("file://")).resolve() == rows / "own" / "a.csv"


def test_a_pattern_in_the_place_of_a_link_finds_nothing(rows: Path) -> None:
    for pattern in ("l*k/a.csv", "own/l*k.csv"):
        with pytest.raises(JobError, match="has no files"):
            input_files(f"{rows}/{pattern}")


@pytest.mark.parametrize(
    "link", ["out.csv", "out.csv.parts", "out.csv.errors.jsonl", "out.csv.parts/_lock"]
)
def test_no_link_leads_elsewhere_from_what_is_written(rows: Path, link: str) -> None:
    job, allowed = BatchJob("shop", f"{rows}/own/", f"{rows}/out.csv"), read_places(str(rows))
    check_job(job, allowed)
    (rows / link).parent.mkdir(exist_ok=True)
    (rows / link).symlink_to(rows.parent / "secret")
    with pytest.raises(InvalidRequest, match=rf"^output: '.*/{link}' is not below"):
        check_job(job, allowed)


def test_an_output_that_is_only_a_suffix_is_a_mistake_of_who_asks(rows: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"^output: '.*/\.csv' is of no known format"):
        check_job(BatchJob("shop", f"{rows}/own/", f"{rows}/.csv"), read_places(str(rows)))


def test_an_input_behind_a_link_is_refused(rows: Path) -> None:
    job = BatchJob("shop", f"{rows}/leak/*.csv", f"{rows}/out.csv")
    with pytest.raises(InvalidRequest, match=r"^input: .* is not below"):
        check_job(job, read_places(str(rows)))
