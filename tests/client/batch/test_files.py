"""Files of this machine and of stores that fsspec knows, by the same functions."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.client.batch import files
from anabranch.client.batch.manifest import BatchJob
from anabranch.errors import JobError
from tests.client.batch.graphs import Doubling, run


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "local" else f"memory://{tmp_path}"


def test_files_are_written_read_listed_and_removed(folder: str) -> None:
    files.put(f"{folder}/deep/a.csv", b"one\ntwo\n")
    files.put(f"{folder}/deep/a.csv", b"one\ntwo\nthree\n")
    with files.putting(f"{folder}/deep/b.csv") as target:
        files.copy_into(f"{folder}/deep/a.csv", target)
        target.write(b"four\n")
    assert files.read(f"{folder}/deep/b.csv", 4, 7) == b"two"
    assert files.names_in(f"{folder}/deep") == {"a.csv": 14, "b.csv": 19}
    assert files.names_in(f"{folder}/none") == {}
    assert files.lines(f"{folder}/deep/b.csv") == 4
    found = files.input_files(f"{folder}/*/*.csv")
    assert [one.url.rpartition("/")[2] for one in found] == ["a.csv", "b.csv"]
    assert files.input_files(folder) == found
    files.remove(f"{folder}/deep/a.csv")
    files.remove(f"{folder}/deep/a.csv")
    assert not files.exists(f"{folder}/deep/a.csv")
    with pytest.raises(JobError, match=r"a\.csv: there is no such file"):
        files.read(f"{folder}/deep/a.csv")


def test_what_is_cut_off_leaves_no_file(folder: str) -> None:
    files.put(f"{folder}/a.csv", b"before")
    with pytest.raises(ZeroDivisionError), files.putting(f"{folder}/a.csv") as target:
        target.write(b"half")
        raise ZeroDivisionError
    assert files.read(f"{folder}/a.csv") == b"before"
    assert list(files.names_in(folder)) == ["a.csv"]


def test_an_error_of_who_writes_is_no_damaged_file(folder: str) -> None:
    with (
        pytest.raises(ValueError, match=r"^a mistake of who writes$"),
        files.putting(f"{folder}/a.csv"),
    ):
        raise ValueError("a mistake of who writes")
    assert not files.exists(f"{folder}/a.csv")


def test_a_damaged_file_is_named_while_another_is_written(folder: str) -> None:
    with (
        pytest.raises(JobError, match=r"part\.parquet is damaged: \w"),
        files.putting(f"{folder}/all.parquet"),
    ):
        files.put(f"{folder}/part.parquet", b"no file of Parquet")
        with files.reading(f"{folder}/part.parquet"):
            raise ValueError("it has no footer")
    assert not files.exists(f"{folder}/all.parquet")


def test_a_job_runs_from_store_to_store(folder: str) -> None:
    for name in ("a", "b"):
        files.put(f"{folder}/rows/{name}.csv", b"x\n1\n2\n-1\n")
    job = BatchJob("doubling", f"{folder}/rows/", f"{folder}/answers.jsonl", chunk=2)
    found = run(job, Doubling())
    assert (found.total, found.failed) == (6, 2)
    answers = files.read(f"{folder}/answers.jsonl").splitlines()
    assert [line.partition(b",")[0] for line in answers] == [
        b'{"row":0', b'{"row":1', b'{"row":3', b'{"row":4',
    ]  # fmt: skip
    assert files.lines(f"{folder}/answers.jsonl.errors.jsonl") == 2
    assert not files.exists(f"{folder}/answers.jsonl.parts")


def test_a_scheme_without_its_library_and_an_unknown_one_are_told() -> None:
    with pytest.raises(JobError, match="nosuch"):
        files.input_files("nosuch://bucket/rows.csv")
