"""What is told of a graph that runs on another machine than the head's: all that is told of any."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import node, spec
from tests.e2e.panels import ELSEWHERE, filled, queries
from tests.e2e.test_traces import Asked
from tests.engines import BODY, done
from tests.machines import HOME, Machine, Network
from tests.ports import free_ports
from tests.telemetry import prometheus
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

CODE = """
import os


class Double:
    def transform(self, x):
        return x * 2


class Why:
    def attach(self, model):
        self.model = model

    def explain(self, x, context):
        return {"of": self.model({"x": x})["output"].tolist(), "on": os.uname().nodename}


class Large:
    def score(self, double):
        return {"score": float(double.max())}
"""
NAME = "seen"
WINDOW = 20
"""Rows of a window of the monitor."""
ON_TWO = {"placement": {"labels": {"zone": "two"}}}


@dataclass
class Cluster:
    """A graph all of whose processes are on ``two``, on an engine whose head is on ``one``."""

    one: Machine
    two: Machine

    @property
    def url(self) -> str:
        return f"http://{self.one.address}:8000"

    def get(self, path: str) -> httpx.Response:
        """Ask the head's edge."""
        token = self.one.path(f"{HOME}/.anabranch/token").read_text().strip()
        headers = {"authorization": f"Bearer {token}"}
        with self.one.inside():
            return httpx.get(f"{self.url}{path}", headers=headers, timeout=20)

    def deploy(self, graph: dict[str, Any]) -> None:
        name = graph["metadata"]["name"]
        folder = self.one.path(f"{HOME}/{name}")
        folder.mkdir()
        (folder / "components.py").write_text(CODE)
        (folder / "graph.yaml").write_text(json.dumps(graph))
        done(self.one.run("anabranch", "deploy", f"{name}/graph.yaml"))

    def ask(self, path: str, headers: dict[str, str] | None = None) -> Any:
        with self.one.inside():
            url = f"{self.url}/v2/models/{NAME}/{path}"
            reply = httpx.post(url, json=BODY, headers=headers, timeout=60)
        assert reply.status_code == 200, reply.text
        return reply.json()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    graph = spec(
        NAME,
        double=node("Double", **ON_TWO),
        why={"type": "explainer", "component": "components.py:Why", "explains": "double", **ON_TWO},
    )
    graph["spec"] |= {"outputs": {"y": "double"}, **ON_TWO}
    graph["spec"]["monitors"] = {
        "large": {"component": "components.py:Large", "watches": ["double"], "window": WINDOW}
    }
    with Network() as network:
        found = Cluster(network.machine("one"), network.machine("two"))
        host = "--host", found.one.address, "--anonymous", "invoker"
        done(found.one.run("anabranch", "up", *host))
        key = found.two.path(f"{HOME}/key")
        key.touch(0o600)
        key.write_text(found.one.path(f"{HOME}/.anabranch/token").read_text())
        join = "join", found.url, "--token-file", "key", "--labels", "zone=two"
        done(found.two.run("anabranch", *join))
        found.deploy(graph)
        yield found


def test_explanations_come_from_there(cluster: Cluster) -> None:
    shown = done(
        cluster.one.run(
            "anabranch", "explain", NAME, "--data", '{"x": [[1, 2]]}', "-o", "json"
        )
    )  # fmt: skip
    assert '"on": "two"' in shown.stdout and "2.0" in shown.stdout


def test_spans_come_from_there_with_the_machine_s_name(cluster: Cluster) -> None:
    asked = Asked(show=True, sampled=False)
    cluster.ask("infer", asked.headers)

    def spans() -> dict[str, Any]:
        reply = cluster.get(f"/control/v1/traces/{asked.trace}")
        found = reply.json().get("spans", [])
        return {one["name"]: one["attributes"].get("host.name") for one in found}

    until(lambda: {"arm r1", "hop double", "node double"} <= spans().keys(), 60)
    assert set(spans().values()) == {"two"}


def test_monitors_see_what_is_asked_there(cluster: Cluster) -> None:
    for _ in range(WINDOW):
        cluster.ask("infer")

    def monitored() -> list[dict[str, Any]]:
        found = cluster.get(f"/control/v1/graphs/{NAME}/monitors").json()["monitors"]
        return [one for one in found if one["windows"] >= 1]

    until(monitored, 60)
    assert "large" in done(cluster.one.run("anabranch", "monitors", NAME)).stdout


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
def test_panels_of_several_machines_have_something_to_show(
    cluster: Cluster, tmp_path: Path
) -> None:
    """What `test_prometheus.py` cannot see on one machine."""
    token = cluster.one.path(f"{HOME}/.anabranch/token")
    job = {
        "job_name": "anabranch",
        "static_configs": [{"targets": [f"{cluster.one.address}:8000"]}],
        "authorization": {"credentials_file": str(token)},
    }
    shown = [(title, filled(one, NAME)) for title, one in queries("gateway") if title in ELSEWHERE]
    assert {title for title, _ in shown} == ELSEWHERE
    (port,) = free_ports(1)
    with cluster.one.inside(), prometheus.running(tmp_path, port, [job]) as server:
        began = time.time()
        until(lambda: server.query("anabranch_bundle_bytes_sent_total > 0"))
        other = spec("other", double=node("Double", **ON_TWO))
        cluster.deploy({**other, "spec": {**other["spec"], **ON_TWO}})
        for _, query in shown:
            until(lambda query=query: server.ever(f"({query}) > 0", began, time.time()))
