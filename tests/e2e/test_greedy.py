"""Components that leak, fork, print, exit or crash: each ends its own replica and no other."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Given, node, spec, value
from tests.e2e.left_behind import logs
from tests.engines import BODY, Engine, actor_processes
from tests.waiting import until

pytestmark = pytest.mark.e2e

CODE = """
import ctypes
import os
import sys
import threading
import time


class Bad:
    def __init__(self, does):
        self.does = does
        self.kept = []

    def transform(self, x):
        if x[0, 0] < 0:
            getattr(self, self.does)()
        return x

    def leak(self):
        for _ in range(60):
            self.kept.append(b"x" * (20 << 20))
            time.sleep(0.02)
        time.sleep(30)

    def threads(self):
        for _ in range(6000):
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        time.sleep(30)

    def fork(self):
        for _ in range(400):
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            time.sleep(0.005)
        time.sleep(30)

    def files(self):
        while True:
            try:
                self.kept.append(open(os.devnull))
            except OSError:
                time.sleep(30)

    def flood(self):
        for _ in range(200_000):
            print("y" * 8000)
        os._exit(5)

    def leave(self):
        os._exit(3)

    def crash(self):
        ctypes.string_at(0)


class Good:
    def transform(self, x):
        return x
"""
DOOMED = """
import os
import time


class Doomed:
    def __init__(self, begun, held):
        with open(begun, "a") as file:
            print(time.monotonic(), file=file)
        if os.path.exists(held):
            os._exit(3)

    def transform(self, x):
        return x
"""
MOST_LOGGED = 64 * 2**20
"""Bytes that logs may grow by, whatever is printed: 1.6 GB of one component."""
NAMED = {
    "leak": "of memory, over its 600 MiB",
    "threads": "threads, over",
    "fork": "had started",
    "files": "open files, over the limit of",
}
"""Which of them the supervisor ends, and what the event says."""


def greedy(name: str, does: str) -> dict[str, Any]:
    """A graph with the bad component in a process of its own."""
    bad = node("Bad", args={"does": does}, resources={"memory": "600MiB"}, timeout="20s")
    return spec(name, bad=bad, after=node("Good", "bad"))


@pytest.mark.parametrize(
    "does",
    [
        "leak",
        *(
            pytest.param(does, marks=pytest.mark.nightly)
            for does in ("threads", "fork", "files", "flood", "leave", "crash")
        ),
    ],
)
def test_its_own_replica_suffers_and_is_replaced(
    engine: Engine, given: Given, load: Callable[..., Any], does: str
) -> None:
    name = given.deployed(greedy(f"bad-{does}", does), CODE)
    good = given.deployed(spec("good-beside", same=node("Good")), CODE)
    assert value(engine.infer(name)) == [1, 2]
    poison = {"inputs": [{**BODY["inputs"][0], "data": [-1.0, 0.0]}]}
    before = logged(engine)
    with load(good, clients=2) as clients:
        reply = engine.infer(name, poison)
        assert reply.status_code in (500, 502, 503, 504) and "'bad'" in reply.text, reply.text
        until(lambda: _answers(engine, name), seconds=120)
        clients.until_asked(20)
    assert clients.failures == {}
    assert logged(engine) - before < MOST_LOGGED
    if does in NAMED:
        (told,) = until(lambda: ended(engine, name))  # the controller looks each second
        assert told["data"]["node"] == "bad" and NAMED[does] in told["message"]


def logged(engine: Engine) -> int:
    """The bytes of all logs of the engine's processes."""
    return sum(path.stat().st_size for path in logs(engine) if path.exists())


@pytest.mark.nightly
def test_a_process_that_ends_while_it_loads_is_replaced_after_longer_and_longer_pauses(
    engine: Engine, given: Given
) -> None:
    begun, held = given.folder / "begun", given.folder / "held"
    args = {"begun": str(begun), "held": str(held)}
    doomed = node("Doomed", args=args, placement={"isolate": True})
    name = given.deployed(spec("doomed", doomed=doomed), DOOMED)
    held.touch()
    for process in actor_processes(engine, f"ServeReplica:{name}.r1:doomed"):
        process.kill()
    times = until(lambda: moments if len(moments := read(begun)) > 6 else None, seconds=120)
    gaps = [after - before for before, after in pairwise(times)]
    # The deploy's start, and three that may fail without a pause.
    assert [gap >= pause for gap, pause in zip(gaps[3:], (1, 2, 4), strict=False)] == [True] * 3
    held.unlink()
    until(lambda: _answers(engine, name), seconds=120)


def read(begun: Path) -> list[float]:
    """When processes have begun to load."""
    return list(map(float, begun.read_text().split()))


def ended(engine: Engine, name: str) -> list[dict[str, Any]]:
    """The events of processes of a graph that took too much."""
    events = engine.api("GET", "/events", params={"graph": name, "newest": 100}).json()["events"]
    return [one for one in events if one["kind"] == "process_excessive"]


def _answers(engine: Engine, name: str) -> bool:
    try:
        return engine.infer(name, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
