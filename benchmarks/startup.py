"""How soon ``anabranch serve`` answers: ``python -m benchmarks.startup``.

From the start of the command to its first right answer, for the five-node graph: the time that
passes, and the processor time that the command takes until then. Medians over several starts.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil

from benchmarks import request
from benchmarks.contenders import GRAPH
from benchmarks.engine import processor_seconds
from benchmarks.options import parse
from benchmarks.outcome import outcome
from benchmarks.running import START_TIMEOUT_S, NotMeasured
from benchmarks.servers.script import HOST, free_port

GOAL_S = 2.0
_PAUSE_S = 0.01


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--times", type=int, default=9, help="that it is started (default: 9)")
    times = parse(parser, times=1).times
    try:
        found = [_start() for _ in range(times)]
    except NotMeasured as problem:
        return outcome([], [str(problem)])
    passed, taken = (statistics.median(one) for one in zip(*found, strict=True))
    print(f"anabranch serve answers after {passed:.2f} s, {taken:.2f} s of a processor")
    return outcome([(f"anabranch serve answers within {GOAL_S:g} s", passed < GOAL_S)])


def _start() -> tuple[float, float]:
    """Start the command and end it; seconds until its answer, and of the processor."""
    port, began = free_port(), time.monotonic()
    program = Path(sys.executable).with_name("anabranch")
    process = subprocess.Popen(
        [program, "serve", GRAPH / "graph.yaml", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(f"http://{HOST}:{port}/v2/models/five/infer", process)
        return time.monotonic() - began, processor_seconds(psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            return request.check(request.ask(url))
        except OSError:
            if process.poll() is not None:
                raise NotMeasured(f"the command ended with {process.returncode}") from None
            if time.monotonic() > deadline:
                raise NotMeasured(f"no answer in {START_TIMEOUT_S:g} s") from None
        except (ValueError, request.WrongAnswer) as error:
            raise NotMeasured(f"wrong answer: {error}") from None
        time.sleep(_PAUSE_S)


if __name__ == "__main__":
    sys.exit(main())
