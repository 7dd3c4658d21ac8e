"""Rewards find their way back: once each, through any router, late, and whatever dies."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from anabranch.router.signing import Signatures
from anabranch.router.traffic.decisions import Decision, routing
from tests.e2e.conftest import Given, error, node, spec
from tests.engines import BODY, Engine, actor_processes
from tests.waiting import until

pytestmark = pytest.mark.e2e

NAME = "paid"
ROUTERS = 3
CODE = """
class Times:
    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def transform(self, x):
        return x * self.factor
"""


def graph(rollout: dict[str, Any] | None = None) -> dict[str, Any]:
    """Two routes behind a router, in three replicas; the answer to BODY is class 1."""
    found = spec(NAME, one=node("Times"), two=node("Times", args={"factor": 2.0}))
    pick = {"type": "router", "strategy": "weighted", "routes": {"one": 50, "two": 50}}
    found["spec"]["nodes"]["pick"] = pick
    found["spec"] |= {"outputs": {"y": "pick"}, "scaling": {"replicas": ROUTERS}}
    if rollout is not None:
        found["spec"]["rollout"] = rollout
    return found


@pytest.fixture(scope="module")
def paid(given_once: Given, engine: Engine) -> str:
    given_once.deployed(graph(), CODE)
    until(lambda: len(routers(engine)) == ROUTERS)
    return NAME


def routers(engine: Engine) -> list[int]:
    return [one.pid for one in actor_processes(engine, f"ServeReplica:{NAME}:router")]


class Client:
    """Asks and tells, each on a connection of its own, so that any router may get it."""

    def __init__(self, engine: Engine) -> None:
        self.url = engine.graph_url(NAME)
        self.unsure: set[str | None] = set()
        """Ids whose reward was refused for now: it may be stored, though nobody could say so."""
        self.asked: set[str | None] = set()

    def ask(self, id: str) -> dict[str, Any]:
        """The routing of the answer."""
        reply = httpx.post(f"{self.url}/infer", json=BODY | {"id": id}, timeout=60)
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = json.loads(reply.json()["parameters"]["routing"])
        self.asked.add(id)
        return found

    def tell(self, **body: Any) -> httpx.Response:
        """Feedback, again while the controller is away or has not heard from all routers.

        A router that has no processor for a second tells late what it has decided.
        """
        ends, id = time.monotonic() + 30, body.get("id")
        while True:
            reply = httpx.post(f"{self.url}/feedback", json=body, timeout=60)
            is_late = reply.status_code == 404 and id in self.asked and time.monotonic() < ends
            if reply.status_code != 503 and not is_late:
                return reply
            if reply.status_code == 503:
                self.unsure.add(id)

    def told(self, **body: Any) -> bool:
        """Whether it counted."""
        reply = self.tell(**body)
        assert reply.status_code == 200, reply.text
        return bool(reply.json()["counted"])


@pytest.fixture
def client(engine: Engine, paid: str) -> Client:
    return Client(engine)


def arm(engine: Engine, revision: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = next(
        one for one in engine.graph(NAME)["arms"] if one["revision"] == revision
    )["feedback"]
    return found


# Once, and what is wrong


def test_twice_counts_once_and_nonsense_is_refused(client: Client) -> None:
    told = client.ask("first")
    assert told["path"]["pick"] in ("one", "two")
    assert client.tell(id="first", reward=0.5).json() == {
        "id": "first", "counted": True, "reward": 0.5,
    }  # fmt: skip
    for again in ({"id": "first"}, {"routing": json.dumps(told)}):
        assert client.tell(**again, reward=1).json() == {
            "id": "first", "counted": False, "reward": 0.5,
        }  # fmt: skip
    assert "no request with id 'nobody'" in error(client.tell(id="nobody", reward=1), 404)
    assert "give either" in error(client.tell(reward=1), 400)
    assert "Expected `float" in error(client.tell(id="first", reward="good"), 400)
    for number in ("NaN", "Infinity", "1e999"):
        body = f'{{"id": "first", "reward": {number}}}'
        error(httpx.post(f"{client.url}/feedback", content=body, timeout=60), 400)


@pytest.mark.parametrize(
    ("forged", "message"),
    [
        ({"path": {"pick": "three"}}, "the signature of the routing is wrong"),
        ({"id": "another"}, "the signature of the routing is wrong"),
        ({"revision": 999}, "the signature of the routing is wrong"),
        ({"kid": "another"}, "a key that this engine does not have"),
        ({"signature": ""}, "the routing is not signed"),
        ({"features": {"pick": [None]}}, "not the routing of a reply"),
    ],
)
def test_made_up_routing_is_refused(client: Client, forged: dict[str, Any], message: str) -> None:
    made_up = json.dumps(client.ask("forged") | forged)
    assert message in error(client.tell(routing=made_up, reward=1), 400)


def test_routing_of_another_graph_is_refused(client: Client, engine: Engine) -> None:
    decision = Decision("foreign", 1, {"pick": "one"})
    foreign = routing(decision, Signatures("other", engine.signing_keys()))
    assert "of another graph than 'paid'" in error(client.tell(routing=foreign, reward=1), 400)


@pytest.mark.parametrize(
    ("decision", "status", "message"),
    [
        (Decision("lost", 1, {"pick": "three"}), 400, "no route 'three'"),
        (Decision("lost", 1, {"other": "one"}), 400, "no router 'other'"),
        (Decision("lost", 999, {}), 404, "no revision 999"),
    ],
)
def test_what_the_revision_cannot_have_decided_is_refused(
    client: Client, engine: Engine, decision: Decision, status: int, message: str
) -> None:
    told = routing(decision, Signatures(NAME, engine.signing_keys()))
    assert message in error(client.tell(routing=told, reward=1), status)


def test_at_the_same_time_it_counts_once(client: Client) -> None:
    client.ask("together")
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda n: client.told(id="together", reward=n), range(24)))
    assert sum(found) == 1


def right(found: dict[str, Any]) -> int:
    """How many of the judged answers of an arm were right."""
    return round((found["accuracy"] or 0) * found["judged"])


def test_any_router_takes_it_at_once(client: Client, engine: Engine) -> None:
    """With three routers, most are told of what another has decided a moment ago."""

    def once(number: int) -> bool:
        client.ask(f"any-{number}")
        return client.told(id=f"any-{number}", reward=1, truth=[number % 2])

    before = arm(engine)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(once, range(40)))
    until(lambda: arm(engine)["judged"] == before["judged"] + 40)
    found = arm(engine)
    assert right(found) - right(before) == 20
    assert {one["route"] for one in found["routes"]} == {"one", "two"}
    assert sum(one["rewards"] for one in found["routes"]) == found["rewards"]


def test_the_command_line_tells_and_shows_it(client: Client, engine: Engine) -> None:
    client.ask("typed")
    done = engine.command("feedback", NAME, "typed", "--truth", "1")
    assert (done.returncode, done.stdout) == (0, "reward 1 counted\n"), done.stderr
    done = engine.command("feedback", NAME, "typed", "--reward", "-3")
    assert "had its reward already, 1" in done.stdout
    assert engine.command("feedback", NAME, "nobody", "--reward", "1").returncode == 1
    assert "FEEDBACK" in engine.command("status", NAME).stdout


# Whatever dies


def test_the_controller_dies_and_nothing_is_lost_or_counted_twice(
    client: Client, engine: Engine
) -> None:
    routings = {id: client.ask(id) for id in map("killed-{}".format, range(60))}
    counted: dict[str, int] = dict.fromkeys(routings, 0)
    begun = threading.Event()

    def tell(id: str) -> None:
        for _ in range(3):
            counted[id] += client.told(id=id, reward=1)
            begun.set()

    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(tell, id) for id in routings]
        begun.wait(30)
        (controller,) = actor_processes(engine, "Controller")
        os.kill(controller.pid, signal.SIGKILL)
        for call in calls:
            call.result()
    assert set(counted.values()) <= {0, 1}
    assert {id for id, count in counted.items() if count == 0} <= client.unsure
    # Routers have told the new one what they know.
    assert not any(client.told(routing=json.dumps(one), reward=1) for one in routings.values())


@pytest.mark.nightly
def test_all_routers_die_and_what_was_acknowledged_stays(client: Client, engine: Engine) -> None:
    early = {f"early-{number}": client.ask(f"early-{number}") for number in range(10)}
    assert all(client.told(id=id, reward=1) for id in early)
    late = {f"late-{number}": client.ask(f"late-{number}") for number in range(10)}
    known = {f"known-{number}": client.ask(f"known-{number}") for number in range(10)}
    # Whatever one of another router's is found by, the controller has been told.
    until(lambda: all(client.tell(id=id, truth=[1, 1]).status_code == 400 for id in known))
    before = set(routers(engine))
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: bool(set(routers(engine)) - before) and is_ready(client))
    assert not any(client.told(id=id, reward=1) for id in early)
    assert all(client.told(routing=json.dumps(one), reward=1) for one in late.values())
    assert all(client.told(id=id, reward=1) for id in known)
    until(lambda: len(set(routers(engine)) - before) == ROUTERS)


@pytest.mark.nightly
def test_routing_is_good_for_rewards_after_a_restart(client: Client, engine: Engine) -> None:
    asked = [client.ask(f"before-{number}") for number in range(9)]
    state = engine.state
    assert state is not None
    engine.down()
    secrets = [key.secret for key in engine.signing_keys()]
    kept = [path for path in engine.home.rglob("*") if path.is_file()]
    shown = [path for path in (*kept, *Path(state.runtime).rglob("*")) if path.is_file()]
    for content in (path.read_bytes() for path in shown if "store.db" not in path.name):
        assert not any(one in content or one.hex().encode() in content for one in secrets)
    engine.up()
    until(lambda: is_ready(client))
    assert all(client.told(routing=json.dumps(one), reward=1) for one in asked)
    assert not any(client.told(routing=json.dumps(one), reward=1) for one in asked)


def is_ready(client: Client) -> bool:
    try:
        return httpx.get(f"{client.url}/ready", timeout=60).status_code == 200
    except httpx.HTTPError:
        return False


# Rollouts


@contextmanager
def rewarding(client: Client, worth: Callable[[str], float]) -> Iterator[None]:
    """Somebody asks, and rewards each answer by the revision that gave it."""
    stop = threading.Event()
    count = iter(range(10_000))

    def go() -> None:
        while not stop.is_set():
            id = f"rolled-{next(count)}-{threading.get_ident()}"
            revision = str(client.ask(id)["revision"])
            client.told(id=id, reward=worth(revision))

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(go) for _ in range(4)]
        try:
            yield
        finally:
            stop.set()
        for one in running:
            one.result()


def phase(engine: Engine) -> dict[str, Any]:
    reply = engine.api("GET", f"/graphs/{NAME}/rollout")
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


@pytest.mark.nightly
@pytest.mark.parametrize(("good", "ends"), [(False, "aborted"), (True, "promoted")])
def test_a_rollout_goes_by_rewards(
    client: Client, engine: Engine, given_once: Given, good: bool, ends: str
) -> None:
    stable = str(engine.graph(NAME)["live"])
    metric = {"metric": "reward", "min": "0.9x"}
    analysis = {"interval": "1s", "min_samples": 10, "metrics": [metric]}
    rollout = {"steps": [50], "hold": "2s", "analysis": analysis}
    with rewarding(client, lambda revision: 1.0 if good or revision == stable else 0.2):
        given_once.beside(graph(rollout), CODE + f"# {good}\n")
        until(lambda: phase(engine)["phase"] == ends)
    found = phase(engine)
    assert "reward" in json.dumps(found["measurements"])
    if ends == "aborted":
        assert "reward 0.2 < min 0.9 = 0.9x of stable 1" in found["reason"]
