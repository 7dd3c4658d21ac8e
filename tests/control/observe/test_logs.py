from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import closing
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import pytest

from anabranch.control.observe import logs
from anabranch.control.observe.logs import Logs, Wanted, replicas_of
from anabranch.errors import InvalidRequest
from anabranch.telemetry.logs import JsonFormatter, Stamp

ALL = Wanted()


def replica(name: str, **fields: str) -> dict[str, Any]:
    return {"replica_id": name, "node_ip": "10.0.0.2", **fields}


def apps(*replicas: dict[str, Any], dead: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    net = {"replicas": list(replicas), "recent_dead_replicas": dead or []}
    return {
        "digits.r3": {"deployments": {"net": net}},
        "digitsx": {"deployments": {"router": {"replicas": [replica("other")]}}},
        "anabranch.gateway": {"deployments": {"gateway": {"replicas": [replica("gate")]}}},
    }


ONE = apps(replica("abcdefghij", log_file_path="/serve/net.log", worker_id="w1"))
TAG = "digits.r3/net#abcdefgh"


def read(
    applications: dict[str, Any],
    folder: Path,
    graph: str,
    wanted: Wanted,
    most: int,
    cursor: str | None = None,
) -> Logs:
    """Read the logs of all replicas that Serve tells."""
    return logs.read(replicas_of(applications, graph), folder, graph, wanted, most, cursor)


class Log:
    """Serve's log of one replica, written as replicas write it."""

    def __init__(self, folder: Path, most_bytes: int = 0) -> None:
        (folder / "serve").mkdir()
        path = folder / "serve" / "net.log"
        self._handler = RotatingFileHandler(path, maxBytes=most_bytes, backupCount=3)
        self._handler.setFormatter(JsonFormatter())
        self._handler.addFilter(Stamp("digits", "3"))

    def write(self, message: str, **about: Any) -> None:
        record = logging.LogRecord("mine", logging.INFO, "", 0, message, (), None)
        if about:
            record.about = {"graph": "digits", "revision": "3", **about}
        self._handler.handle(record)

    def close(self) -> None:
        self._handler.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with closing(Log(tmp_path)) as one:
        yield one


def messages(found: Logs) -> list[str]:
    return [line["message"] for line in found.lines]


def test_lines_are_objects_that_carry_their_replica(tmp_path: Path, log: Log) -> None:
    (tmp_path / "worker-w1-01-99.out").write_text(":actor_name:net\nhello\n\n")
    (tmp_path / "worker-w2-01-99.err").write_text("not ours\n")
    log.write("started", node="net", request_id="seven")
    found = read(ONE, tmp_path, "digits", ALL, 10)
    assert {line["replica"] for line in found.lines} == {TAG}
    ours = next(line for line in found.lines if line["message"] == "started")
    assert (ours["level"], ours["logger"], ours["node"]) == ("INFO", "mine", "net")
    raw = next(line for line in found.lines if line["message"] == "hello")
    assert (raw["graph"], raw["revision"], "level" in raw) == ("digits", "3", False)
    assert len(found.lines) == 2


def test_dead_replicas_tell_why_they_died(tmp_path: Path) -> None:
    (tmp_path / "worker-w1-01-99.err").write_text("Segmentation fault\n")
    found = read(apps(dead=[replica("dead", worker_id="w1")]), tmp_path, "digits", ALL, 10)
    assert messages(found) == ["Segmentation fault"]


def test_replicas_have_the_machine_that_they_run_on() -> None:
    far = replica("far", worker_id="w9", node_id="n2")
    (found,) = replicas_of(apps(far), "digits")
    assert (found.machine, found.address, found.worker, found.file) == ("n2", "10.0.0.2", "w9", "")


def test_only_the_end_of_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "worker-w1-01-99.err"
    path.write_bytes(b"x" * 3_000_000 + b"\nlast but one\n" + b"y" * 9000 + b"\xff\n")
    first, second = messages(read(ONE, tmp_path, "digits", ALL, 10))
    assert first == "last but one" and len(second) == 4096
    assert messages(read(ONE, tmp_path, "digits", ALL, 0)) == []


def test_the_last_lines_are_those_of_all_replicas(tmp_path: Path, log: Log) -> None:
    for number in range(5):
        log.write(str(number))
    assert messages(read(ONE, tmp_path, "digits", ALL, 2)) == ["3", "4"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(node="net"), ["own", "none", "raw"]),
        (Wanted(node="cut"), ["cut"]),
        (Wanted(revision=3), ["own", "cut", "none", "raw"]),
        (Wanted(revision=4), []),
        (Wanted(request_id="a"), ["own", "cut"]),
        (Wanted(node="cut", request_id="b"), ["cut"]),
        (Wanted(request_id="c"), []),
    ],
)
def test_lines_are_filtered(tmp_path: Path, log: Log, wanted: Wanted, expected: list[str]) -> None:
    log.write("own", node="net", request_id="a")
    log.write("cut", node="cut", request_ids=["a", "b"])
    log.write("none")
    (tmp_path / "worker-w1-01-99.err").write_text("raw\n")
    assert sorted(messages(read(ONE, tmp_path, "digits", wanted, 10))) == sorted(expected)


def test_a_cursor_goes_on_after_what_was_read(tmp_path: Path, log: Log) -> None:
    log.write("one")
    raw = tmp_path / "worker-w1-01-99.err"
    raw.write_text("begun")
    found = read(ONE, tmp_path, "digits", ALL, 10)
    assert messages(found) == ["one"]
    log.write("two")
    raw.write_text("begun, and ended\n")
    found = read(ONE, tmp_path, "digits", ALL, 10, found.cursor)
    assert sorted(messages(found)) == ["begun, and ended", "two"]
    assert messages(read(ONE, tmp_path, "digits", ALL, 10, found.cursor)) == []


def test_following_survives_rotations(tmp_path: Path) -> None:
    told: list[str] = []
    cursor = ""
    with closing(Log(tmp_path, most_bytes=1000)) as log:
        for number in range(60):
            log.write(f"{number:02}")
            if number % 7 == 0:
                found = read(ONE, tmp_path, "digits", ALL, 10, cursor)
                told += messages(found)
                cursor = found.cursor
    told += messages(read(ONE, tmp_path, "digits", ALL, 10, cursor))
    assert len(list((tmp_path / "serve").iterdir())) == 4
    assert told == [f"{number:02}" for number in range(60)]


def test_following_finds_new_replicas_from_their_start(tmp_path: Path, log: Log) -> None:
    log.write("old")
    cursor = read(ONE, tmp_path, "digits", ALL, 10).cursor
    (tmp_path / "worker-w2-01-99.err").write_text("first words\n")
    dead = ONE["digits.r3"]["deployments"]["net"]["replicas"]
    both = apps(replica("new", worker_id="w2"), dead=dead)
    assert messages(read(both, tmp_path, "digits", ALL, 10, cursor)) == ["first words"]


def test_a_file_that_is_away_for_a_moment_is_not_read_anew(tmp_path: Path, log: Log) -> None:
    log.write("one")
    cursor = read(ONE, tmp_path, "digits", ALL, 10).cursor
    path = tmp_path / "serve" / "net.log"
    path.rename(tmp_path / "renamed")
    cursor = read(ONE, tmp_path, "digits", ALL, 10, cursor).cursor
    (tmp_path / "renamed").rename(path.with_suffix(".log.1"))
    assert messages(read(ONE, tmp_path, "digits", ALL, 10, cursor)) == []


@pytest.mark.parametrize("cursor", ["x", "1:2;3:4", "1:" + "9" * 30])
def test_what_is_no_cursor_is_refused(tmp_path: Path, cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="no cursor"):
        read(ONE, tmp_path, "digits", ALL, 10, cursor)


def test_json_of_others_is_text(tmp_path: Path) -> None:
    text = json.dumps({"time": 1, "said": "by another"})
    (tmp_path / "worker-w1-01-99.out").write_text(f"{text}\n{{broken\n")
    assert messages(read(ONE, tmp_path, "digits", ALL, 10)) == [text, "{broken"]


def test_lines_of_other_graphs_of_a_pool_are_left_out(tmp_path: Path, log: Log) -> None:
    log.write("mine")
    log.write("another's", graph="iris")
    assert [line["message"] for line in read(ONE, tmp_path, "digits", ALL, 10).lines] == ["mine"]
