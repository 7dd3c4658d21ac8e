"""Complete files become Parquet, which other tools read and from which events come back."""

from __future__ import annotations

import fcntl
import json
import threading
from pathlib import Path
from typing import Any

import pytest

pq = pytest.importorskip("pyarrow.parquet")

from anabranch.router.request_log import parquet  # noqa: E402
from anabranch.router.request_log.files import Files, Rotation  # noqa: E402
from anabranch.router.request_log.reading import log_files, read  # noqa: E402


def test_a_file_becomes_rows(tmp_path: Path, event: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_GROUP", 2000)
    path = tmp_path / "r3-a-1.jsonl"
    texts = [event(number) for number in range(100)]
    path.write_bytes(b"".join(text + b"\n" for text in texts) + texts[0][:50])
    target = parquet.convert(path)
    assert list(tmp_path.iterdir()) == [target]
    assert target.stat().st_mode & 0o777 == 0o600
    with pq.ParquetFile(target) as file:
        assert file.num_row_groups > 1
        rows = file.read().to_pylist()
    assert [row["id"] for row in rows] == [str(number) for number in range(100)]
    whole = json.loads(texts[5])
    row = rows[5]
    assert json.loads(row["data"]) == whole["data"]
    assert row["time"].isoformat().replace("+00:00", "Z") == whole["time"]
    assert (row["source"], row["graph"], row["revision"], row["endpoint"], row["protocol"]) == (
        "/v2/models/demo/versions/3", "demo", 3, "infer", "http",
    )  # fmt: skip
    assert row["error"] is row["traceparent"] is None


def test_events_come_back(tmp_path: Path, event: Any) -> None:
    path = tmp_path / "r3-a-1.jsonl"
    texts = [event(number) for number in range(200)]
    texts[7] = json.dumps(json.loads(texts[7]) | {"time": "2026-11-30T18:58:33.000000Z"}).encode()
    path.write_bytes(b"\n".join(texts) + b"\n")
    found = list(map(json.loads, parquet.events(parquet.convert(path))))
    for text, one in zip(texts, found, strict=True):
        whole = json.loads(text)
        assert one == {key: whole[key] for key in ("id", "type", "time", "data")}


def test_an_error_has_its_class_as_a_column(tmp_path: Path, event: Any) -> None:
    failed = json.loads(event(1))
    failed["data"]["error"] = {"class": "NodeError", "status": 500, "message": "x"}
    del failed["data"]["response"]
    path = tmp_path / "r3-a-1.jsonl"
    path.write_text(json.dumps(failed) + "\n")
    with pq.ParquetFile(parquet.convert(path)) as file:
        assert file.read(["error"]).to_pylist() == [{"error": "NodeError"}]


def test_files_are_converted_once_they_are_complete(tmp_path: Path, event: Any) -> None:
    files = Files(tmp_path, "r3-a", "parquet", Rotation(size=1))
    for number in range(3):
        files.send([event(number)])
        files.close()  # waits for the conversion
        names = sorted(path.suffix for path in tmp_path.iterdir())
        assert names == [".parquet"] * (number + 1)


def test_a_file_that_is_complete_while_others_are_converted_is_converted_too(
    tmp_path: Path, event: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work, may_go_on = threading.Event(), threading.Event()
    convert = parquet.convert

    def slow(path: Path) -> Path:
        at_work.set()
        assert may_go_on.wait(20)
        return convert(path)

    monkeypatch.setattr(parquet, "convert", slow)
    (tmp_path / "r3-dead-1.jsonl").write_bytes(event(1) + b"\n")
    files = Files(tmp_path, "r3-a", "parquet", Rotation(size=1))
    assert at_work.wait(20)
    for number in range(3):
        files.send([event(number)])
    threading.Timer(0.05, may_go_on.set).start()  # when close has asked for one more
    files.close()
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".parquet"] * 4


def test_what_was_left_behind_is_converted(tmp_path: Path, event: Any) -> None:
    """By a router that died; but not what another one is writing, nor other revisions' files."""
    (tmp_path / "r3-dead-1.jsonl").write_bytes(event(1) + b"\n")
    (tmp_path / "r2-dead-1.jsonl").write_bytes(event(2) + b"\n")
    (tmp_path / "r3-dead-1.parquet.part").write_bytes(b"half")
    other = Files(tmp_path, "r3-other")
    other.send([event(3)])
    Files(tmp_path, "r3-a", "parquet").close()
    found = sorted(path.name.partition("-20")[0] for path in tmp_path.iterdir())
    assert found == ["r2-dead-1.jsonl", "r3-dead-1.parquet", "r3-other"]
    other.close()


def test_a_file_is_never_converted_before_its_writer_has_locked_it(
    tmp_path: Path, event: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock
    cut: list[str] = []

    def meddled(descriptor: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX and not cut:
            cut.append("once")
            Files(tmp_path, "r3-b", "parquet").close()  # converts what nobody holds
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", meddled)
    files = Files(tmp_path, "r3-a", "parquet")
    files.send([event(0)])
    assert [path.suffix for path in tmp_path.iterdir()] == [".jsonl"]
    assert len(list(read(log_files([str(tmp_path)])))) == 1
    files.close()
    assert [path.suffix for path in tmp_path.iterdir()] == [".parquet"]
    assert len(list(read(log_files([str(tmp_path)])))) == 1
