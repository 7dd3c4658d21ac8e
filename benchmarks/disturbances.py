"""What others get in anybody's way: ``python -m benchmarks.disturbances``.

Requests leave 200 times a second, by turns without and with a disturbance. What is compared is a
percentile of both, each the median over turns of its kind, so that a burst of something else on the
machine spoils one turn and not the figure.

- *slow connections*: their requests stop in the head, in the body, and in a body past the proxy's
  buffer. All must be open until their turn has ended; the proxy or the router closes them some six
  seconds after their start, so turns cannot be long.
- *monitors that hang*: their process is stopped so long that values for it are dropped before the
  turn begins. Before the next turn it must have caught up.

After that the edge's HAProxy is killed over and over, and the graph is asked on new connections
until there is an answer.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import psutil

from benchmarks.counts import is_empty, outlet, until
from benchmarks.engine import Engine, engine
from benchmarks.holding import held
from benchmarks.load import load, tool
from benchmarks.open_loop import OpenLoop
from benchmarks.options import parse
from benchmarks.outcome import Goal, outcome
from benchmarks.phase import WARM_UP_S, Phase
from benchmarks.request import BODY, ask
from benchmarks.running import NotMeasured
from benchmarks.servers.script import HOST

RATE = 200
"""Requests a second."""
BACK_S, PATIENCE_S = 1.0, 60.0
"""Time until somebody answers after HAProxy was killed: the goal, and how long it is waited for."""
P99, P50 = 3.0, 1.2
"""How many times as long the percentiles may be: with slow connections, with hung monitors."""
PLAIN, WATCHED = "plain", "watched"
OUTLET = "monitors"
WATCHING = {"monitors": {"shift": {"method": "ks", "reference": {"first": 200}}}}
FILLING, MOST_FILLS = 32, 10
"""Connections that fill the queue to the monitors, and most loads of a second that they take."""
PAUSE_S = 1.0
"""Time in which the engine lets go of slow connections that were closed."""


@dataclass
class Case:
    """A disturbance of a graph, the percentile that shows it, and turns without and with it."""

    title: str
    url: str
    disturbed: Callable[[], AbstractContextManager[None]]
    figure: Literal["p50", "p99"]
    most: float
    """How many times as long it may be."""
    well: Phase = field(default_factory=Phase)
    meanwhile: Phase = field(default_factory=Phase)
    problem: Exception | None = None
    """Why it could not be measured."""

    def round(self, seconds: float) -> None:
        """One turn of each kind; none after a problem."""
        if self.problem is not None:
            return
        try:
            _turn(self.url, seconds, self.well)
            with self.disturbed():
                _turn(self.url, seconds, self.meanwhile)
        except (NotMeasured, OSError, psutil.Error) as problem:
            self.problem = problem

    def goals(self) -> list[Goal]:
        """What was found, and whether it is as it should be."""
        before, found = getattr(self.well, self.figure), getattr(self.meanwhile, self.figure)
        ratio, failed = found / before, self.well.failed + self.meanwhile.failed
        compared = f"{self.figure} {before:.2f} → {found:.2f} ms, {ratio:.2f} ×"
        return [
            (f"{self.title}: {compared} (goal: {self.most:g})", ratio <= self.most),
            (f"{self.title}: {failed} requests failed (goal: 0)", failed == 0),
        ]


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    options = _options()
    # So that SIGTERM, too, leaves through every ``finally``: no process may stay stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="ab-") as name, engine() as one:
        cases = _cases(one, Path(name), options.connections)
        for number in range(1, options.rounds + 1):
            for case in cases:
                print(f"round {number} of {options.rounds}: {case.title}", flush=True)
                case.round(options.seconds)
        print(f"HAProxy is killed {options.kills} times", flush=True)
        away = [_seconds_without_edge(one, cases[0].url) for _ in range(options.kills)]
    return _report(cases, away)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.disturbances")
    parser.add_argument("--seconds", type=float, default=3, help="of each turn (default: 3)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    parser.add_argument(
        "--connections", type=int, default=1000, help="that are slow (default: 1000)"
    )
    parser.add_argument("--kills", type=int, default=20, help="of HAProxy (default: 20)")
    return parse(parser, seconds=1, rounds=1, connections=60, kills=2)


def _cases(one: Engine, root: Path, connections: int) -> list[Case]:
    plain, watched = one.deploy_five(root, PLAIN), one.deploy_five(root, WATCHED, WATCHING)
    slow = partial(_slow_connections, plain, connections)
    hung = partial(_hung_monitors, one, watched)
    return [
        Case(f"{connections:,} slow connections", plain, slow, "p99", P99),
        Case("monitors that hang", watched, hung, "p50", P50),
    ]


def _turn(url: str, seconds: float, into: Phase) -> None:
    loop = OpenLoop(url, BODY, RATE)
    asyncio.run(loop.run(seconds + WARM_UP_S))
    into.add(loop)


@contextmanager
def _slow_connections(url: str, count: int) -> Iterator[None]:
    """Hold requests open that do not go on. Raises NotMeasured if some end before that."""
    address, starts = (HOST, urlsplit(url).port), cycle(_starts(urlsplit(url).path))
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(address, 30)) for _ in range(count)]
        for connection, start in zip(slow, starts, strict=False):
            connection.setblocking(False)
            # What does not fit into the buffers on the way is left out.
            with suppress(BlockingIOError):
                connection.send(start)
        yield
        closed = sum(not _is_open(connection) for connection in slow)
    if closed:
        raise NotMeasured(f"{closed} of the slow connections ended before their turn had ended")
    time.sleep(PAUSE_S)


def _starts(path: str) -> Sequence[bytes]:
    """Requests that stop in the head, in the body, and in a body past the proxy's buffer."""
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: ".encode()
    return head, head + b"1000\r\n\r\n{", head + b"1000000\r\n\r\n" + b" " * 100_000


def _is_open(connection: socket.socket) -> bool:
    """Whether nothing has come back, neither an answer nor the end of the connection."""
    try:
        connection.recv(1)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    return False


@contextmanager
def _hung_monitors(one: Engine, url: str) -> Iterator[None]:
    """Hold the process of the monitors. Raises NotMeasured if it does not stay so."""
    (process,) = one.replicas(f"{WATCHED}.r1:monitors")
    with held(process.pid):
        _fill(one, url)
        yield
        if process.status() != psutil.STATUS_TRACING_STOP:
            raise NotMeasured("the process of the monitors was not held")
    if not until(one.url, WATCHED, OUTLET, is_empty):
        raise NotMeasured("the monitors do not catch up")


def _fill(one: Engine, url: str) -> None:
    """Ask until values for the monitors are dropped. Raises NotMeasured if none are."""
    before = outlet(one.url, WATCHED, OUTLET)["dropped"]
    for _ in range(MOST_FILLS):
        load(url, FILLING, 1, tool())
        if outlet(one.url, WATCHED, OUTLET)["dropped"] > before:
            return
    raise NotMeasured("nothing was dropped while the monitors hung")


def _seconds_without_edge(one: Engine, url: str) -> float:
    """Kill HAProxy, and ask until its successor answers. Raises NotMeasured if none does."""
    (haproxy,) = (process for process in one.processes() if process.name() == "haproxy")
    began = time.perf_counter()
    haproxy.kill()
    haproxy.wait()
    while (passed := time.perf_counter() - began) < PATIENCE_S:
        with suppress(OSError):
            ask(url)
            return time.perf_counter() - began
    raise NotMeasured(f"nobody answered for {passed:.0f} s after HAProxy was killed")


def _report(cases: Sequence[Case], away: Sequence[float]) -> int:
    goals = [goal for case in cases if case.problem is None for goal in case.goals()]
    text = f"{max(away):.3f} s at most, {statistics.median(away):.3f} s in the median"
    goals.append((f"an answer after HAProxy was killed: {text} (goal: {BACK_S:g})",
                  max(away) <= BACK_S))  # fmt: skip
    problems = [f"{case.title}: {case.problem}" for case in cases if case.problem is not None]
    return outcome(goals, problems)


if __name__ == "__main__":
    began = time.monotonic()
    code = main()
    print(f"after {time.monotonic() - began:.0f} s")
    sys.exit(code)
