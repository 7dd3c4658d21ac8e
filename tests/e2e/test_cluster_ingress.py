"""Two machines of one engine: requests, logs and metrics at each, wherever the replicas are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest

from anabranch.router.grpc.messages import InferRequest, path, response_type
from tests.e2e.conftest import node, spec
from tests.engines import BODY, done
from tests.machines import HOME, Machine, Network
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

CODE = """
import os

import numpy as np


class Where:
    '''Adds the number of its machine to what it gets.'''

    def transform(self, x):
        host = os.uname().nodename
        print("asked on", host, flush=True)
        return x + {"one": 1, "two": 2}[host]
"""
CALL = """
import sys

import grpc

address, method, message = sys.argv[1:]
with grpc.insecure_channel(address) as channel:
    print(channel.unary_unary(method)(bytes.fromhex(message), timeout=20).hex())
"""
"""A call from a machine: gRPC connects in threads of its own."""
HTTP, GRPC = 8000, 9000


@dataclass
class Cluster:
    """An engine whose head is on ``one``, and which ``two`` has joined."""

    one: Machine
    two: Machine

    @property
    def both(self) -> tuple[Machine, Machine]:
        return self.one, self.two

    @property
    def token(self) -> str:
        return self.one.path(f"{HOME}/.anabranch/token").read_text().strip()

    def get(self, machine: Machine, path: str) -> httpx.Response:
        """Ask the edge of a machine, from another one."""
        other = self.one if machine is self.two else self.two
        headers = {"authorization": f"Bearer {self.token}"}
        with other.inside():
            return httpx.get(f"http://{machine.address}:{HTTP}{path}", headers=headers, timeout=20)

    def infer(self, machine: Machine, graph: str) -> httpx.Response:
        with machine.inside():
            url = f"http://{machine.address}:{HTTP}/v2/models/{graph}/infer"
            return httpx.post(url, json=BODY, timeout=20)

    def logs(self, *options: object) -> list[dict[str, Any]]:
        found = done(self.one.run("anabranch", "logs", "far", "-o", "json", *options))
        return [json.loads(line) for line in found.stdout.splitlines()]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Network() as network:
        one, two = network.machine("one"), network.machine("two")
        up = ("up", "--host", one.address, "--anonymous", "caller", "--resources", "CPU=8")
        done(one.run("anabranch", *up))
        token = one.path(f"{HOME}/.anabranch/token").read_text()
        key = two.path(f"{HOME}/token")
        key.touch(0o600)
        key.write_text(token)
        url = f"http://{one.address}:{HTTP}"
        join = ("join", url, "--token-file", "token", "--resources", "CPU=4")
        done(two.run("anabranch", *join))
        found = Cluster(one, two)
        folder = one.path(f"{HOME}/graphs")
        folder.mkdir()
        (folder / "components.py").write_text(CODE)
        # Only the first machine has room for one of the nodes, and only the second for the other.
        near, far = (node("Where", resources={"cpu": cpu}) for cpu in (6, 3))
        for name, one_node in (("near", near), ("far", far)):
            (folder / f"{name}.yaml").write_text(json.dumps(spec(name, where=one_node)))
            done(one.run("anabranch", "deploy", f"graphs/{name}.yaml"))
        until(lambda: _answers(found, two), 120)
        yield found


def _answers(cluster: Cluster, machine: Machine) -> bool:
    try:
        return all(cluster.infer(machine, name).status_code == 200 for name in ("near", "far"))
    except httpx.TransportError:
        return False


def test_the_edge_of_each_machine_answers_wherever_the_replicas_are(cluster: Cluster) -> None:
    """The node of one graph is on the first machine, that of the other on the second."""
    for machine in cluster.both:
        for name, added in (("near", 1.0), ("far", 2.0)):
            reply = cluster.infer(machine, name)
            assert reply.status_code == 200, reply.text
            (output,) = reply.json()["outputs"]
            assert output["data"] == [1.0 + added, 2.0 + added]


def test_both_answer_over_grpc_likewise(cluster: Cluster) -> None:
    for machine in cluster.both:
        for name, added in (("near", 1.0), ("far", 2.0)):
            request = InferRequest(model_name=name)
            request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
            request.raw_input_contents.append(np.array([[1.0, 2.0]], np.float32).tobytes())
            asked = path("ModelInfer"), request.SerializeToString().hex()
            told = done(machine.run("python", "-c", CALL, f"{machine.address}:{GRPC}", *asked))
            answer = response_type("ModelInfer").FromString(bytes.fromhex(told.stdout.strip()))
            found = np.frombuffer(answer.raw_output_contents[0], np.float32)
            assert found.tolist() == [1.0 + added, 2.0 + added]


def test_each_is_ready_and_has_the_control_api_and_the_metrics_of_all(cluster: Cluster) -> None:
    for machine in cluster.both:
        assert cluster.get(machine, "/v2/health/ready").json() == {"live": True, "ready": True}
        graphs = cluster.get(machine, "/control/v1/graphs").json()["graphs"]
        assert {one["graph"] for one in graphs} == {"near", "far"}
        assert cluster.get(machine, "/console/").status_code == 200

        def counted(machine: Machine = machine) -> bool:
            text = cluster.get(machine, "/metrics").text
            nodes = {"near", "far"}
            return all(
                f'anabranch_node_duration_seconds_count{{graph="{one}"' in text for one in nodes
            )

        until(counted, 60)


def test_logs_of_all_machines_have_their_names(cluster: Cluster) -> None:
    cluster.infer(cluster.one, "far")

    def lines() -> list[dict[str, Any]]:
        return [one for one in cluster.logs() if one["message"] == "asked on two"]

    until(lines, 30)
    assert {one["machine"] for one in lines()} == {"two"}
    assert {one["machine"] for one in cluster.logs("--machine", "two")} == {"two"}
    assert {one["machine"] for one in cluster.logs("--machine", cluster.one.address)} <= {"one"}
    unknown = cluster.one.run("anabranch", "logs", "far", "--machine", "three")
    assert unknown.returncode == 1
    assert "no machine of the engine is 'three'; there are: one, two" in unknown.stderr


def test_a_machine_whose_cable_is_pulled_is_named_and_holds_nobody_up(cluster: Cluster) -> None:
    before = cluster.logs("--machine", "one")
    cluster.two.cut()
    try:
        (first, *others) = cluster.logs()
    finally:
        cluster.two.mend()
    assert (first["machine"], first["time"]) == ("two", "")
    assert "does not answer" in first["message"]
    assert [line for line in others if line["machine"] == "one"][: len(before)] == before
    until(lambda: _answers(cluster, cluster.two), 120)
    until(lambda: any(one["message"] == "asked on two" for one in cluster.logs()), 60)
