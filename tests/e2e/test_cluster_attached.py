"""An engine on a Ray that the test has started itself, beside a Serve application of somebody else.

That application answers before, during and after the engine, and of the engine nothing is left.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from anabranch import Graph
from tests.clusters import CHAIN_BODY, VALUES, write_chain
from tests.e2e.ordered_machines import FOLDER, autoscaling
from tests.engines import done
from tests.machines import HOME, Machine, Network
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

OTHERS = """
import sys

import ray
from ray import serve


@serve.deployment(ray_actor_options={"num_cpus": 0})
class Neighbour:
    def __call__(self, request):
        return "neighbour"


ray.init("auto", namespace="others", log_to_driver=False)
serve.start(http_options={"host": "0.0.0.0", "port": int(sys.argv[1])})
serve.run(Neighbour.bind(), name="digits", route_prefix="/digits")
"""
"""Somebody else's application, which is called as a graph is."""
LOOK = """
import json

import ray
from ray import serve
from ray._private import state
from ray.util import list_named_actors

ray.init("auto", namespace="looking", log_to_driver=False)
named = [one["name"] for one in list_named_actors(all_namespaces=True)]
found = {
    "applications": sorted(serve.status().applications),
    "ours": sorted(one for one in named if "anabranch" in one),
    "actors": sorted(one["Name"] for one in state.actors(actor_state_name="ALIVE").values()),
}
print(json.dumps(found))
"""
NEIGHBOUR_PORT = 8111


class Others:
    """Somebody else's Ray, with an application of theirs on it, whose head is a machine."""

    def __init__(self, head: Machine) -> None:
        self.head = head

    def start(self, *more: str) -> None:
        address = f"--node-ip-address={self.head.address}"
        options = "--num-cpus=2", "--include-dashboard=true", "--disable-usage-stats"
        env = {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_raylet_start_wait_time_s": "120"}
        done(self.head.run("ray", "start", "--head", address, *options, *more, env=env))
        done(self._python(OTHERS, str(NEIGHBOUR_PORT)))

    def join(self, machine: Machine, *options: str) -> None:
        where = f"--address={self.head.address}:6379", f"--node-ip-address={machine.address}"
        done(machine.run("ray", "start", *where, "--disable-usage-stats", *options))

    def answers(self) -> bool:
        """Return whether their application answers."""
        with self.head.inside():
            url = f"http://{self.head.address}:{NEIGHBOUR_PORT}/digits"
            return httpx.get(url, timeout=30).text == "neighbour"

    def look(self) -> dict[str, Any]:
        """What there is on their Ray: applications, actors, and those of an engine."""
        found: dict[str, Any] = json.loads(done(self._python(LOOK)).stdout.splitlines()[-1])
        return found

    def _python(self, code: str, *arguments: str) -> Any:
        return self.head.run(sys.executable, "-c", code, *arguments)


def left_on(machine: Machine) -> list[str]:
    """What an engine has left on a machine: folders, and processes by their variables."""
    found = machine.run(
        "sh", "-c", "ls -d /tmp/anab-*; grep -l ANABRANCH_ENGINE_ID /proc/[0-9]*/environ"
    )
    return found.stdout.split()


def deploy(machine: Machine, folder: Path, **shift: Any) -> list[float]:
    """Deploy a graph from a machine; what the same graph answers in this process.

    Paths of the machine do not hold here once they are resolved, so a ``folder`` here has it, too.
    """
    write_chain(machine.path(f"{HOME}/digits"), "digits", shift=shift)
    done(machine.run("anabranch", "deploy", f"{HOME}/digits/graph.yaml"))
    answer = Graph.load(write_chain(folder, "digits", shift=shift)).run({"x": VALUES})["y"]
    return [float(value) for value in answer.flatten()]


def infer(machine: Machine, url: str) -> list[float]:
    with machine.inside():
        reply = httpx.post(f"{url}/v2/models/digits/infer", json=CHAIN_BODY, timeout=60)
    assert reply.status_code == 200, reply.text
    found: list[float] = reply.json()["outputs"][0]["data"]
    return found


def test_an_engine_comes_to_a_ray_of_somebody_else_and_leaves_nothing_there(tmp_path: Path) -> None:
    with Network() as network:
        one = network.machine("one")
        theirs = Others(one)
        theirs.start()
        assert theirs.answers()
        before = theirs.look()
        up = one.run("anabranch", "up", "--address", "auto", "-o", "json")
        assert up.returncode == 0, up.stderr
        expected = deploy(one, tmp_path, cpu=1)
        assert infer(one, "http://127.0.0.1:8000") == expected
        assert theirs.answers()
        health = one.run("anabranch", "doctor")
        assert health.returncode == 0, health.stdout
        assert "; the engine has not started it" in health.stdout
        assert set(theirs.look()["applications"]) > set(before["applications"])
        done(one.run("anabranch", "down"))
        assert theirs.answers()
        assert theirs.look() == before
        assert left_on(one) == []


def test_it_comes_back_where_ray_is_started_anew(tmp_path: Path) -> None:
    with Network() as network:
        one = network.machine("one")
        theirs = Others(one)
        theirs.start()
        done(one.run("anabranch", "up", "--address", "auto"))
        expected = deploy(one, tmp_path, cpu=1)
        done(one.run("ray", "stop"))
        assert "does not answer at" in one.run("anabranch", "doctor").stdout
        theirs.start()
        until(partial(answers, one, "http://127.0.0.1:8000", expected), 240)
        assert theirs.answers()
        done(one.run("anabranch", "down"))
        assert left_on(one) == []


def test_the_machines_of_somebody_else_work_for_it_wherever_its_home_is(tmp_path: Path) -> None:
    """The home is on a machine that is not the head of Ray, and a node of the graph elsewhere."""
    with Network() as network:
        theirs = Others(network.machine("one"))
        theirs.start()
        two, three = network.machine("two"), network.machine("three")
        theirs.join(two, "--num-cpus=1")
        theirs.join(three, "--num-cpus=1", '--resources={"licence": 1}')
        assert theirs.answers()
        before = theirs.look()
        where = "--address", f"{theirs.head.address}:6379", "--host", two.address
        done(two.run("anabranch", "up", *where, "--anonymous", "invoker"))
        expected = deploy(two, tmp_path, cpu=1, custom={"licence": 1})
        assert homes(two)["shift"] == three.address
        for machine in (theirs.head, two, three):
            url = f"http://{machine.address}:8000"
            until(partial(is_open, machine, url))
            assert infer(machine, url) == expected
        assert theirs.answers()
        refused = two.run("anabranch", "nodes", "drain", three.address)
        assert "drain it by Ray's means" in refused.stderr
        done(two.run("anabranch", "down"))
        assert theirs.answers()
        after = theirs.look()
        assert (after["applications"], after["ours"]) == (before["applications"], before["ours"])
        assert [left_on(machine) for machine in (theirs.head, two, three)] == [[], [], []]
        # Serve has a proxy wherever replicas run, and lets it drain for half a minute after them.
        until(lambda: theirs.look() == before, 120)


def test_ray_s_autoscaler_orders_the_machine_that_a_graph_waits_for_and_gives_it_back(
    tmp_path: Path,
) -> None:
    """Nobody has told the engine that there may be more machines."""
    with Network() as network:
        one, two = network.machine("one"), network.machine("two")
        config = autoscaling(one.address, two.address, {"CPU": 1, "fpga": 1}, idle_min=0.2)
        one.path(f"{HOME}/autoscaling.json").write_text(config)
        theirs = Others(one)
        theirs.start(f"--autoscaling-config={HOME}/autoscaling.json")
        done(one.run("anabranch", "up", "--address", "auto"))
        wanted = write_chain(one.path(f"{HOME}/digits"), "digits", shift={"custom": {"fpga": 1}})
        deploying = one.start("anabranch", "deploy", f"{HOME}/digits/{wanted.name}")
        order = one.path(f"{FOLDER}/order-1.json")
        until(order.exists, 120)
        theirs.join(two, "--num-cpus=1", '--resources={"fpga": 1}')
        assert deploying.wait(300) == 0
        assert homes(one)["shift"] == two.address
        local = Graph.load(write_chain(tmp_path, "digits")).run({"x": VALUES})["y"]
        assert infer(one, "http://127.0.0.1:8000") == local.flatten().tolist()
        assert theirs.answers()
        done(one.run("anabranch", "delete", "digits", "--yes"))
        until(lambda: not order.exists(), 240)
        two.run("ray", "stop")
        assert theirs.answers()
        done(one.run("anabranch", "down"))


def homes(machine: Machine) -> dict[str, str]:
    """The addresses of the machines of the segments of the graph."""
    nodes = json.loads(done(machine.run("anabranch", "nodes", "-o", "json")).stdout)["nodes"]
    return {
        segment["deployment"]: one["address"]
        for one in nodes
        for segment in one["segments"]
        if segment["part"] == "segments"
    }


def answers(machine: Machine, url: str, wanted: list[float]) -> bool:
    try:
        return infer(machine, url) == wanted
    except (AssertionError, httpx.HTTPError):
        return False


def is_open(machine: Machine, url: str) -> bool:
    try:
        with machine.inside():
            return httpx.get(f"{url}/v2/health/ready", timeout=10).status_code == 200
    except httpx.HTTPError:
        return False
