"""Sinks that are not well: no prediction notices, memory is bounded, every item accounted for.

``ANABRANCH_SINKS=60`` keeps each so for a minute; ``python -m benchmarks.sinks`` measures.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import pytest

from benchmarks.counts import outlet
from benchmarks.moody import Mood, Moody
from tests.e2e.conftest import Given, node, spec
from tests.engines import HTTP, Engine, actor_processes
from tests.telemetry.collector import Collector
from tests.waiting import until

pytestmark = pytest.mark.e2e

NAME = "sinks"
SECONDS = float(os.environ.get("ANABRANCH_SINKS", "2"))
OUTLETS = ("traces", "requests", "monitors")
MOST_GROWTH = 20 * 2**20
CODE = """
class Half:
    def transform(self, x):
        return x / 2
"""


@pytest.fixture(scope="module")
def telling(given_once: Given, sink: Moody) -> str:
    """A graph that tells all that it can of every request."""
    graph = spec(NAME, half=node("Half"))
    graph["spec"] |= {
        "telemetry": {"trace": "100%", "requests": {"to": f"{sink.url}/log"}},
        "monitors": {"shift": {"method": "ks", "reference": {"first": 100}, "window": 50}},
    }
    return given_once.deployed(graph, CODE)


@contextmanager
def spoilt(engine: Engine, collector: Collector, sink: Moody, mood: Mood) -> Iterator[None]:
    """Have all sinks in a mood; the monitors' is their process."""
    closing = threading.Event()
    monitors = threading.Thread(target=_spoil, args=(engine, mood, closing))
    collector.hangs, collector.refuses = mood == "hung", mood == "refusing"
    collector.slow = 1.0 if mood == "slow" else 0.0
    sink.mood = mood
    monitors.start()
    try:
        yield
    finally:
        closing.set()
        monitors.join()
        collector.hangs = collector.refuses = False
        collector.slow = 0.0
        sink.mood = "well"


def _spoil(engine: Engine, mood: Mood, closing: threading.Event) -> None:
    """Stop the monitors' process, or kill it whenever it is there."""

    def each(do: Callable[[psutil.Process], None]) -> None:
        for process in actor_processes(engine, f"ServeReplica:{NAME}.r1:monitors"):
            with suppress(psutil.Error):
                do(process)

    try:
        while not closing.is_set():
            each(psutil.Process.kill if mood == "refusing" else psutil.Process.suspend)
            closing.wait(0.5)
            if mood == "slow":
                each(psutil.Process.resume)
                closing.wait(0.05)
    finally:
        each(psutil.Process.resume)


def accounted_for(engine: Engine, name: str, requests: int) -> None:
    """Wait until an outlet has told of all requests, and nothing waits any more."""

    def is_settled() -> bool:
        now = outlet(engine.url, NAME, name)
        ended = now["sent"] + now["dropped"]
        return not now["waiting"] and now["selected"] == ended >= requests

    until(is_settled)


@pytest.mark.nightly
@pytest.mark.parametrize("mood", ["hung", "slow", "refusing"])
def test_nothing_is_lost_on_sinks_that_are_not_well(
    engine: Engine,
    telling: str,
    load: Callable[..., Any],
    collector: Collector,
    sink: Moody,
    mood: Mood,
) -> None:
    with load(telling, clients=2) as asking:
        asking.until_asked(400)
        (router,) = actor_processes(engine, f"ServeReplica:{NAME}:router")
        memory = router.memory_info().rss
        with spoilt(engine, collector, sink, mood):
            threading.Event().wait(SECONDS)
            asking.until_asked(100)
            growth = router.memory_info().rss - memory
    assert not asking.failures
    assert growth <= MOST_GROWTH, f"{growth / 2**20:.1f} MiB"
    for name in OUTLETS:
        accounted_for(engine, name, asking.total)


def test_what_a_log_says_was_sent_has_arrived(
    engine: Engine, given: Given, sink: Moody, load: Callable[..., Any]
) -> None:
    name = "sinks-counted"
    graph = spec(name, half=node("Half"))
    graph["spec"]["telemetry"] = {"requests": {"to": f"{sink.url}/counted"}}
    given.deployed(graph, CODE)
    with load(name, clients=2) as asking:
        asking.until_asked(300)
    until(lambda: outlet(engine.url, name, "requests")["sent"] == asking.total)
    events = [event for at, body in sink.bodies if at == "/counted" for event in json.loads(body)]
    assert len(events) == len({event["id"] for event in events}) == asking.total
    assert not asking.failures
    assert HTTP.get(f"{engine.url}/metrics").status_code == 200
