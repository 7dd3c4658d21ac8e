"""Routers that learn, on a real engine: three replicas with one state, whatever dies."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from anabranch.router.signing import Signatures
from anabranch.router.traffic.decisions import Decision, routing
from tests.e2e.conftest import Given, error, node, spec
from tests.engines import BODY, Engine, actor_processes
from tests.waiting import until

pytestmark = pytest.mark.e2e

NAME = "arms"
REPLICAS = 3
CLIENTS = 8
ARMS = {"good": 0.9, "fair": 0.6, "poor": 0.3}
SWAPPED = {"good": 0.3, "fair": 0.6, "poor": 0.9}
CODE = """
import os
import numpy as np


class Who:
    def transform(self, x):
        return np.array([[os.getpid()]], np.float64)
"""


def graph(**args: Any) -> dict[str, Any]:
    """A router of each kind over the same routes; a request takes the one whose output it wants."""
    found = spec(NAME, **{arm: node("Who") for arm in ARMS})
    for strategy in ("thompson", "ucb1", "linucb"):
        found["spec"]["nodes"][strategy] = {
            "type": "router", "strategy": strategy, "routes": list(ARMS), "args": args
        }  # fmt: skip
    found["spec"]["nodes"]["linucb"]["inputs"] = {"x": "x"}
    found["spec"]["outputs"] = {name: name for name in ("thompson", "ucb1", "linucb")}
    found["spec"]["scaling"] = {"replicas": REPLICAS}
    return found


@pytest.fixture(scope="module")
def arms(given_once: Given, engine: Engine) -> str:
    given_once.deployed(graph(), CODE)
    until(lambda: len(routers(engine)) == REPLICAS)
    return NAME


def routers(engine: Engine) -> list[int]:
    return [one.pid for one in actor_processes(engine, f"ServeReplica:{NAME}:router")]


@dataclass
class Game:
    """Clients that ask, and pay for every answer as the world has it."""

    url: str
    strategy: str
    means: Mapping[str, float]
    seed: int | str = 1
    routes: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    """Rewards that were taken, each for good, and once however often it was told."""

    def play(self, requests: int) -> Counter[str]:
        """Take so many turns; the routes that the answers came by."""
        asyncio.run(self._all(requests))
        return self.routes

    async def _all(self, requests: int) -> None:
        rng = random.Random(self.seed)
        turns = iter(range(requests))
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            await asyncio.gather(*(self._one(client, turns, rng) for _ in range(CLIENTS)))

    async def _one(
        self, client: httpx.AsyncClient, turns: Iterator[int], rng: random.Random
    ) -> None:
        for turn in turns:
            body = BODY | {"id": f"{self.strategy}-{self.seed}-{turn}"}
            body |= {"outputs": [{"name": self.strategy}]}
            reply = await self._sent(client, "infer", body)
            known = reply["parameters"]["routing"]
            route = json.loads(known)["path"][self.strategy]
            told = {"id": body["id"], "routing": known}
            self.routes[route] += 1
            reward = float(rng.random() < self.means[route])
            by_id, by_routing = ({key: text, "reward": reward} for key, text in told.items())
            if turn % 2 or await self._sent(client, "feedback", by_id) is None:
                # Who knew of the request may have died: what its reply carried does as well.
                assert await self._sent(client, "feedback", by_routing)
            self.acknowledged += 1

    async def _sent(self, client: httpx.AsyncClient, path: str, body: Any) -> Any:
        """Send until it is answered, for routers may die; None for an id that nobody knows."""
        while True:
            try:
                reply = await client.post(f"{self.url}/{path}", json=body)
            except httpx.TransportError:
                continue
            if reply.status_code == 200:
                return reply.json()
            if reply.status_code == 404 and path == "feedback":
                return None
            assert reply.status_code in (500, 502, 503, 504), reply.text
            await asyncio.sleep(0.05)


def learned(engine: Engine, strategy: str) -> dict[str, Any]:
    with engine.control() as control:
        found = control.bandits(NAME)["bandits"]
    return next(one for one in found if one["router"] == strategy)


def again_if_by_chance(play: Callable[[int], None]) -> None:
    """Play with one seed, and if that fails, which chance may bring about, with another."""
    try:
        play(1)
    except AssertionError:
        play(100)


def prefers_good(url: str, name: str) -> Callable[[int], None]:
    """A play after enough lessons: eight of ten requests take the best arm."""

    def play(seed: int) -> None:
        routes = Game(url, "thompson", ARMS, f"{name}-{seed}").play(100)
        assert routes["good"] >= 80, routes

    return play


@pytest.mark.parametrize(
    ("requests", "share"), [(400, 0.7), pytest.param(2000, 0.85, marks=pytest.mark.nightly)]
)
@pytest.mark.parametrize("strategy", ["thompson", pytest.param("ucb1", marks=pytest.mark.nightly)])
def test_the_best_arm_gets_most_requests(
    engine: Engine, arms: str, strategy: str, requests: int, share: float
) -> None:
    def play(seed: int) -> None:
        with engine.control() as control:
            control.reset_bandits(arms, strategy)
        game = Game(engine.graph_url(arms), strategy, ARMS, f"{seed}-{requests}")
        routes = game.play(requests)
        assert routes.total() == game.acknowledged == requests
        found = learned(engine, strategy)
        assert {one["route"]: one["rewards"] for one in found["routes"]} == dict(routes)
        assert routes["good"] >= share * requests, routes

    again_if_by_chance(play)


def test_all_replicas_hear_what_any_of_them_was_told(engine: Engine, arms: str) -> None:
    """With no request in between, so that only the state can have told them."""
    url, signatures = engine.graph_url(arms), Signatures(arms, engine.signing_keys())
    with engine.control() as control:
        control.reset_bandits(arms, "linucb")
    for turn in range(20):
        for route in ARMS:
            features = {"linucb": (1.0, 2.0)}
            decision = Decision(f"told-{route}-{turn}", 1, {"linucb": route}, features)
            told = routing(decision, signatures)
            body = {"routing": told, "reward": 5.0 * (route == "poor")}
            assert httpx.post(f"{url}/feedback", json=body, timeout=60).json()["counted"]
    seen: dict[int, str] = {}

    def all_know() -> bool:
        body = BODY | {"outputs": [{"name": "linucb"}]}
        reply = httpx.post(f"{url}/infer", json=body, timeout=60).json()
        pid = int(reply["outputs"][0]["data"][0])
        told = json.loads(reply["parameters"]["routing"])
        assert told["features"]["linucb"] == [1.0, 2.0]
        seen[pid] = told["path"]["linucb"]
        return list(seen.values()) == ["poor"] * REPLICAS

    until(all_know)


def test_what_cannot_be_learned_is_refused(engine: Engine, arms: str) -> None:
    url, signatures = f"{engine.graph_url(arms)}/feedback", Signatures(arms, engine.signing_keys())

    def told(reward: float, router: str, **more: Any) -> str:
        decision = Decision("wrong", 1, {router: "good"}, **more)
        body = {"routing": routing(decision, signatures), "reward": reward}
        return error(httpx.post(url, json=body, timeout=60), 400)

    assert "its rewards must be from 0 to 1, not 1.5" in told(1.5, "thompson")
    assert "it learns from 2 features of each request, not 0" in told(1.0, "linucb")
    many = {"linucb": (1.0, 2.0, 3.0)}
    assert "it learns from 2 features of each request, not 3" in told(1.0, "linucb", features=many)


@pytest.mark.parametrize(
    ("victims", "seed"),
    [("routers", 2), ("the controller", 3)],
)
@pytest.mark.nightly
def test_no_reward_is_lost_when_they_die(
    engine: Engine, arms: str, victims: str, seed: int
) -> None:
    def pids() -> list[int]:
        if victims == "routers":
            return routers(engine)
        return [one.pid for one in actor_processes(engine, "Controller")]

    until(lambda: len(routers(engine)) == REPLICAS)
    with engine.control() as control:
        control.reset_bandits(arms, "thompson")
    game = Game(engine.graph_url(arms), "thompson", ARMS, seed)
    playing = threading.Thread(target=game.play, args=[400])
    playing.start()
    until(lambda: game.acknowledged > 100)
    old = pids()
    assert len(old) == (REPLICAS if victims == "routers" else 1)
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    playing.join()
    assert set(pids()).isdisjoint(old)
    assert learned(engine, "thompson")["rewards"] == game.acknowledged == 400
    again_if_by_chance(prefers_good(game.url, f"after-{seed}"))


@pytest.mark.nightly
def test_a_new_revision_goes_on_and_notices_a_swap(
    engine: Engine, arms: str, given_once: Given
) -> None:
    url = engine.graph_url(arms)
    Game(url, "thompson", ARMS, seed=4).play(300)
    before = learned(engine, "thompson")["rewards"]
    given_once.deployed(graph(decay=100.0), CODE)
    given_once.settled(NAME, 2)
    now = learned(engine, "thompson")
    assert (now["revisions"], now["rewards"]) == ([2], before)
    again_if_by_chance(prefers_good(url, "on"))

    def play(seed: int) -> None:
        Game(url, "thompson", SWAPPED, seed=5 + seed).play(500)
        routes = Game(url, "thompson", SWAPPED, seed=6 + seed).play(100)
        assert routes["poor"] >= 70, routes

    again_if_by_chance(play)


def test_what_was_learned_is_shown_and_reset(engine: Engine, arms: str) -> None:
    shown = engine.command("bandit", arms, "--router", "ucb1")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("ucb1: ucb1 in r")
    done = engine.command("bandit", arms, "--router", "ucb1", "--reset", "--yes", "-o", "json")
    assert {one["rewards"] for one in json.loads(done.stdout)["bandits"]} == {0}
    kinds = [one["kind"] for one in engine.api("GET", f"/events?graph={arms}").json()["events"]]
    assert "bandit_reset" in kinds
