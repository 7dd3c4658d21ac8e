"""Where jobs of the engine may read and write."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.control.settings.job_places import (
    JobPlace,
    as_path,
    check_place,
    place,
    read_places,
)
from anabranch.errors import InvalidRequest

ALLOWED = (JobPlace("default", "/srv/rows"), JobPlace("default", "s3://bucket/jobs"))


@pytest.mark.parametrize(
    "url",
    ["/srv/rows/a.csv", "file:///srv/rows/b/", "/srv/rows", "s3://bucket/jobs/a/*.parquet"],
)
def test_what_lies_below_is_allowed(url: str) -> None:
    check_place("input", url, "shop", ALLOWED)


@pytest.mark.parametrize(
    "url",
    [
        "/srv/rowsets/a.csv", "/etc/passwd", "/srv/rows/../secret.csv", "s3://bucket/jobs-2/a",
        "s3://bucket/jobs/../a", "s3://bucket/jobs/%2e%2e/a", "s3://other/jobs/a",
        "rows/a.csv", "", "ftp://bucket/jobs", "http://host/srv/rows", "memory://srv/rows",
        "simplecache::s3://bucket/jobs/a", "zip://a.csv::file:///srv/rows/a.zip",
        "file://srv/rows/a.csv", "/srv/rows/a.csv?x=1", "s3://bucket/jobs/a#b", "S3://bucket/jobs",
        "/srv/rows\\..\\a", "/srv/rows/a\0.csv",
    ],
)  # fmt: skip
def test_all_else_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^input: .*(is not below|is no absolute path)"):
        check_place("input", url, "shop", ALLOWED)


def test_links_lead_where_they_lead(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (inside / "link").symlink_to(outside)
    (tmp_path / "alias").symlink_to(inside)
    check_place("output", str(tmp_path / "alias" / "a.csv"), "shop", [JobPlace("*", str(inside))])
    with pytest.raises(InvalidRequest, match="not below what ANABRANCH_JOBS allows"):
        check_place("output", str(inside / "link" / "a.csv"), "shop", [JobPlace("*", str(inside))])


@pytest.mark.parametrize("scheme", ["az", "abfs", "abfss"])
def test_all_names_of_azure_mean_the_same_files(scheme: str) -> None:
    for one in ("az", "abfs", "abfss"):
        check_place("input", f"{scheme}://rows/a/b.csv", "shop", read_places(f"{one}://rows/a"))
    account = "@one.dfs.core.windows.net/a"
    other = read_places(f"abfss://rows{account}")
    check_place("input", f"{scheme}://rows{account}/b.csv", "shop", other)
    for url in (f"{scheme}://rows/a/b.csv", f"{scheme}://rows@two.dfs.core.windows.net/a/b.csv"):
        with pytest.raises(InvalidRequest, match="not below what ANABRANCH_JOBS allows"):
            check_place("input", url, "shop", other)


def test_nothing_is_allowed_unless_it_is_listed() -> None:
    with pytest.raises(InvalidRequest, match="namespace 'default': nothing"):
        check_place("input", "/srv/rows/a.csv", "shop", ())


def test_settings_are_lists_of_places() -> None:
    assert read_places(" /srv/rows, s3://bucket/jobs ,") == ALLOWED
    assert read_places("") == ()
    assert read_places("a-1=/srv/a=b, * = s3://b/all,/srv/c=d,default=/x") == (
        ("a-1", "/srv/a=b"), ("*", "s3://b/all"), ("default", "/srv/c=d"), ("default", "/x"),
    )  # fmt: skip
    for text in (
        "rows",
        "/a,ftp://b",
        "s3://b/../c",
        "A=/srv",
        "a=",
        "=/srv",
        "a=b=/srv",
        "a/b=/s",
    ):
        with pytest.raises(ValueError):
            read_places(text)
    assert as_path("file:///srv/rows/") == "/srv/rows"
    assert place("s3://bucket/jobs/") == "s3://bucket/jobs"


PLACES = read_places("/srv/rows,a=/srv/a,b=s3://bucket/b,b=/srv/b,*=/srv/all")


@pytest.mark.parametrize(
    ("graph", "below"),
    [("shop", {"/srv/rows", "/srv/all"}), ("default/shop", {"/srv/rows", "/srv/all"}),
     ("a/shop", {"/srv/a", "/srv/all"}), ("b/shop", {"s3://bucket/b", "/srv/b", "/srv/all"}),
     ("c/shop", {"/srv/all"}), ("a", {"/srv/rows", "/srv/all"})],
)  # fmt: skip
def test_jobs_have_the_places_of_their_graphs_namespace(graph: str, below: set[str]) -> None:
    urls = {one.url for one in PLACES}
    for one in PLACES:
        if one.url in below:
            check_place("input", f"{one.url}/rows.csv", graph, PLACES)
            continue
        with pytest.raises(InvalidRequest, match="not below what ANABRANCH_JOBS allows") as raised:
            check_place("output", f"{one.url}/rows.csv", graph, PLACES)
        told = str(raised.value).partition("allows")[2]
        assert not any(f"{url}," in f"{told}," for url in urls - below), "where others have theirs"


@pytest.mark.parametrize(
    "text",
    ["/srv,a=/srv/a", "a=/srv/a,/srv", "a=/srv,b=/srv", "*=/srv/all,a=/srv/all/a",
     "a=s3://bucket,b=s3://bucket/b/", "a=az://rows,b=abfs://rows/b",
     "a=abfss://rows@one.dfs.core.windows.net/x,b=az://rows",
     "a=abfs://one.dfs.core.windows.net/rows/x,b=az://rows",
     "a=abfs://one.dfs.core.windows.net,b=az://rows"],
)  # fmt: skip
def test_no_namespace_has_a_place_within_anothers(text: str) -> None:
    with pytest.raises(ValueError):
        read_places(text)
    read_places("a=/srv,a=/srv/b")


def test_a_link_into_the_place_of_another_namespace_is_one_within_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(ValueError):
        read_places(f"a={tmp_path}/a,b={tmp_path}/b")
