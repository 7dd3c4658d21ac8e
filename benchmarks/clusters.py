"""What several machines cost and bring: ``python -m benchmarks.clusters``.

The machines are namespaces of this one, as in the tests of clusters: each has a network of its
own, and all share the processors. So a hop between them costs all but the wire, and two edges have
no more processors than one. Clients ask from a machine that has no part in the engine.

- *hops*: a graph in one process; the same with its node in a second process on the same machine,
  and on another machine; one connection.
- *edges*: a graph with a router on each of two machines, asked by as many connections at the edge
  of one machine, or half of them at each edge.
- *joining*: from the start of ``anabranch join`` to its end, and to the first answer of the edge
  of the machine, while nobody asks anything else.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.load import Load, load, tool
from benchmarks.options import parse
from benchmarks.outcome import outcome
from benchmarks.request import BODY, INPUT
from benchmarks.running import NotMeasured
from tests.clusters import Cluster
from tests.engines import done
from tests.machines import Machine, Network
from tests.waiting import until

WARM_UP_S = 1
CONNECTIONS = 32
"""Clients of the edges, in all."""
ROOM = ("--resources", "CPU=8")
COMPONENTS = """
class Add:
    def predict(self, x):
        return x + 1
"""


@dataclass
class Variant:
    """A graph asked at some edges, and its loads, one for each round."""

    title: str
    urls: Sequence[str]
    connections: int
    """At each edge."""
    loads: list[Load] = field(default_factory=list)

    def turn(self, client: Machine, seconds: int) -> None:
        """Put load on all edges at once."""

        def one(url: str) -> Load:
            with client.inside():
                load(url, self.connections, WARM_UP_S, tool())
                return load(url, self.connections, seconds, tool())

        with ThreadPoolExecutor(len(self.urls)) as pool:
            self.loads.append(_together(list(pool.map(one, self.urls))))

    def row(self) -> tuple[str, ...]:
        """Medians over rounds."""
        p50, p99, rate = (
            statistics.median(getattr(one, name) for one in self.loads)
            for name in ("p50", "p99", "rate")
        )
        failed = sum(one.failed for one in self.loads)
        where = f"{len(self.urls)} x {self.connections}"
        return self.title, where, f"{p50:.2f}", f"{p99:.2f}", f"{rate:,.0f}", str(failed)


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    options = _options()
    try:
        with Network() as network:
            _measure(network, options)
    except (NotMeasured, pytest.skip.Exception) as problem:
        return outcome([], [str(problem)])
    return outcome([])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clusters")
    parser.add_argument("--seconds", type=int, default=4, help="of each load (default: 4)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    parser.add_argument("--times", type=int, default=3, help="that a machine joins (default: 3)")
    return parse(parser, seconds=1, rounds=1, times=1)


def _measure(network: Network, options: argparse.Namespace) -> None:
    head, other, late, client = (
        network.machine(one) for one in ("head", "other", "late", "client")
    )
    cluster = Cluster([head, other])
    cluster.up(*ROOM)
    done(cluster.join(other, *ROOM))
    variants = _variants(cluster)
    until(lambda: cluster.is_ready(other))
    for number in range(1, options.rounds + 1):
        for variant in variants:
            print(f"round {number} of {options.rounds}: {variant.title}", flush=True)
            variant.turn(client, options.seconds)
    print("joining", flush=True)
    joins = [_join(cluster, late) for _ in range(options.times)]
    _show(variants, joins)


def _variants(cluster: Cluster) -> list[Variant]:
    head, other = cluster.machines
    here, there = ({"node_affinity": one.name} for one in cluster.machines)
    near, far = ({**where, "isolate": True} for where in (here, there))
    specs: dict[str, dict[str, Any]] = {
        "one": _spec({}, placement=here),
        "same": _spec({"placement": near}, placement=here),
        "between": _spec({"placement": far}, placement=here),
        "wide": _spec({}, scaling={"replicas": 2}),
    }
    for name, spec in specs.items():
        kind = {"apiVersion": "anabranch/v1", "kind": "InferenceGraph", "metadata": {"name": name}}
        cluster.deploy(name, {**kind, "spec": spec}, components=COMPONENTS)
    routers = cluster.homes("wide")["router"]
    if sorted(routers) != sorted(one.name for one in cluster.machines):
        raise NotMeasured(f"the routers are not on two machines: {routers}")

    def at(name: str, *machines: Machine) -> list[str]:
        return [cluster.graph_url(name, one) for one in machines]

    return [
        Variant("one process", at("one", head), 1),
        Variant("a hop on the same machine", at("same", head), 1),
        Variant("a hop to another machine", at("between", head), 1),
        Variant("one edge", at("wide", head), CONNECTIONS),
        Variant("two edges", at("wide", head, other), CONNECTIONS // 2),
    ]


def _spec(more: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A graph of one node, with more in the node and in the spec."""
    node = {"type": "predictor", "component": "components.py:Add", "inputs": {"x": "x"}}
    return {
        "inputs": {"x": {"datatype": "FP32", "shape": [-1, len(INPUT[0])]}},
        "nodes": {"add": {**node, **more}},
        "outputs": {"y": "add"},
        **fields,
    }


def _together(loads: Sequence[Load]) -> Load:
    """Loads that were put on at once as one, with the latencies of the slower edge."""

    def of(name: str, total: Callable[[Sequence[Any]], Any]) -> Any:
        return total([getattr(one, name) for one in loads])

    sums = {name: of(name, sum) for name in ("rate", "answered", "failed")}
    return Load(p50=of("p50", max), p99=of("p99", max), **sums)


def _join(cluster: Cluster, machine: Machine) -> tuple[float, float]:
    """Seconds until ``anabranch join`` ended, and until the machine's edge answered a request."""
    began, body = time.monotonic(), json.loads(BODY)
    done(cluster.join(machine, *ROOM))
    joined_s = time.monotonic() - began
    until(lambda: cluster.answers("one", machine, body), 120)
    answered_s = time.monotonic() - began
    cluster.run("leave", machine=machine)
    return joined_s, answered_s


def _show(variants: Sequence[Variant], joins: Sequence[tuple[float, float]]) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    headings = ("", "edges x connections", "p50 ms", "p99 ms", "requests/s", "failed")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    for one in variants:
        table.add_row(*one.row())
    Console(width=100).print(table)
    joined, answered = (statistics.median(times) for times in zip(*joins, strict=True))
    print(f"joining: `anabranch join` {joined:.1f} s, first answer {answered:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
