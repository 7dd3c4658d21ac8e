"""What it costs to see what the five-node graph does: ``python -m benchmarks.telemetry``.

The variants run by turns on one machine: the graph on an engine from before there was telemetry,
with metrics (which are always on), with traces of 1 % and of all requests, with a request log, with
a monitor, and with five consoles open. Each has a turn in every round; figures are medians over
rounds, ratios are to the variant with metrics alone, whose own is to the engine from before. Two
processes of one graph, and two moments of one process, differ by more than what must cost next to
nothing. So traces of 1 % are compared with the turn before on the same process, by callers that say
that nothing is to be traced, and consoles with the turn before they are opened.

Spans go to a collector on this machine that throws them away, requests to a file.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.engine import Engine, engine, processor_seconds
from benchmarks.load import Load, load, tool
from benchmarks.moody import moody
from benchmarks.options import parse
from benchmarks.outcome import outcome

BEFORE = "f5886f5"
"""The last commit without telemetry."""
ROOT = Path(__file__).parents[1]
CONNECTIONS = (1, 32)
WARM_UP_S = 1
CONSOLES = 5
BARE, PLAIN, TRACED, UNTRACED = "bare", "metrics", "traces of 1 %", "the same, not traced"
OPEN, CLOSED = f"{CONSOLES} consoles open", "the same, none open"
BASES = {PLAIN: BARE, TRACED: UNTRACED, OPEN: CLOSED}
"""What a variant is compared with where that is not PLAIN: the turn before, or `bare`."""
NOT_SAMPLED = {"traceparent": f"00-{1:032x}-{1:016x}-00"}
LEAST = 0.97
"""Share of the throughput that must be left with traces of 1 %, and with consoles open."""

HEADINGS = (
    *("", "1: p99 ms", "1: requests/s", "32: p99 ms", "32: requests/s"),
    *("32: router, µs a request", "requests/s, ratio"),
)

Telemetry = Mapping[str, Any]
VARIANTS: Mapping[str, Telemetry] = {
    PLAIN: {},
    TRACED: {"telemetry": {"trace": "1%"}},
    "traces of 100 %": {"telemetry": {"trace": "100%"}},
    "request log": {"telemetry": {"requests": {"to": "file"}}},
    "a monitor": {"monitors": {"shift": {"method": "ks", "reference": {"first": 500}}}},
}


@dataclass
class Variant:
    """A way to run the graph, and the loads by number of connections, one a round.

    ``spent`` is the time of a processor that the router took for a request, in microseconds, in
    each round with the most connections: it varies less than what is answered in a second.
    """

    title: str
    url: str
    router: psutil.Process
    beside: Callable[[], AbstractContextManager[object]] = nullcontext
    headers: Mapping[str, str] = field(default_factory=dict)
    loads: dict[int, list[Load]] = field(default_factory=lambda: {n: [] for n in CONNECTIONS})
    spent: list[float] = field(default_factory=list)

    def turn(self, seconds: int, using: str) -> None:
        """One turn, with as many connections as there are kinds of it."""
        with self.beside():
            load(self.url, max(CONNECTIONS), WARM_UP_S, using, headers=self.headers)
            for connections in CONNECTIONS:
                before = processor_seconds(self.router)
                found = load(self.url, connections, seconds, using, headers=self.headers)
                self.loads[connections].append(found)
            self.spent.append((processor_seconds(self.router) - before) / found.answered * 1e6)

    def rate(self, connections: int) -> float:
        """Requests a second, the median over rounds."""
        return statistics.median(one.rate for one in self.loads[connections])

    def p99(self, connections: int) -> float:
        """In milliseconds, the median over rounds."""
        return statistics.median(one.p99 for one in self.loads[connections])

    @property
    def failed(self) -> int:
        """Requests that failed, in all rounds."""
        return sum(one.failed for loads in self.loads.values() for one in loads)


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    options = _options()
    with ExitStack() as stack:
        variants = _variants(stack)
        for number in range(1, options.rounds + 1):
            for variant in variants:
                print(f"round {number} of {options.rounds}: {variant.title}", flush=True)
                variant.turn(options.seconds, tool())
    Console(width=120).print(_table(variants))
    lacking = [] if variants[0].title == BARE else [f"{BARE}: the commit {BEFORE} is not here"]
    return outcome(_goals(variants), lacking)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.telemetry")
    parser.add_argument("--seconds", type=int, default=4, help="of each load (default: 4)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    return parse(parser, seconds=1, rounds=1)


def _variants(stack: ExitStack) -> list[Variant]:
    sink = stack.enter_context(moody())
    collector = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url}
    collector["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
    found = []
    old = stack.enter_context(_before())
    if old is not None:
        found.append(Variant(BARE, *_deployed(stack, old, "five", {})))
    one = stack.enter_context(engine(collector))
    for number, (title, telemetry) in enumerate(VARIANTS.items()):
        found.append(Variant(title, *_deployed(stack, one, f"five-{number}", telemetry)))
    plain = next(variant for variant in found if variant.title == PLAIN)
    traced = next(variant for variant in found if variant.title == TRACED)
    untraced = Variant(UNTRACED, traced.url, traced.router, headers=NOT_SAMPLED)
    found.insert(found.index(traced), untraced)
    consoles = partial(_consoles, one)
    found.append(Variant(CLOSED, plain.url, plain.router))
    found.append(Variant(OPEN, plain.url, plain.router, consoles))
    return found


@contextmanager
def _before() -> Iterator[Engine | None]:
    """An engine of BEFORE; None where the repository does not have it."""
    with tempfile.TemporaryDirectory(prefix="ab-") as name:
        tree = Path(name) / "before"
        add = ["git", "-C", str(ROOT), "worktree", "add", "--detach", str(tree), BEFORE]
        if shutil.which("git") is None or subprocess.run(add, capture_output=True).returncode:
            yield None
            return
        try:
            with engine({"PYTHONPATH": str(tree)}) as one:
                yield one
        finally:
            remove = ["git", "-C", str(ROOT), "worktree", "remove", "--force", str(tree)]
            subprocess.run(remove, check=True, capture_output=True)


def _deployed(
    stack: ExitStack, one: Engine, name: str, telemetry: Telemetry
) -> tuple[str, psutil.Process]:
    """Deploy the graph; its URL, and the process of its router."""
    root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ab-")))
    url = one.deploy_five(root, name, telemetry)
    (router,) = one.replicas(f"{name}:router")
    return url, router


@contextmanager
def _consoles(one: Engine) -> Iterator[None]:
    """Hold the events of the console open, as browsers do."""
    closing = threading.Event()
    opened = [threading.Event() for _ in range(CONSOLES)]

    def watch(ready: threading.Event) -> None:
        with httpx.stream("GET", f"{one.url}/console/events", timeout=30) as reply:
            reply.raise_for_status()
            for _ in reply.iter_raw():
                ready.set()
                if closing.is_set():
                    return

    threads = [threading.Thread(target=watch, args=(ready,)) for ready in opened]
    for thread in threads:
        thread.start()
    try:
        assert all(ready.wait(30) for ready in opened), "a console got no event"
        yield
    finally:
        closing.set()
        for thread in threads:
            thread.join()


def _table(variants: Sequence[Variant]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading else "left")
    for variant in variants:
        cells = [
            text
            for n in CONNECTIONS
            for text in (f"{variant.p99(n):.2f}", f"{variant.rate(n):,.0f}")
        ]
        spent = f"{statistics.median(variant.spent):.0f}"
        table.add_row(variant.title, *cells, spent, _ratios(variant, variants))
    return table


def _base(variant: Variant, variants: Sequence[Variant]) -> Variant | None:
    """What a variant is compared with."""
    by_title = {one.title: one for one in variants}
    base = by_title.get(BASES.get(variant.title, PLAIN))
    return None if variant.title == BARE else base


def _ratios(variant: Variant, variants: Sequence[Variant]) -> str:
    base = _base(variant, variants)
    if base is None:
        return ""
    return ", ".join(f"{variant.rate(n) / base.rate(n):.3f}" for n in CONNECTIONS)


def _goals(variants: Sequence[Variant]) -> list[tuple[str, bool]]:
    found = [
        (f"{variant.title}: {variant.failed} requests failed (goal: 0)", not variant.failed)
        for variant in variants
    ]
    for variant in variants:
        base = _base(variant, variants)
        if base is None or variant.title not in (TRACED, OPEN):
            continue
        left = min(variant.rate(n) / base.rate(n) for n in CONNECTIONS)
        found.append((f"{variant.title}: {left:.1%} of the throughput (goal: 97 %)", left >= LEAST))
    return found


if __name__ == "__main__":
    began = time.monotonic()
    code = main()
    print(f"after {time.monotonic() - began:.0f} s")
    sys.exit(code)
