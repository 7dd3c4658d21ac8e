"""What nodes in processes of their own cost: ``python -m benchmarks.remote_nodes``.

Graphs of one engine have their turns in each round; figures are medians over rounds. A remote node
is one with ``placement.isolate`` that adds 1. Beside it stands the same graph in one segment, so
that the difference in the router's processor time is that of the call. The last two graphs have a
node that takes 5 ms of a processor, once with one replica and once with two.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.engine import Engine, engine, processor_seconds
from benchmarks.load import Load, load, tool
from benchmarks.options import parse
from benchmarks.outcome import Goal, outcome
from benchmarks.relays import relays

MANY = 20
BUSY_MS = 5
CLIENTS = 8
"""Connections on the graph with replicas."""
CROWD = 32
"""Connections where the router does not sleep between requests."""
MOST_FAN_OUT = 3
MOST_PROCESSOR_MS = 0.1
LEAST_SPEED_UP = 1.6
WARM_UP_S = 1
COMPONENTS = f"""
import time


class Add:
    def predict(self, x):
        return x + 1


class Busy:
    def predict(self, x):
        end = time.thread_time() + {BUSY_MS / 1e3}
        while time.thread_time() < end:
            pass
        return x
"""
LOCAL, REMOTE, FAN_OUT = "one local node", "one remote node", f"{MANY} remote nodes, at once"
LOCAL_CROWD, REMOTE_CROWD = f"{LOCAL}, {CROWD} clients", f"{REMOTE}, {CROWD} clients"
BY_HAND, FAN_OUT_BY_HAND = "one process by hand", f"{MANY} processes by hand, at once"
ONE, TWO = f"{BUSY_MS} ms of processor, 1 replica", f"{BUSY_MS} ms of processor, 2 replicas"


@dataclass
class Variant:
    """A graph, and its loads; ``spent`` is the router's processor time a request in ms."""

    title: str
    url: str
    router: psutil.Process
    connections: int = 1
    loads: list[Load] = field(default_factory=list)
    spent: list[float] = field(default_factory=list)

    def turn(self, seconds: int, using: str) -> None:
        """Put load on it once."""
        load(self.url, self.connections, WARM_UP_S, using)
        before = processor_seconds(self.router)
        found = load(self.url, self.connections, seconds, using)
        self.spent.append((processor_seconds(self.router) - before) / found.answered * 1e3)
        self.loads.append(found)

    @property
    def p50(self) -> float:
        """In milliseconds, the median over rounds."""
        return statistics.median(one.p50 for one in self.loads)

    @property
    def rate(self) -> float:
        """Requests a second, the median over rounds."""
        return statistics.median(one.rate for one in self.loads)

    @property
    def processor(self) -> float:
        """The router's processor time a request in milliseconds, the median over rounds."""
        return statistics.median(self.spent)

    @property
    def failed(self) -> int:
        """Requests that failed, in all rounds."""
        return sum(one.failed for one in self.loads)


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    options = _options()
    with ExitStack() as stack:
        one = stack.enter_context(engine())
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ab-")))
        variants = [*_variants(one, root), *_by_hand(stack)]
        for number in range(1, options.rounds + 1):
            for variant in variants:
                print(f"round {number} of {options.rounds}: {variant.title}", flush=True)
                variant.turn(options.seconds, tool())
    Console(width=100).print(_table(variants))
    return outcome(_goals({variant.title: variant for variant in variants}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.remote_nodes")
    parser.add_argument("--seconds", type=int, default=4, help="of each load (default: 4)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    return parse(parser, seconds=1, rounds=1)


def _variants(one: Engine, root: Path) -> list[Variant]:
    (root / "components.py").write_text(COMPONENTS)
    remote = {"placement": {"isolate": True}}
    specs: list[tuple[str, str, int, dict[str, Any]]] = [
        (LOCAL, "local", 1, _spec(1, "Add", {})),
        (REMOTE, "remote", 1, _spec(1, "Add", remote)),
        (FAN_OUT, "fan-out", 1, _spec(MANY, "Add", remote)),
        (ONE, "one", CLIENTS, _spec(1, "Busy", {"scaling": {"replicas": 1}})),
        (TWO, "two", CLIENTS, _spec(1, "Busy", {"scaling": {"replicas": 2}})),
    ]
    found = []
    for title, name, connections, spec in specs:
        url = one.deploy(root, name, spec)
        (router,) = one.replicas(f"{name}:router")
        found.append(Variant(title, url, router, connections))
    for title, same in ((LOCAL_CROWD, found[0]), (REMOTE_CROWD, found[1])):
        found.append(Variant(title, same.url, same.router, CROWD))
    return found


def _by_hand(stack: ExitStack) -> list[Variant]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ab-")))
    front = stack.enter_context(relays(folder))
    return [Variant(title, *front(n)) for title, n in ((BY_HAND, 1), (FAN_OUT_BY_HAND, MANY))]


def _spec(nodes: int, component: str, more: dict[str, Any]) -> dict[str, Any]:
    """A graph of so many equal nodes side by side, whose mean is the output."""
    node = {"type": "predictor", "component": f"components.py:{component}", "inputs": {"x": "x"}}
    names = [f"node{number}" for number in range(nodes)]
    mean = {"type": "combiner", "strategy": "mean", "inputs": names}
    return {
        "inputs": {"x": {"datatype": "FP32", "shape": [-1, 4]}},
        "nodes": {**{name: {**node, **more} for name in names}, "mean": mean},
        "outputs": {"y": "mean"},
    }


def _table(variants: Sequence[Variant]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    headings = ("", "connections", "p50 ms", "requests/s", "router, ms a request", "failed")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    for one in variants:
        figures = (f"{one.p50:.2f}", f"{one.rate:,.0f}", f"{one.processor:.3f}", str(one.failed))
        table.add_row(one.title, str(one.connections), *figures)
    return table


def _goals(found: dict[str, Variant]) -> list[Goal]:
    fan_out = found[FAN_OUT].p50 / found[REMOTE].p50
    least = found[FAN_OUT_BY_HAND].p50 / found[BY_HAND].p50
    call = found[REMOTE].processor - found[LOCAL].processor
    of_many = found[REMOTE_CROWD].processor - found[LOCAL_CROWD].processor
    speed_up = found[TWO].rate / found[ONE].rate
    bounds = f"goal: {MOST_FAN_OUT}; by hand {least:.1f}"
    return [
        (f"{MANY} remote nodes take {fan_out:.1f} x one ({bounds})",
         fan_out <= MOST_FAN_OUT),
        (f"the router's processor for a call: {call:.3f} ms (goal: {MOST_PROCESSOR_MS})",
         call <= MOST_PROCESSOR_MS),
        (f"the same with {CROWD} clients: {of_many:.3f} ms (goal: {MOST_PROCESSOR_MS})",
         of_many <= MOST_PROCESSOR_MS),
        (f"a second replica brings {speed_up:.2f} x the requests (goal: {LEAST_SPEED_UP})",
         speed_up >= LEAST_SPEED_UP),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
