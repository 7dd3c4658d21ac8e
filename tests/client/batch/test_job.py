"""Jobs on files: each row once, wherever they end; what was begun is gone on with, or refused."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from anabranch.client.batch import claim
from anabranch.client.batch.manifest import BatchJob
from anabranch.components.tensors.arrays import Array
from anabranch.errors import EngineError, JobError, NotFound
from tests.client.batch.graphs import BAD, Doubling, run, write_csv
from tests.examples import examples

ROOT = Path(__file__).parents[3]


class Killed(BaseException):
    """The end of a process, in the middle of a request."""


def job_of(source: Path, output: Path, **fields: object) -> BatchJob:
    return BatchJob("doubling", str(source), str(output), **{"chunk": 4, **fields})  # type: ignore[arg-type]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def errors_of(path: Path) -> list[int]:
    if not path.exists():
        return []
    return [orjson.loads(line)["row"] for line in path.read_bytes().splitlines()]


def check_once(folder: Path, values: list[float]) -> None:
    """Each row has its answer in its place, or its error."""
    bad = [at for at, value in enumerate(values) if value == BAD]
    found = [(int(row["row"]), float(row["y"])) for row in rows_of(folder / "answers.csv")]
    assert found == [(at, 2 * value) for at, value in enumerate(values) if value != BAD]
    assert errors_of(folder / "answers.csv.errors.jsonl") == bad
    assert not (folder / "answers.csv.parts").exists()


@given(
    values=st.lists(st.sampled_from([BAD, 0.0, 1.0, 2.5]), min_size=0, max_size=40),
    kills=st.lists(st.integers(1, 30), max_size=4),
    chunk=st.integers(1, 12),
    rows=st.integers(1, 7),
    concurrency=st.integers(1, 5),
)
@hypothesis_settings(max_examples=examples(60), deadline=None)
def test_each_row_is_there_once_wherever_requests_end(
    tmp_path_factory: pytest.TempPathFactory,
    values: list[float],
    kills: list[int],
    chunk: int,
    rows: int,
    concurrency: int,
) -> None:
    folder = tmp_path_factory.mktemp("job")
    job = job_of(write_csv(folder / "rows.csv", values), folder / "answers.csv", chunk=chunk)
    for at in kills:
        left = at

        def kill(x: Array) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise Killed

        try:
            run(job, Doubling(before=kill), rows=rows, concurrency=concurrency)
        except Killed:
            continue
    run(job, Doubling(), rows=rows, concurrency=concurrency)
    check_once(folder, values)


BY_DAY = (2, 9, 15, 19, 23)
KILLS = [at if at in BY_DAY else pytest.param(at, marks=pytest.mark.nightly) for at in range(1, 46)]
"""Works on files; a job of these rows has fewer than so many."""


@pytest.mark.parametrize("at", KILLS)
def test_each_row_is_there_once_wherever_the_process_is_killed(tmp_path: Path, at: int) -> None:
    values = [1.0, BAD, 2.0, 3.0, 4.0, BAD, 5.0, 6.0, 7.0, 8.0]
    write_csv(tmp_path / "rows.csv", values)
    command = [sys.executable, "-m", "tests.client.batch.killed_job", str(tmp_path), str(at)]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert killed.returncode in (0, 9), killed.stderr
    run(job_of(tmp_path / "rows.csv", tmp_path / "answers.csv"), Doubling())
    check_once(tmp_path, values)


def test_only_what_is_missing_is_asked_for_again(tmp_path: Path) -> None:
    write_csv(tmp_path / "rows.csv", [float(at) for at in range(20)])
    job = job_of(tmp_path / "rows.csv", tmp_path / "answers.csv")

    def kill(x: Array) -> None:
        if (x == 13.0).any():
            raise Killed

    with pytest.raises(Killed):
        run(job, Doubling(before=kill), concurrency=1)
    graph = Doubling()
    found = run(job, graph)
    assert (found.total, found.resumed, found.asked) == (20, 12, 8)
    assert sum(graph.rows) == 8
    assert found.revisions == {1: 8}


def test_another_job_at_the_same_place_is_refused_with_the_differences(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "rows.csv", [1.0, 2.0, 3.0])
    job = job_of(source, tmp_path / "answers.csv")

    def kill(x: Array) -> None:
        if len(x) > 1:
            raise Killed

    with pytest.raises(Killed):
        run(job, Doubling(before=kill))
    with pytest.raises(JobError, match=r"columns was .* and is \{'x': \['id'\]\}.*--restart"):
        run(replace(job, columns={"x": ["id"]}), Doubling())
    write_csv(source, [1.0, 2.0, 3.0, 4.0])
    with pytest.raises(JobError, match=r"rows.csv has changed \(\d+ bytes before, \d+ now\)"):
        run(job, Doubling())
    assert run(job, Doubling(), restart=True).asked == 4
    check_once(tmp_path, [1.0, 2.0, 3.0, 4.0])


def test_a_finished_job_is_run_anew(tmp_path: Path) -> None:
    job = job_of(write_csv(tmp_path / "rows.csv", [1.0, BAD]), tmp_path / "answers.csv")
    assert run(job, Doubling()).failed == 1
    write_csv(tmp_path / "rows.csv", [1.0, 3.0])
    assert run(job, Doubling()).failed == 0
    check_once(tmp_path, [1.0, 3.0])


def test_a_folder_has_parts_and_is_gone_on_with(tmp_path: Path) -> None:
    write_csv(tmp_path / "rows.csv", [1.0, BAD, 3.0, 4.0, 5.0])
    job = job_of(tmp_path / "rows.csv", tmp_path / "answers")
    run(job, Doubling())
    names = sorted(path.name for path in (tmp_path / "answers").iterdir())
    assert names == ["_errors.jsonl", "_job.json", "part-000000.csv", "part-000001.csv"]
    again = run(job, graph := Doubling())
    assert (again.resumed, again.failed, graph.rows) == (5, 1, [])
    with pytest.raises(JobError, match="no empty folder"):
        run(replace(job, output=str(tmp_path)), Doubling())


def test_a_folder_of_files_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    (folder / "b").mkdir(parents=True)
    write_csv(folder / "b" / "1.csv", [3.0])
    write_csv(folder / "a.csv", [1.0, 2.0])
    write_csv(folder / "_hidden.csv", [BAD])
    (folder / ".crc").write_text("no rows")
    run(job_of(folder, tmp_path / "answers.csv"), Doubling())
    check_once(tmp_path, [1.0, 2.0, 3.0])


def test_files_of_several_formats_and_of_none_are_refused(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [1.0])
    (tmp_path / "b.jsonl").write_text('{"x": 1}\n')
    with pytest.raises(JobError, match="all files of an input are of one format"):
        run(job_of(tmp_path, tmp_path / "answers.csv"), Doubling())
    (tmp_path / "c.txt").write_text("x")
    with pytest.raises(JobError, match=r"no known format: files end with \.parquet, \.csv"):
        run(job_of(tmp_path / "c.txt", tmp_path / "answers.csv"), Doubling())
    (tmp_path / "c.parquet.gz").write_text("x")
    with pytest.raises(JobError, match=r"all but the first also with \.gz or \.zst"):
        run(job_of(tmp_path / "c.parquet.gz", tmp_path / "answers.csv"), Doubling())
    with pytest.raises(JobError, match="there is no such file"):
        run(job_of(tmp_path / "d.csv", tmp_path / "answers.csv"), Doubling())
    with pytest.raises(JobError, match="has no files"):
        run(job_of(tmp_path / "*.tsv", tmp_path / "answers.csv"), Doubling())


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"\xff,x\n1,2\n", "damaged: 'utf-8' codec"), (b"id,y\n1,2\n", "no column 'x'"),
     (b"x\n" + b"1" * 2**24 + b"1\n", "damaged: field larger than")],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "rows.csv").write_bytes(content)
    job = job_of(tmp_path / "rows.csv", tmp_path / "answers.csv", columns={"x": ["x"]})
    with pytest.raises(JobError, match=text):
        run(job, Doubling())
    assert not (tmp_path / "answers.csv.parts").exists()


def test_a_later_file_without_a_column_is_refused_before_it_begins(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [1.0])
    (tmp_path / "b.csv").write_text("id,z\n1,2\n")
    with pytest.raises(JobError, match=r"b\.csv has no column 'x'"):
        run(job_of(tmp_path, tmp_path / "out" / "answers.csv"), Doubling())
    assert not (tmp_path / "out").exists()


def test_a_graph_whose_tensors_have_one_row_is_asked_row_by_row(tmp_path: Path) -> None:
    write_csv(tmp_path / "rows.csv", [1.0, 2.0, 3.0])
    run(job_of(tmp_path / "rows.csv", tmp_path / "answers.csv"), graph := Doubling(batched=False))
    assert set(graph.rows) == {1}
    check_once(tmp_path, [1.0, 2.0, 3.0])


def test_rows_go_to_stdout_in_their_order(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    source = write_csv(tmp_path / "rows.csv", [1.0, BAD, *(float(at) for at in range(30))])
    run(BatchJob("doubling", str(source), "-", chunk=2), Doubling(), concurrency=4, rows=1)
    out, err = capfdbinary.readouterr()
    assert [orjson.loads(line)["row"] for line in out.splitlines()] == [0, *range(2, 32)]
    assert orjson.loads(err) == {
        "row": 1,
        "error": "node 'double' failed: a bad row",
        "values": {"x": "-1.0"},
    }


def test_what_ends_a_job_is_raised_and_the_job_can_go_on(tmp_path: Path) -> None:
    job = job_of(write_csv(tmp_path / "rows.csv", [1.0] * 9), tmp_path / "answers.csv")
    for error in (EngineError("a key is needed"), JobError("gone")):

        def end(x: Array, error: Exception = error) -> None:
            if len(x) > 1:
                raise error

        with pytest.raises(type(error), match=str(error)):
            run(job, Doubling(before=end))
    run(job, Doubling())
    check_once(tmp_path, [1.0] * 9)


def test_a_graph_that_is_deleted_ends_the_job_and_fails_no_row(tmp_path: Path) -> None:
    class Gone(Doubling):
        asked = 0

        async def types(self) -> object:  # type: ignore[override]
            self.asked += 1
            if self.asked > 3:
                raise NotFound("there is no graph 'doubling'")
            return await super().types()

    def no_graph(x: Array) -> None:
        if len(x) > 1:
            raise NotFound("there is no graph 'doubling'")

    job = job_of(write_csv(tmp_path / "rows.csv", [1.0] * 5), tmp_path / "answers.csv")
    with pytest.raises(JobError, match="there is no graph"):
        run(job, Gone(before=no_graph))
    run(job, Doubling())
    check_once(tmp_path, [1.0] * 5)


def test_an_output_has_one_writer_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "PATIENCE_S", 0.0)
    values = [1.0, 2.0, 3.0]
    job = job_of(write_csv(tmp_path / "rows.csv", values), tmp_path / "answers.csv")
    refused: list[str] = []

    def second(x: Array) -> None:
        with pytest.raises(JobError) as raised, ThreadPoolExecutor(1) as pool:
            pool.submit(run, job, Doubling(), restart=True).result()
        refused.append(str(raised.value))

    run(job, Doubling(before=second), rows=1, concurrency=1)
    assert len(refused) == 4  # the first row twice, for the types of outputs
    assert all(f"is being written by the process {os.getpid()} of" in one for one in refused)
    check_once(tmp_path, values)
