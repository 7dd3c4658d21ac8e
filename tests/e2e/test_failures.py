"""What hangs is given up in time, and what dies is not missed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Given, Load, node, spec, value
from tests.engines import BODY, HTTP, Engine, actor_processes
from tests.waiting import until

pytestmark = pytest.mark.e2e

SECONDS = 2
"""The time that a request has: enough for one that does not hang, on busy processors, too."""
CLIENTS, KILLS = 8, 20
ENDLESS, ENDLESS_S = 10**9, 1200.0
"""Bounds of a load that a test does not reach."""
CODE = '''
import asyncio
import os
import time


class Hang:
    def __init__(self, beat):
        self.beat = open(beat, "a", buffering=1)

    def transform(self, x):
        while True:
            self.beat.write(".\\n")


class AsyncHang(Hang):
    async def transform(self, x):
        while True:
            self.beat.write(".\\n")
            await asyncio.sleep(0.005)


class OneIsSick:
    """The first of the replicas hangs, though it looks well."""

    def __init__(self, calls):
        try:
            self.calls = open(calls, "x", buffering=1)
        except FileExistsError:
            self.calls = None

    async def transform(self, x):
        if self.calls is not None:
            self.calls.write(".\\n")
            await asyncio.sleep(60)
        return x


class Echo:
    def transform(self, x):
        return x


class Mortal:
    """Starts once, and again only once the file ``held`` is gone."""

    def __init__(self, started, held):
        try:
            open(started, "x").close()
        except FileExistsError:
            while os.path.exists(held):
                time.sleep(0.05)

    def transform(self, x):
        return x
'''
PLACES = {"here": {}, "away": {"placement": {"isolate": True}}}
WAYS = [*(f"{name}-{place}" for name in ("sync", "async") for place in PLACES), "branch"]
BY_DAY = ("sync-here", "async-away", "branch")


def hanging(beat: Path) -> dict[str, Any]:
    """A graph that hangs where the header ``x-way`` says, for as long as it may take."""
    args = {"args": {"beat": str(beat)}}
    nodes = {
        f"{name}-{place}": node(component, **args, **more)
        for name, component in (("sync", "Hang"), ("async", "AsyncHang"))
        for place, more in PLACES.items()
    }
    graph = spec("hanging", **nodes, fine=node("Echo"))
    graph["spec"]["nodes"]["branch"] = {
        "type": "combiner", "strategy": "mean", "inputs": ["fine", "sync-here"],
    }  # fmt: skip
    graph["spec"]["nodes"]["pick"] = {
        "type": "router",
        "strategy": "rules",
        "rules": [{"when": f"request.headers['x-way'] == '{way}'", "to": way} for way in WAYS],
        "otherwise": "fine",
    }
    graph["spec"] |= {"outputs": {"y": "pick"}, "timeout": "20s"}
    return graph


@pytest.fixture(scope="module")
def beat(given_once: Given) -> Path:
    """A file that grows while anything hangs."""
    path = given_once.folder / "beat"
    given_once.deployed(hanging(path), CODE)
    given_once.beside(hanging(path), CODE + "\n# r2", "--canary", "1")
    return path


@pytest.mark.parametrize(
    ("revision", "way"),
    [
        *((1, way) for way in BY_DAY),
        *(pytest.param(1, way, marks=pytest.mark.nightly) for way in WAYS if way not in BY_DAY),
        (2, "sync-here"),
        *(pytest.param(2, way, marks=pytest.mark.nightly) for way in ("async-away", "branch")),
    ],
)
def test_a_hung_node_is_given_up_and_leaves_nothing_running(
    engine: Engine, beat: Path, way: str, revision: int
) -> None:
    """The first revision is in the router, the second is a canary in processes of its own."""
    url = f"{engine.graph_url('hanging')}/versions/{revision}/infer"
    with httpx.Client(timeout=60) as client:
        assert value(client.post(url, json=BODY)) == [1, 2]
        before = beat.stat().st_size
        body = {**BODY, "parameters": {"timeout": SECONDS * 1_000_000}}
        reply = client.post(url, json=body, headers={"x-way": way})
        assert reply.status_code == 504, reply.text
        assert beat.stat().st_size > before
        until(lambda: is_still(beat))
        assert value(client.post(url, json=BODY)) == [1, 2]


def is_still(beat: Path) -> bool:
    """Whether nothing hangs: whatever does adds to the file all the time."""
    before = beat.stat().st_size
    time.sleep(0.3)
    return beat.stat().st_size == before


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.nightly)])
def test_killing_replicas_of_an_idempotent_segment_fails_no_request(
    engine: Engine, given: Given, load: Callable[..., Any], kills: int
) -> None:
    twice = {"scaling": {"replicas": 2}, "idempotent": True, "retries": 5}
    name = given.deployed(spec(f"mortal{kills}", echo=node("Echo", **twice)), CODE)
    with load(name, seconds=ENDLESS_S, most=ENDLESS) as running:
        kill_replicas(engine, name, running, kills)
    assert running.failures == {}


@pytest.mark.nightly
def test_killing_replicas_of_another_segment_fails_only_what_they_had(
    engine: Engine, given: Given, load: Callable[..., Any]
) -> None:
    name = given.deployed(spec("killed-once", echo=node("Echo", scaling={"replicas": 2})), CODE)
    with load(name, clients=CLIENTS, seconds=ENDLESS_S, most=ENDLESS) as running:
        kill_replicas(engine, name, running, KILLS)
    assert sum(running.failures.values()) <= KILLS * CLIENTS
    assert running.failures.keys() <= {"503"}
    assert running.failed_again == 0


def kill_replicas(engine: Engine, name: str, running: Load, kills: int) -> None:
    """Kill one of two replicas of a segment under load, and wait for its successor, over and over.

    At least 50 requests are answered meanwhile, and the load does not end before the last.
    """
    running.until_asked(500)
    for _ in range(kills):
        gone, _ = until(lambda: both if len(both := replicas(engine, name)) == 2 else None)
        os.kill(gone, signal.SIGKILL)
        running.until_asked(50)
        running.until(lambda gone=gone: len({*replicas(engine, name)} - {gone}) == 2)
    running.until_asked(200)


def replicas(engine: Engine, name: str) -> list[int]:
    """The processes that answer: calls fail at once while there is none."""
    shown = engine.api("GET", f"/graphs/{name}/replicas").json()["replicas"]
    running = {one["pid"] for one in shown if one["state"] == "RUNNING"}
    there = [one.pid for one in actor_processes(engine, f"ServeReplica:{name}.r1:echo")]
    return [pid for pid in there if pid in running]


def test_a_replica_whose_calls_time_out_is_left_out(engine: Engine, given: Given) -> None:
    """Its calls are made again elsewhere; its circuit breaker soon spares them the wait."""
    limits = {"scaling": {"replicas": 2}, "idempotent": True, "retries": 5, "timeout": "1s"}
    calls = given.folder / "sick"
    args = {"args": {"calls": str(calls)}}
    name = given.deployed(spec("sickly", one=node("OneIsSick", **args, **limits)), CODE)
    with httpx.Client(timeout=60) as client:
        for _ in range(60):
            assert value(client.post(f"{engine.graph_url(name)}/infer", json=BODY)) == [1, 2]
    # Five open the breaker at the latest, and probes follow after 1, 2 and 4 s. Serve, too, sends
    # less for some seconds to a replica whose calls do not end.
    assert 0 < len(calls.read_text().splitlines()) < 15


def parted(folder: Path) -> dict[str, Any]:
    """A graph of which one output needs a segment that starts only once, and one may do without."""
    args = {"args": {"started": str(folder / "started"), "held": str(folder / "held")}}
    graph = spec(
        "parted",
        near=node("Echo"),
        far=node("Mortal", **args, **PLACES["away"]),
        spare=node("Mortal", **args, **PLACES["away"], on_error={"use": "x"}),
    )
    graph["spec"]["nodes"]["spare"]["args"] = {
        "started": str(folder / "spare"), "held": str(folder / "held"),
    }  # fmt: skip
    graph["spec"]["outputs"] = {"near": "near", "far": "far", "spare": "spare"}
    return graph


def test_calls_to_a_segment_that_is_down_fail_at_once_and_take_nobodys_places(
    engine: Engine, given: Given
) -> None:
    """The graph has a minute for a request; none waits for what may never come."""
    held = given.folder / "held"
    held.touch()
    name = given.deployed(parted(given.folder), CODE)
    url = engine.graph_url(name)
    with httpx.Client(timeout=20, limits=httpx.Limits(max_connections=None)) as client:

        def ask(*outputs: str) -> httpx.Response:
            body = BODY | {"outputs": [{"name": one} for one in outputs]}
            return client.post(f"{url}/infer", json=body)

        assert ask("near", "far", "spare").status_code == 200
        assert client.get(f"{url}/ready").json()["ready"]
        for segment in ("far", "spare"):
            (replica,) = actor_processes(engine, f"ServeReplica:{name}.r1:{segment}")
            os.kill(replica.pid, signal.SIGKILL)
        until(lambda: ask("far").status_code == 503)
        # More than a router has places.
        for _ in range(300):
            reply = ask("far")
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
            assert "segment 'far' cannot answer now" in reply.json()["error"]
        for output in ("near", "spare"):
            assert value(ask(output), output) == [1, 2]
        ready = client.get(f"{url}/ready")
        assert ready.status_code == 503 and "output 'far' cannot be computed" in ready.text
        # Serve looks for each at a time of its own.
        until(lambda: down(engine, name) == {"far", "spare"})
        assert "down since" in engine.command("status", name).stdout
        shown = engine.graph(name)
        assert shown["state"] == "unhealthy" and "output 'far'" in shown["obstacle"]
        until(lambda: is_down(engine, name, "far") == 1)
        assert client.get(f"{engine.url}/v2/health/ready").status_code == 503
        held.unlink()
        until(lambda: ask("far").status_code == 200)
        until(lambda: client.get(f"{url}/ready").status_code == 200)
        until(lambda: engine.graph(name)["state"] == "live")
    # A segment is up before the log says so.
    until(lambda: {("segment_down", "far"), ("segment_up", "far")} <= outages(engine, name))


def down(engine: Engine, name: str) -> set[str]:
    """The segments of a graph that are said to be down."""
    return {one["name"] for one in engine.graph(name)["segments"] if one["down_since"] is not None}


def outages(engine: Engine, name: str) -> set[tuple[str, str]]:
    """What the log of events says of a graph's segments: kinds, and names of segments."""
    events = engine.api("GET", f"/events?graph={name}&kind=segment_*").json()["events"]
    return {(one["kind"], one["data"]["segment"]) for one in events}


def is_down(engine: Engine, graph: str, segment: str) -> float | None:
    """The metric of a segment of the first revision; None where it is not there."""
    labels = f'{{graph="{graph}",revision="1",segment="{segment}"}}'
    lines = HTTP.get(f"{engine.url}/metrics").text.splitlines()
    line = f"anabranch_segment_down{labels} "
    return next((float(one.split()[-1]) for one in lines if one.startswith(line)), None)
