"""Where jobs of the engine may read and write."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.control.settings.job_places import as_path, check_place, place, read_places
from anabranch.errors import InvalidRequest

ALLOWED = ("/srv/rows", "s3://bucket/jobs")


@pytest.mark.parametrize(
    "url",
    ["/srv/rows/a.csv", "file:///srv/rows/b/", "/srv/rows", "s3://bucket/jobs/a/*.parquet"],
)
def test_what_lies_below_is_allowed(url: str) -> None:
    check_place("input", url, ALLOWED)


@pytest.mark.parametrize(
    "url",
    [
        "/srv/rowsets/a.csv", "/etc/passwd", "/srv/rows/../secret.csv", "s3://bucket/jobs-2/a",
        "s3://bucket/jobs/../a", "s3://bucket/jobs/%2e%2e/a", "s3://other/jobs/a",
        "rows/a.csv", "", "ftp://bucket/jobs", "http://host/srv/rows", "memory://srv/rows",
        "simplecache::s3://bucket/jobs/a", "zip://a.csv::file:///srv/rows/a.zip",
        "file://srv/rows/a.csv", "/srv/rows/a.csv?x=1", "s3://bucket/jobs/a#b", "S3://bucket/jobs",
        "/srv/rows\\..\\a",
    ],
)  # fmt: skip
def test_all_else_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^input: .*(is not below|is no absolute path)"):
        check_place("input", url, ALLOWED)


def test_links_lead_where_they_lead(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (inside / "link").symlink_to(outside)
    (tmp_path / "alias").symlink_to(inside)
    check_place("output", str(tmp_path / "alias" / "a.csv"), [str(inside)])
    with pytest.raises(InvalidRequest, match="not below what ANABRANCH_JOBS allows"):
        check_place("output", str(inside / "link" / "a.csv"), [str(inside)])


def test_nothing_is_allowed_unless_it_is_listed() -> None:
    with pytest.raises(InvalidRequest, match="ANABRANCH_JOBS allows: nothing"):
        check_place("input", "/srv/rows/a.csv", ())


def test_settings_are_lists_of_places() -> None:
    assert read_places(" /srv/rows, s3://bucket/jobs ,") == ALLOWED
    assert read_places("") == ()
    for text in ("rows", "/a,ftp://b", "s3://b/../c"):
        with pytest.raises(ValueError):
            read_places(text)
    assert as_path("file:///srv/rows/") == "/srv/rows"
    assert place("s3://bucket/jobs/") == "s3://bucket/jobs"
