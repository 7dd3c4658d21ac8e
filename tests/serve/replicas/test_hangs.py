"""A process whose loop a component holds ends, and the next one calls the component in threads."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from anabranch.serve.replicas.hangs import hung_nodes

CODE = """
import asyncio, logging, sys
from pathlib import Path
import numpy as np
from anabranch import Graph
from anabranch.components.contract import Context
from anabranch.graph.calls import watch
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes
from anabranch.serve.identity import serve_as
from anabranch.serve.replicas import hangs

if "shared" in sys.argv:
    serve_as("other", 7)
if "locked" in sys.argv:  # the component holds the lock of the log
    logging.getLogger("anabranch.serve").addHandler(logging.StreamHandler())
watch._LOOK_S, watch.HANG_S = 0.01, 0.1
watch.WATCH.start(hangs._end)
graph = Graph("g", root=Path("bundle")).input("x", "INT64", [-1]).output("y", "slow")
graph.transformer("slow", component="c.py:Sleeps", inputs={"x": "x"})

async def main():
    bound = await load_nodes(graph.plan, ["slow"], graph.root)
    executor = HeadExecutor(graph.plan, bound, threads_only=hangs.hung_nodes())
    for number in range(200):  # a busy machine may make some of them look slow
        await executor.run({"x": np.array([number])}, Context())
        if not executor.off_loop:
            break
    if executor.off_loop:
        print("in threads")
        return
    await executor.run({"x": np.array([-1])}, Context())

asyncio.run(main())
"""
COMPONENT = """
import logging, sys, time

class Sleeps:
    def transform(self, x):
        if (x < 0).any():
            if "locked" in sys.argv:
                logging.getLogger("anabranch.serve").handlers[-1].acquire()
            time.sleep(60)
        return x
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "c.py").write_text(COMPONENT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ANABRANCH_GRAPH", "g")
    monkeypatch.setenv("ANABRANCH_REVISION", "3")
    monkeypatch.setenv("RAY_ENABLE_AUTO_CONNECT", "0")
    return tmp_path / "home"


def process(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CODE, *words], capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("words", [(), pytest.param(("locked",), marks=pytest.mark.nightly)])
def test_it_ends_and_the_next_process_calls_the_node_in_threads(
    home: Path, words: tuple[str, ...]
) -> None:
    first = process(*words)
    assert first.returncode == -signal.SIGKILL, first.stderr
    if not words:
        assert "node 'slow' of graph 'g' has held the event loop" in first.stderr
    assert hung_nodes() == {"slow"}
    assert process(*words).stdout == "in threads\n"


def test_another_revision_has_another_memory(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process()
    monkeypatch.setenv("ANABRANCH_REVISION", "4")
    assert hung_nodes() == frozenset()


def test_a_graph_that_shares_its_process_is_told_apart(home: Path) -> None:
    assert process("shared").returncode == -signal.SIGKILL
    assert hung_nodes() == frozenset()
    assert (home / "hangs" / "other" / "r7" / "slow").exists()


def test_a_home_that_is_a_file_keeps_no_process_alive(home: Path) -> None:
    home.touch()
    ended = process()
    assert ended.returncode == -signal.SIGKILL
    assert "the next process will not know that node 'slow' hangs" in ended.stderr


def test_outside_of_an_engine_nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANABRANCH_HOME", raising=False)
    assert hung_nodes() == frozenset()
