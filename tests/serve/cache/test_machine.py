"""Answers in a file of the machine: shared, bounded, and gone with those who shared it."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from anabranch.serve.cache import machine as machine_module
from anabranch.serve.cache.machine import MachineStore
from tests.serve.cache.caches import SIZE, counted, machine
from tests.waiting import until

KEYS = [bytes([n]) * 32 for n in range(256)]
HOLDER = """
import sys, time
from pathlib import Path
from anabranch.serve.cache.counts import CacheCounts
from anabranch.serve.cache import machine as machine_module
from anabranch.serve.cache.machine import MachineStore
store = MachineStore(Path(sys.argv[1]), "a", 2**20, 60.0, CacheCounts("g", "1", ""))
store.put(b"k" * 32, b"from another process")
while store._unwritten:
    time.sleep(0.01)
print("there", flush=True)
time.sleep(600)
"""


def get(store: MachineStore, key: bytes) -> bytes | None:
    found = asyncio.run(store.get(key))
    return None if found is None else found.data


def write(store: MachineStore, *keys: bytes, size: int = 10) -> None:
    for key in keys:
        assert store.put(key, key[:1] * size)
    until(lambda: not store._unwritten)


def test_an_answer_is_there_before_and_after_it_is_written(tmp_path: Path) -> None:
    with machine(tmp_path) as (store, _):
        store.put(KEYS[1], b"one")
        assert get(store, KEYS[1]) == b"one"
        until(lambda: not store._unwritten)
        assert get(store, KEYS[1]) == b"one"
        assert get(store, KEYS[2]) is None
        found = asyncio.run(store.get(KEYS[1]))
        assert found is not None
        assert 0 < found.seconds <= 60


def test_answers_end_with_their_time(tmp_path: Path) -> None:
    with machine(tmp_path, ttl=0.05) as (store, _):
        write(store, KEYS[1])
        until(lambda: get(store, KEYS[1]) is None)
        write(store, KEYS[2])
        with sqlite3.connect(tmp_path / "a.answers") as other:
            assert other.execute("SELECT count(*) FROM answers").fetchone() == (1,)


def test_the_least_recently_used_answers_leave_first(tmp_path: Path) -> None:
    with machine(tmp_path, size=2**20) as (store, registry):
        store._touched = 0.0
        for key in KEYS[:30]:
            write(store, key, size=2**15)
            assert get(store, KEYS[0]) is not None, "what is used stays"
        for key in KEYS[30:60]:
            write(store, key, size=2**15)
            get(store, KEYS[0])
        there = [index for index, key in enumerate(KEYS[:60]) if get(store, key) is not None]
        assert there[0] == 0
        assert there[1:] == list(range(there[1], 60))
        counts = counted(registry)
        assert counts["bytes"] <= 2**20
        assert counts["evictions"] == 60 - len(there)


def test_stores_of_a_name_share_answers_also_across_processes(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "there\n"
            with machine(tmp_path) as (one, _), machine(tmp_path) as (two, _):
                assert get(one, b"k" * 32) == b"from another process"
                write(one, KEYS[1])
                assert get(two, KEYS[1]) is not None
            with machine(tmp_path, "b") as (third, _):
                assert get(third, KEYS[1]) is None
            os.kill(other.pid, signal.SIGKILL)
            other.wait()
        finally:
            other.kill()
    assert (tmp_path / "a.answers").exists()
    with machine(tmp_path, "b"):
        assert not (tmp_path / "a.answers").exists(), "what nobody has is swept"
    with machine(tmp_path) as (again, _):
        assert get(again, KEYS[1]) is None


def test_the_last_one_removes_the_file(tmp_path: Path) -> None:
    with machine(tmp_path) as (one, _):
        with machine(tmp_path):
            pass
        write(one, KEYS[1])
        assert get(one, KEYS[1]) is not None
    assert [path.name for path in tmp_path.iterdir()] == ["folder"], "the lock of the folder"


def test_replicas_that_open_and_close_all_at_once_share_or_remove_their_files(
    tmp_path: Path,
) -> None:
    def turns(name: str) -> None:
        for key in KEYS[:20]:
            with machine(tmp_path, name) as (store, registry):
                write(store, key)
                assert get(store, key) is not None
                assert "errors" not in counted(registry)

    with ThreadPoolExecutor() as threads:
        list(threads.map(turns, "aabb"))
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_file_that_is_damaged_is_like_an_empty_one(tmp_path: Path) -> None:
    with machine(tmp_path) as (store, registry):
        write(store, *KEYS[:100], size=2**12)
        store._reader.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with (tmp_path / "a.answers").open("r+b") as file:
            file.seek(2**12)
            file.write(os.urandom(2**16))
        store._reader.execute("PRAGMA shrink_memory")
        get(store, KEYS[1])
        assert store.put(KEYS[101], b"x")
        until(lambda: not store._unwritten)
        assert counted(registry)["errors"] >= 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_more_than_waits_at_a_time_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_module, "_WRITE_S", 60.0)
    with machine(tmp_path) as (store, _):
        with sqlite3.connect(tmp_path / "a.answers", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            taken = [store.put(key, b"x" * (SIZE // 8)) for key in KEYS[:20]]
            other.execute("ROLLBACK")
        other.close()
        assert taken[:8] == [True] * 8
        assert not taken[-1]
