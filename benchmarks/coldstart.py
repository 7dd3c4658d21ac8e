"""What the first request to a sleeping graph waits for: ``python -m benchmarks.coldstart``.

A graph of one NumPy step, and one with a small PyTorch network on the CPU, each put to sleep and
asked several times; beside them the same component by hand on Ray Serve, with Serve's defaults.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import httpx
import psutil

from anabranch.control.engine import processes
from anabranch.serve.workers.environment import MARK
from benchmarks.engine import Engine, engine
from benchmarks.options import parse
from benchmarks.outcome import outcome
from benchmarks.servers.script import HOST, free_port

SERVERS = Path(__file__).parent / "servers"
COMPONENT = SERVERS / "graph" / "sleepy.py"
GOALS_S = {"Numpy": 1.2, "Torch": 1.5}
BODY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}]}
PARTS = ("decision, process", "imports", "model", "ready, routed", "answer", "in all")
"""From the request to the start of the process, to the import of the component's module, to the end
of its load, to its first call, to the reply.
"""
Times = Sequence[float]


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    options = _options()
    found: dict[tuple[str, str], Times] = {}
    with engine() as one:
        for component in GOALS_S:
            found["anabranch", component] = _ours(one, component, options.times)
    if not options.alone:
        for component in GOALS_S:
            found["Ray Serve, defaults", component] = _by_hand(component, options.times)
    return _report(found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coldstart", description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="that each is woken (default: 5)")
    parser.add_argument("--alone", action="store_true", help="leave out plain Ray Serve")
    return parse(parser, times=1)


def _ours(one: Engine, component: str, times: int) -> Times:
    name = component.lower()
    with tempfile.TemporaryDirectory(prefix="ab-") as folder:
        root, notes = Path(folder), Path(folder) / "notes.json"
        (root / "sleepy.py").write_text(COMPONENT.read_text())
        node = {
            "type": "transformer", "component": f"sleepy.py:{component}", "inputs": {"x": "x"},
            "args": {"notes": str(notes)},
        }  # fmt: skip
        url = one.deploy(
            root,
            name,
            {
                "inputs": {"x": {"datatype": "FP32", "shape": [-1, 2]}},
                "nodes": {"node": node},
                "outputs": {"y": "node"},
                "scaling": {"min": 0, "max": 1, "downscale_delay": "1s"},
            },
        )
        return _medians([_wake(url, notes, lambda: one.replicas(name)) for _ in range(times)])


def _by_hand(component: str, times: int) -> Times:
    with tempfile.TemporaryDirectory(prefix="ab-", ignore_cleanup_errors=True) as folder:
        notes, mark = Path(folder) / "notes.json", uuid.uuid4().hex
        with _serving(component, notes, mark) as url:
            return _medians(
                [
                    _wake(url, notes, lambda: _replicas(mark, notes.parent))
                    for _ in range(min(times, 3))
                ]
            )


@contextmanager
def _serving(component: str, notes: Path, mark: str) -> Iterator[str]:
    port, folder = free_port(), notes.parent
    path = os.pathsep.join([str(SERVERS), str(COMPONENT.parent)])
    process = subprocess.Popen(
        [sys.executable, str(SERVERS / "serve_sleepy.py"), str(port), str(folder)],
        env={**os.environ, MARK: mark, "PYTHONPATH": path, "SLEEPY": component,
             "SLEEPY_NOTES": str(notes)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        url = f"http://{HOST}:{port}/"
        _until(lambda: _answers(url))
        yield url
    finally:
        process.terminate()
        process.wait(30)
        processes.stop(mark, process.pid, folder)


def _answers(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.post(url, json=BODY, timeout=60).status_code == 200
    return False


def _replicas(mark: str, folder: Path) -> list[psutil.Process]:
    found = []
    for process in processes.of_engine(mark, folder):
        with suppress(psutil.Error):
            if process.cmdline()[0].startswith("ray::ServeReplica:default:sleepy"):
                found.append(process)
    return found


def _wake(url: str, notes: Path, replicas: Callable[[], list[psutil.Process]]) -> Times:
    """The parts of one cold start, in seconds."""
    _until(lambda: not replicas())
    time.sleep(1)  # the proxy hears of it a moment later
    notes.unlink(missing_ok=True)
    with httpx.Client(timeout=60) as client:
        asked = time.time()
        client.post(url, json=BODY).raise_for_status()
        answered = time.time()
    told = json.loads(notes.read_text())
    between = (told[part] for part in ("started", "imported", "loaded", "called"))
    marks = (asked, *between, answered)
    return [*(later - before for before, later in pairwise(marks)), answered - asked]


def _until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError("it has not happened within 120 s")
        time.sleep(0.1)


def _medians(rounds: Sequence[Times]) -> Times:
    return [statistics.median(part) for part in zip(*rounds, strict=True)]


def _report(found: dict[tuple[str, str], Times]) -> int:
    print(f"{'seconds':32}" + "".join(f"{part:>19}" for part in PARTS))
    for (server, component), times in found.items():
        print(f"{server + ', ' + component:32}" + "".join(f"{part:19.2f}" for part in times))
    ours = {one: found["anabranch", one][-1] for one in GOALS_S}
    return outcome(
        [
            (f"{one}: {ours[one]:.2f} s (goal: {goal})", ours[one] <= goal)
            for one, goal in GOALS_S.items()
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
