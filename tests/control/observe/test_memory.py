"""Real processes with a pulse, whose memory is that of their revision."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from anabranch.control.observe.memory import AGE_S, RevisionMemory
from anabranch.serve.sockets import FOLDER

CODE = """
import asyncio
from anabranch.serve.heartbeat import start_heartbeat

async def main():
    start_heartbeat()
    kept = b"x" * {size}
    print(flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""
MIB = 2**20


def process(folder: Path, graph: str, revision: str, size: int) -> subprocess.Popen[bytes]:
    env = {
        **os.environ, FOLDER: str(folder), "ANABRANCH_GRAPH": graph,
        "ANABRANCH_REVISION": revision, "RAY_ENABLE_AUTO_CONNECT": "0",
    }  # fmt: skip
    command = [sys.executable, "-c", CODE.format(size=size)]
    started = subprocess.Popen(command, env=env, stdout=subprocess.PIPE)
    assert started.stdout is not None and started.stdout.readline() == b"\n"
    return started


def test_it_is_that_of_all_processes_of_the_revision(tmp_path: Path) -> None:
    now = 0.0
    memory = RevisionMemory(tmp_path, lambda: now)
    assert memory.taken() == {}
    now += AGE_S
    started = [
        process(tmp_path, "shop", "1", 40 * MIB),
        process(tmp_path, "shop", "2", 10 * MIB),
        process(tmp_path, "shop", "2", 150 * MIB),
        process(tmp_path, "", "", MIB),
    ]
    try:
        found = memory.taken()
        assert found.keys() == {("shop", 1), ("shop", 2)}
        assert found["shop", 1] > 40 * MIB
        assert found["shop", 2] - found["shop", 1] > 100 * MIB
    finally:
        for one in started:
            one.kill()
            one.communicate()
    assert memory.taken() is found  # for a while
    now += AGE_S
    assert memory.taken() == {}


def test_where_there_is_no_folder_nothing_is_known() -> None:
    assert RevisionMemory(None).taken() == {}
