"""Files that are compressed by their names hold what others with the same rows hold."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from anabranch.client.batch import compression, files
from anabranch.client.batch.manifest import BatchJob
from anabranch.components import extras
from anabranch.errors import JobError
from tests.client.batch.graphs import BAD, Doubling, run
from tests.examples import examples

pyarrow = pytest.importorskip("pyarrow")
COMPRESS = {".gz": gzip.compress, ".zst": lambda data: pyarrow.compress(data, "zstd", asbytes=True)}
ENDS = pytest.mark.parametrize("end", list(COMPRESS))


@ENDS
@given(
    pieces=st.lists(st.binary(max_size=200), max_size=5),
    places=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 300)), max_size=6),
)
@hypothesis_settings(max_examples=examples(60), deadline=None)
def test_what_is_in_a_file_of_several_members_is_read_anywhere(
    tmp_path_factory: pytest.TempPathFactory,
    end: str,
    pieces: list[bytes],
    places: list[tuple[int, int]],
) -> None:
    path = str(tmp_path_factory.mktemp("packed") / f"rows.csv{end.upper()}")
    Path(path).write_bytes(b"".join(map(COMPRESS[end], pieces)))
    content = b"".join(pieces)
    with files.reading(path) as file:
        assert list(file) == content.splitlines(keepends=True) or b"\r" in content
        file.seek(0)
        assert file.read() == content
    spans = files.SpanReader()
    for at, size in places:
        assert spans.read(path, at, at + size) == content[at : at + size]


@ENDS
def test_what_is_written_is_read_by_others(tmp_path: Path, end: str) -> None:
    lines = [f"{at},{at * at}\n".encode() for at in range(200_000)]
    path = str(tmp_path / f"rows.csv{end}")
    with files.putting(path) as target:
        target.writelines(lines)
    data = Path(path).read_bytes()
    assert len(data) < len(b"".join(lines)) / 2
    unpacked = gzip.decompress(data) if end == ".gz" else None
    with files.reading(path) as file:
        assert file.read() == b"".join(lines) == (unpacked or b"".join(lines))
    files.put(path, b"one")
    assert Path(path).read_bytes() == COMPRESS[end](b"one") or end == ".gz"


@ENDS
def test_an_empty_file_is_one_that_others_read(tmp_path: Path, end: str) -> None:
    path = tmp_path / f"rows.jsonl{end}"
    with files.putting(str(path)):
        pass
    assert path.read_bytes() == compression.compress(path.name, b"") != b""
    with files.reading(str(path)) as file:
        assert file.read() == b""


@ENDS
def test_a_span_is_read_after_another_file_could_not_be_opened(tmp_path: Path, end: str) -> None:
    path = str(tmp_path / f"a.jsonl{end}")
    files.put(path, b"0123")
    spans = files.SpanReader()
    assert spans.read(path, 0, 2) == b"01"
    with pytest.raises(JobError, match="there is no such file"):
        spans.read(str(tmp_path / f"b.jsonl{end}"), 0, 2)
    assert spans.read(path, 2, 4) == b"23"


@ENDS
def test_spans_in_their_order_open_a_file_once(
    tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(
        files, "unpacked", lambda *them: opened.append(them[0]) or compression.unpacked(*them)
    )
    paths = [str(tmp_path / f"{name}.jsonl{end}") for name in "ab"]
    for path in paths:
        files.put(path, b"0123456789")
    spans = files.SpanReader()
    found = [spans.read(path, at, at + 2) for path in paths for at in range(0, 10, 2)]
    assert found == 2 * [b"01", b"23", b"45", b"67", b"89"]
    assert opened == paths


@ENDS
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_job_reads_and_writes_compressed_files(tmp_path: Path, end: str, form: str) -> None:
    values = [1.0, BAD, 3.0, 4.0, 5.0, 6.0, 7.0]
    lines = ["x", *map(str, values)] if form == "csv" else [f'{{"x": {one}}}' for one in values]
    text = "".join(f"{line}\n" for line in lines).encode()
    source, target = tmp_path / f"rows.{form}{end}", tmp_path / f"answers.{form}{end}"
    source.write_bytes(COMPRESS[end](text))
    job = BatchJob("doubling", str(source), str(target), chunk=2)

    def stop(x: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(job, Doubling(before=stop))
    assert run(job, Doubling()).failed == 1
    plain = BatchJob("doubling", str(source), str(tmp_path / f"plain.{form}"), chunk=2)
    run(plain, Doubling())
    with files.reading(str(target)) as file:
        assert file.read() == (tmp_path / f"plain.{form}").read_bytes()
    run(BatchJob("doubling", str(source), str(tmp_path / "folder"), chunk=2), Doubling())
    names = sorted(path.name for path in (tmp_path / "folder").glob("part-*"))
    assert names == [f"part-00000{at}.{form}{end}" for at in range(4)]


@ENDS
@pytest.mark.parametrize("damage", ["cut", "other", "changed"])
def test_a_damaged_file_is_named(tmp_path: Path, end: str, damage: str) -> None:
    path = tmp_path / f"rows.csv{end}"
    data = COMPRESS[end](b"x\n" + b"".join(b"%d\n" % at for at in range(9000)))
    broken = {"cut": data[:-20], "other": b"x\n1\n", "changed": data[:900] + data[980:]}
    path.write_bytes(broken[damage])
    job = BatchJob("doubling", str(path), str(tmp_path / "answers.csv"))
    with pytest.raises(JobError, match=rf"rows\.csv{end} is damaged: \w"):
        run(job, Doubling())
    assert not (tmp_path / "answers.csv.parts").exists()


def test_a_missing_library_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ImportError(f"no {name}")

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(JobError, match=r"end with \.zst: .*'anabranch\[parquet\]'"):
        files.put(str(tmp_path / "rows.csv.zst"), b"x")
