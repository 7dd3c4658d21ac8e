"""What a request costs the router's processor: ``python -m benchmarks.request_path``.

From the complete request to the reply that is written, in this process and without a network: the
five-node graph, fused, behind uvicorn's protocol and behind the lean one. Both run by turns, one
request after the other, each begun by the loop. Figures are medians over rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop
from rich import box
from rich.console import Console
from rich.table import Table
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.http.listening import LeanServer
from anabranch.router.limits import RequestLimits
from anabranch.router.signing import SigningKey
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.local_head import LocalHead
from benchmarks.in_process import WARM_UP, five_nodes
from benchmarks.machine import is_compiled
from benchmarks.options import parse
from benchmarks.outcome import outcome

LEAN, UVICORN, ASLEEP = "lean", "uvicorn", "lean, after a sleep"
SLEEP_S = 50e-6
GOAL, GOAL_US = 0.8, 30
"""Most that the lean protocol may take: of uvicorn's time, and in microseconds."""
_BODY = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1.0,2.0,3.0,4.0]}]}'
REQUEST = (
    b"POST /v2/models/five/infer HTTP/1.1\r\nhost: 127.0.0.1:8000\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


class Wire(asyncio.Transport):
    """A connection whose client sends its next request as soon as it has the last reply."""

    def __init__(self, protocol: asyncio.Protocol, sleep: float = 0.0) -> None:
        super().__init__()
        self._protocol = protocol
        self._sleep = sleep
        self._start = self._spent = 0.0
        self._loop = asyncio.get_running_loop()
        self._left = 0
        self._over: asyncio.Future[None]
        protocol.connection_made(self)

    async def seconds(self, requests: int) -> float:
        """Processor time of a request, the mean of so many; that of sleeping does not count."""
        self._left, self._over = requests, self._loop.create_future()
        self._spent, self._start = 0.0, time.process_time()
        self._loop.call_soon(self._ask)
        await self._over
        return self._spent / requests

    def _ask(self) -> None:
        if self._sleep:
            time.sleep(self._sleep)
            self._start = time.process_time()
        self._protocol.data_received(REQUEST)

    def write(self, data: Any) -> None:
        """Take a reply, or a part of one: its body ends with that of the graph's answer."""
        if not data.endswith(b"]}]}"):
            assert b" 200 OK\r\n" in data, data
            return
        self._left -= 1
        if self._sleep or not self._left:
            self._spent += time.process_time() - self._start
        if self._left:
            self._loop.call_soon(self._ask)
        else:
            self._over.set_result(None)

    def is_closing(self) -> bool:
        """Never."""
        return False


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    options = _options()
    found = uvloop.run(_measure(options.requests, options.rounds))
    Console(width=100).print(_table(found))
    share, taken = found[LEAN] / found[UVICORN], found[LEAN] * 1e6
    return outcome(
        [
            (f"{share:.0%} of uvicorn's time (goal: {GOAL:.0%})", share <= GOAL),
            (f"{taken:.0f} µs a request (goal: {GOAL_US})", taken <= GOAL_US),
        ]
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.request_path")
    parser.add_argument("--requests", type=int, default=5000, help="of each turn (default: 5000)")
    parser.add_argument("--rounds", type=int, default=7, help="(default: 7)")
    return parse(parser, requests=200, rounds=1)


async def _measure(requests: int, rounds: int) -> dict[str, float]:
    """Seconds of a request, by protocol."""
    plan = five_nodes().plan
    with ExitStack() as stack:
        executor = HeadExecutor(plan, await load_nodes(plan, plan.nodes, Path.cwd()))
        stack.callback(executor.close)
        arms = Arms("five", lambda revision: LocalHead(executor), RequestLimits())
        keys = (SigningKey("k1", bytes(32), 0.0),)
        arms.apply(RoutingTable("five", 1, 1, {1: 100.0}, revisions={1: plan.signature}, keys=keys))
        wires = _wires(GraphApp(arms))
        turns: dict[str, list[float]] = {name: [] for name in wires}
        for wire in wires.values():
            await wire.seconds(WARM_UP)
        for _ in range(rounds):
            for name, wire in wires.items():
                turns[name].append(await wire.seconds(requests))
    return {name: statistics.median(found) for name, found in turns.items()}


def _wires(app: GraphApp) -> Mapping[str, Wire]:
    config = Config(
        app, interface="asgi3", lifespan="off", ws="none", log_config=None, access_log=False
    )
    return {
        UVICORN: Wire(HttpToolsProtocol(config, ServerState(), {})),
        LEAN: Wire(LeanServer(app).protocol()),
        ASLEEP: Wire(LeanServer(app).protocol(), SLEEP_S),
    }


def _table(found: Mapping[str, float]) -> Table:
    caption = "compiled by mypyc" if is_compiled() else "plain Python"
    table = Table(box=box.SIMPLE_HEAD, caption=caption)
    table.add_column("five-node graph, from request to reply")
    table.add_column("µs of processor", justify="right")
    for name, seconds in found.items():
        table.add_row(name, f"{seconds * 1e6:.1f}")
    return table


if __name__ == "__main__":
    sys.exit(main())
