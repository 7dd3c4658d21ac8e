"""``make demo`` as a newcomer runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from anabranch.control.engine.processes import running

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples" / "digits" / "demo.py"

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]


def engines() -> set[int]:
    """Return the ids of all processes that belong to some engine of a demo."""
    found = set()
    for process in running():
        try:
            if "anabranch-demo-" in process.environ().get("ANABRANCH_HOME", ""):
                found.add(process.pid)
        except psutil.Error:
            continue
    return found


def test_the_demo_agrees_with_graph_run_and_leaves_nothing_behind() -> None:
    for module in ("sklearn", "torch", "joblib"):
        pytest.importorskip(module)
    before = engines()
    done = subprocess.run([sys.executable, DEMO], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = ("accuracy", "p50", "p99", "requests/s", "graph.run() agrees")
    ways = ("the graph as it is", "without batching", "each node in its own process")
    for expected in (*figures, *ways):
        assert expected in done.stdout
    assert engines() <= before
