"""Two callers, of which one asks for ten times its share: ``python -m benchmarks.tenants``.

A router alone, in a process of its own, with a node that answers 200 requests a second, four at a
time. Both callers ask for two fifths of that, at random; then one of them for ten times as much. By
turns,

- *turns*: there are no limits, and under overload callers take turns;
- *limit*: that caller may ask for what it asks for at first, and is refused with 429 beyond;
- *engine*: the same limit on a whole engine, where each caller has a graph in a namespace of its
  own, on the same machine behind the same edge.

Figures are of the other caller: the latency of its answers, and which part of them it was refused.
Both loads alternate in several rounds, of which the medians count: a busy minute hits both alike.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import multiprocessing
import socket
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import uvloop

from anabranch import Graph
from anabranch.access.identity import Identity
from anabranch.access.keys import digest_of
from anabranch.access.limits import CallerLimits, LimitRule
from anabranch.access.roles import Grant
from anabranch.access.table import AccessTable, KnownKey
from anabranch.client.client import ControlClient
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.http.listening import LeanServer
from anabranch.router.limits import RequestLimits
from anabranch.router.signing import SigningKey
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.local_head import LocalHead
from benchmarks.client import percentile
from benchmarks.engine import engine
from benchmarks.open_loop import OpenLoop
from benchmarks.options import parse
from benchmarks.outcome import Goal, outcome

SERVICE_S, PLACES = 0.02, 4
SHARE = 0.4 * PLACES / SERVICE_S
"""Requests a second of each caller."""
TIMES = 10
WARM_UP_S = 5.0
"""Seconds that are left out: a queue has to stand for a while to be one."""
MOST = 1.2
"""Most that the other's p99 may be, in those of when both ask for their share."""
MOST_REFUSED = 0.06
KEYS = {"greedy": "ab_1", "other": "ab_2"}
"""The callers, and what each shows to a router alone."""
POLICY = f"""
apiVersion: anabranch/v1
kind: AccessPolicy
limits:
  - {{caller: greedy, rate: {SHARE:g}, burst: {PLACES}}}
"""
SPEC = {
    "inputs": {"x": {"datatype": "FP32", "shape": [-1, 4]}},
    "nodes": {"y": {"type": "predictor", "component": "components.py:Slow", "inputs": {"x": "x"}}},
    "outputs": {"y": "y"},
}
Callers: TypeAlias = Mapping[str, tuple[str, str]]
"""The URL of each caller's requests, and its key."""
TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0] * 4}
BODY = json.dumps({"inputs": [TENSOR]}).encode()


class Turn(NamedTuple):
    """What became of the other's requests: seconds, and the part that was refused."""

    p99: float
    refused: float


class Slow:
    """Answers some requests at a time, each as if it computed elsewhere."""

    max_concurrency = PLACES

    def predict(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        time.sleep(SERVICE_S)
        return x


CODE = f"""import time

SERVICE_S, PLACES = {SERVICE_S}, {PLACES}


{inspect.getsource(Slow).replace("np.ndarray[Any, Any]", "object")}"""


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tenants")
    parser.add_argument("--seconds", type=int, default=15, help="of each load (default: 15)")
    parser.add_argument("--rounds", type=int, default=3, help="of both loads (default: 3)")
    options = parse(parser, seconds=3, rounds=1)
    goals: list[Goal] = []
    cases = {
        "turns": _router(None),
        "limit": _router(CallerLimits(rate=SHARE, burst=PLACES)),
        "engine": _engine(),
    }
    for case, served in cases.items():
        with served as callers:
            fair, beside = _measured(callers, options.seconds, options.rounds)
        (usual, _), (p99, refused) = _medians(fair), _medians(beside)
        goals += [
            (
                f"{case}: p99 of the other {p99 * 1e3:.0f} ms, {p99 / usual:.2f} x that of "
                f"{usual * 1e3:.0f} ms when both ask for their share (goal: {MOST})",
                p99 <= MOST * usual,
            ),
            (
                f"{case}: refused of the other's {refused:.1%} (goal: {MOST_REFUSED:.0%})",
                refused <= MOST_REFUSED,
            ),
        ]
    return outcome(goals)


def _measured(callers: Callers, seconds: float, rounds: int) -> tuple[list[Turn], list[Turn]]:
    """Return the turns in which both ask for their share, and those in which one asks for more."""
    turns = [
        [asyncio.run(_other(callers, times, seconds)) for times in (1, TIMES)]
        for _ in range(rounds)
    ]
    fair, beside = zip(*turns, strict=True)
    return list(fair), list(beside)


def _medians(turns: Sequence[Turn]) -> Turn:
    p99, refused = (statistics.median(one) for one in zip(*turns, strict=True))
    return Turn(p99, refused)


async def _other(callers: Callers, times: float, seconds: float) -> Turn:
    """Have one caller ask for so many times its share."""
    rates = {"greedy": times * SHARE, "other": SHARE}
    greedy, other = (
        OpenLoop(url, BODY, rates[name], {"Authorization": f"Bearer {key}"}, seed=seed)
        for seed, (name, (url, key)) in enumerate(callers.items())
    )
    await asyncio.gather(*(one.run(seconds + WARM_UP_S) for one in (greedy, other)))
    start = other.answers[0].at + WARM_UP_S
    answers = [answer for answer in other.answers if answer.at >= start]
    took = sorted(answer.seconds for answer in answers if answer.status == 200)
    return Turn(percentile(took, 0.99), 1 - len(took) / len(answers))


@contextmanager
def _engine() -> Iterator[Callers]:
    """Run an engine with a graph in each caller's namespace, where the greedy one has a limit."""
    with engine() as one:
        root = one.folder / "graphs"
        root.mkdir()
        (root / "components.py").write_text(CODE)
        callers = {}
        with ControlClient.of_owner(one.folder / "home") as control:
            for name in KEYS:
                graph = f"{name}/shared"
                url = one.deploy(root, graph, SPEC)
                callers[name] = url, str(control.create_key(name, ["invoker"], [graph])["key"])
            control.set_access(POLICY)
        yield callers


@contextmanager
def _router(limits: CallerLimits | None) -> Iterator[Callers]:
    """Run a router where the greedy caller has these limits."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, limits), daemon=True)
    process.start()
    try:
        url = f"http://127.0.0.1:{ours.recv()}/v2/models/shared/infer"
        yield {name: (url, key) for name, key in KEYS.items()}
    finally:
        process.terminate()
        process.join()


def _identity(name: str) -> Identity:
    return Identity("key", name, (Grant("invoker"),))


def _serve(told: Connection, limits: CallerLimits | None) -> None:
    uvloop.run(_served(told, limits))


async def _served(told: Connection, limits: CallerLimits | None) -> None:
    graph = Graph("shared").input("x", "FP32", [-1, 4])
    plan = graph.predictor("y", component=Slow, inputs={"x": "x"}).output("y", "y").plan
    executor = HeadExecutor(plan, await load_nodes(plan, plan.nodes, Path.cwd()))
    known = {digest_of(key): KnownKey(_identity(name)) for name, key in KEYS.items()}
    arms = Arms("shared", lambda revision: LocalHead(executor), RequestLimits())
    rules = () if limits is None else (LimitRule("greedy", "shared", limits),)
    arms.admit_by(AccessTable(1, known, limits=rules))
    table = RoutingTable(
        "shared", 1, 1, {1: 100.0},
        revisions={1: plan.signature},
        keys=(SigningKey("k1", bytes(32), 0.0),),
    )  # fmt: skip
    arms.apply(table)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    await LeanServer(GraphApp(arms)).listen(listener)
    told.send(listener.getsockname()[1])
    await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
