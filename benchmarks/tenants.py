"""Two callers, of which one asks for ten times its share: ``python -m benchmarks.tenants``.

A router alone, in a process of its own, with a node that answers 200 requests a second, four at a
time. Both callers ask for two fifths of that, at random; then one of them for ten times as much. By
turns,

- *turns*: there are no limits, and under overload callers take turns;
- *limit*: that caller may ask for what it asks for at first, and is refused with 429 beyond.

Figures are of the other caller: the latency of its answers, and which part of them it was refused.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from anabranch import Graph
from anabranch.access.identity import Identity
from anabranch.access.keys import digest_of
from anabranch.access.limits import CallerLimits, LimitRule
from anabranch.access.roles import Grant
from anabranch.access.table import AccessTable, KnownKey
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
"""The callers, and what each shows."""
TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0] * 4}
BODY = json.dumps({"inputs": [TENSOR]}).encode()


class Slow:
    """Answers some requests at a time, each as if it computed elsewhere."""

    max_concurrency = PLACES

    def predict(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        time.sleep(SERVICE_S)
        return x


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tenants")
    parser.add_argument("--seconds", type=int, default=30, help="of each load (default: 30)")
    options = parse(parser, seconds=3)
    goals: list[Goal] = []
    for case, limits in (("turns", None), ("limit", CallerLimits(rate=SHARE, burst=PLACES))):
        with _router(limits) as url:
            fair, _ = asyncio.run(_other(url, 1, options.seconds))
            p99, refused = asyncio.run(_other(url, TIMES, options.seconds))
        goals += [
            (
                f"{case}: p99 of the other {p99 * 1e3:.0f} ms, {p99 / fair:.2f} x that of "
                f"{fair * 1e3:.0f} ms when both ask for their share (goal: {MOST})",
                p99 <= MOST * fair,
            ),
            (
                f"{case}: refused of the other's {refused:.1%} (goal: {MOST_REFUSED:.0%})",
                refused <= MOST_REFUSED,
            ),
        ]
    return outcome(goals)


async def _other(url: str, times: float, seconds: float) -> tuple[float, float]:
    """Have one caller ask for so many times its share; p99 of the other, and the part refused."""
    greedy, other = (
        OpenLoop(url, BODY, rate, {"Authorization": f"Bearer {KEYS[name]}"}, seed=seed)
        for seed, (name, rate) in enumerate({"greedy": times * SHARE, "other": SHARE}.items())
    )
    await asyncio.gather(*(one.run(seconds + WARM_UP_S) for one in (greedy, other)))
    start = other.answers[0].at + WARM_UP_S
    answers = [answer for answer in other.answers if answer.at >= start]
    took = sorted(answer.seconds for answer in answers if answer.status == 200)
    return percentile(took, 0.99), 1 - len(took) / len(answers)


@contextmanager
def _router(limits: CallerLimits | None) -> Iterator[str]:
    """Run a router where the greedy caller has these limits; gives the URL of requests."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, limits), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v2/models/shared/infer"
    finally:
        process.terminate()
        process.join()


def _identity(name: str) -> Identity:
    return Identity("key", name, (Grant("caller"),))


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
