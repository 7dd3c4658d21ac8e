"""Requests beside a batch job: ``python -m benchmarks.jobs``.

A graph on a whole engine whose node answers four requests at a time, 20 ms each. Requests come at
random, as many as take two fifths of that, by turns without and with ``anabranch batch``, which
sends a file of rows through the same graph meanwhile. Figures are the p99 of the requests with the
job in that without it, and the rows that the job gets answered in a second, beside the requests and
alone. Both loads alternate in several rounds, of which the medians count.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.client import percentile
from benchmarks.engine import Engine, engine
from benchmarks.open_loop import OpenLoop
from benchmarks.options import parse
from benchmarks.outcome import Goal, outcome
from benchmarks.tenants import BODY, CODE, SHARE, SPEC

WARM_UP_S = 2.0
MOST = 1.1
"""Most that the p99 beside a job may be, in that without one."""
ROWS, CHUNK = 1_000_000, 100


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jobs")
    parser.add_argument("--seconds", type=int, default=30, help="of each load (default: 30)")
    parser.add_argument("--rounds", type=int, default=5, help="of both loads (default: 5)")
    options = parse(parser, seconds=5, rounds=1)
    with engine() as one, tempfile.TemporaryDirectory() as folder:
        root = one.folder / "graphs"
        root.mkdir()
        (root / "components.py").write_text(CODE)
        url = one.deploy(root, "shared", SPEC)
        rows = _rows(Path(folder) / "rows.jsonl")
        asyncio.run(_p99(url, WARM_UP_S))
        alone, beside, rates = [], [], []
        for number in range(options.rounds):
            alone.append(asyncio.run(_p99(url, options.seconds)))
            output = Path(folder) / f"{number}.jsonl"
            with _job(one, rows, output):
                before, started = _done(output), time.monotonic()
                beside.append(asyncio.run(_p99(url, options.seconds)))
                rates.append((_done(output) - before) / (time.monotonic() - started))
        with _job(one, rows, output := Path(folder) / "alone.jsonl"):
            before, started = _done(output), time.monotonic()
            time.sleep(options.seconds)
            rate = (_done(output) - before) / (time.monotonic() - started)
    usual, p99 = statistics.median(alone), statistics.median(beside)
    print(f"rows a second: {statistics.median(rates):,.0f} beside requests, {rate:,.0f} alone")
    goals: list[Goal] = [
        (
            f"p99 beside a job {p99 * 1e3:.1f} ms, {p99 / usual:.2f} x that of "
            f"{usual * 1e3:.1f} ms without one (goal: {MOST})",
            p99 <= MOST * usual,
        )
    ]
    return outcome(goals)


def _rows(path: Path) -> Path:
    path.write_text('{"x": [1, 2, 3, 4]}\n' * ROWS)
    return path


@contextmanager
def _job(one: Engine, rows: Path, output: Path) -> Iterator[None]:
    """Run a job until its first rows are answered, and longer; kill it at the end."""
    program = Path(sys.executable).with_name("anabranch")
    words = [program, "batch", "shared", rows, "-o", output, "--chunk", str(CHUNK)]
    env = {**os.environ, **one.env, "ANABRANCH_HOME": str(one.folder / "home")}
    process = subprocess.Popen(
        [str(word) for word in words], env=env, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while not _done(output) and process.poll() is None:
            time.sleep(0.1)
        yield
        if process.poll() is not None:
            raise RuntimeError(f"the job has ended with {process.returncode}")
    finally:
        process.kill()
        process.wait()


def _done(output: Path) -> int:
    """Return how many rows a job has answered."""
    return CHUNK * len(list(Path(f"{output}.parts").glob("part-*")))


async def _p99(url: str, seconds: float) -> float:
    load = OpenLoop(url, BODY, SHARE, seed=1)
    await load.run(seconds + WARM_UP_S)
    start = load.answers[0].at + WARM_UP_S
    took = sorted(one.seconds for one in load.answers if one.at >= start and one.status == 200)
    return percentile(took, 0.99)


if __name__ == "__main__":
    sys.exit(main())
