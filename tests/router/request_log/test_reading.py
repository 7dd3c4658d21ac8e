"""Logs are read again: files, folders and patterns, also while they grow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from anabranch.errors import InvalidRequest
from anabranch.router.request_log import reading
from anabranch.router.request_log.reading import log_files, read


def ids(*logs: object) -> list[str | None]:
    found = read(log_files(map(str, logs)))
    return [None if event is None else event.id for event in found]


def write(path: Path, *events: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(event + b"\n" for event in events))
    return path


def test_a_file_a_folder_and_a_pattern(tmp_path: Path, event: Any) -> None:
    first = write(tmp_path / "a" / "r9-x-20260101T000000Z.jsonl", event(1), event(2))
    write(tmp_path / "a" / "r3-y-20260102T000000Z.jsonl", event(3))
    (tmp_path / "a" / "notes.txt").touch()
    assert ids(first) == ["1", "2"]
    assert ids(tmp_path) == ["1", "2", "3"], "in the order in which they were begun"
    assert ids(tmp_path / "a" / "r3-*") == ["3"]
    assert ids(tmp_path, first) == ["1", "2", "3"]


def test_parquet_too_and_each_event_once(tmp_path: Path, event: Any) -> None:
    pytest.importorskip("pyarrow")
    from anabranch.router.request_log import parquet

    path = write(tmp_path / "r3-y-1.jsonl", event(1), event(2))
    target = parquet.convert(path)
    write(path, event(1), event(2))  # the conversion was cut short before it deleted this
    assert ids(tmp_path) == ids(target) == ["1", "2"]
    (tmp_path / "r3-z-2.parquet").write_bytes(b"no parquet")
    with pytest.raises(InvalidRequest, match=r"r3-z-2.parquet' is not Parquet"):
        ids(tmp_path)


def test_lines_that_are_no_events(tmp_path: Path, event: Any) -> None:
    other = event(3).replace(b"io.anabranch.inference.v1", b"io.somebody.else.v1")
    path = write(tmp_path / "r3.jsonl", event(1), b"", b"{}", b"\xff", other, event(2)[:-20])
    assert ids(path) == ["1", None, None, None, None, None]


def test_a_log_that_grows_is_read_as_far_as_it_was(tmp_path: Path, event: Any) -> None:
    path = write(tmp_path / "r3.jsonl", *(event(number) for number in range(3)))
    found: list[str] = []
    for one in read(log_files([str(path)])):
        assert one is not None
        found.append(one.id)
        with path.open("ab") as file:
            file.write(event(9) + b"\n")
    assert found == ["0", "1", "2"]


def test_a_line_that_is_too_long(
    tmp_path: Path, event: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_LINE", 1000)
    path = write(tmp_path / "r3.jsonl", event(1), event(2, 2000), event(3), b"x" * 1000, event(4))
    assert ids(path) == ["1", None, "3", None, "4"]


@pytest.mark.parametrize("log", ["nothing", "*.jsonl", "empty"])
def test_no_log(tmp_path: Path, log: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidRequest, match="has no request logs"):
        log_files([str(tmp_path / log)])


def test_another_file_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    with pytest.raises(InvalidRequest, match=r"a\.csv' is no request log"):
        log_files([str(tmp_path / "a.csv")])
