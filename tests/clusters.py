"""An engine on several machines: commands are typed and requests sent on the head's, or another."""

from __future__ import annotations

import itertools
import json
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from anabranch.router.grpc.messages import InferRequest, path, response_type
from tests.engines import BODY, done
from tests.machines import HOME, Machine
from tests.waiting import until

PARTS = """
class Double:
    def predict(self, x):
        return x * 2


class Shift:
    def predict(self, x):
        return x + 1
"""
"""The components of ``chain``, in ``parts.py``."""
VALUES = np.array([[1, 2], [3, 4]], np.float32)
"""What ``chain`` is asked with,"""
CHAIN_BODY = {
    "inputs": [
        {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": VALUES.flatten().tolist()}
    ]
}
"""and the request with it."""
ROOM = "--resources", "CPU=6"
"""What graphs may have of each machine that joins; of the head they may have nothing."""
HTTP, GRPC = 8000, 9000
CLIENTS = 8
"""Clients of a load."""
_CA = f"{HOME}/ca.pem"
_CALL = """
import sys

import grpc

address, ca, method, message = sys.argv[1:]
if ca:
    with open(ca, "rb") as file:
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(file.read()))
else:
    channel = grpc.insecure_channel(address)
with channel:
    print(channel.unary_unary(method)(bytes.fromhex(message), timeout=20).hex())
"""
"""A call in a process of a machine: gRPC connects in threads of its own."""


def chain(name: str, **resources: Mapping[str, Any]) -> str:
    """The spec of a graph of ``double`` and then ``shift``, with the resources that they want.

    A node that wants none is in the process of the router.
    """
    nodes = {"double": ("Double", "x"), "shift": ("Shift", "double")}
    graph = {
        "apiVersion": "anabranch/v1",
        "kind": "InferenceGraph",
        "metadata": {"name": name},
        "spec": {
            "inputs": {"x": {"datatype": "FP32", "shape": [-1, 2]}},
            "nodes": {
                node: {"type": "predictor", "component": f"parts.py:{component}"}
                | {"inputs": {"x": source}, "resources": resources.get(node)}
                for node, (component, source) in nodes.items()
            },
            "outputs": {"y": "shift"},
        },
    }
    return json.dumps(graph)


def write_chain(folder: Path, name: str, **resources: Mapping[str, Any]) -> Path:
    """Write the bundle of a ``chain`` to a folder; its spec."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "parts.py").write_text(PARTS)
    spec = folder / "graph.yaml"
    spec.write_text(chain(name, **resources))
    return spec


@dataclass
class Cluster:
    """An engine on the first of several machines, which the others may join."""

    machines: list[Machine]
    env: Mapping[str, str] = field(default_factory=dict)
    """Settings of the engine."""
    ca: Path | None = None
    """The authority of the edges' certificates, where they speak TLS, as this process sees it."""

    @property
    def head(self) -> Machine:
        return self.machines[0]

    @property
    def token(self) -> str:
        return self.head.path(f"{HOME}/.anabranch/token").read_text().strip()

    def url(self, machine: Machine | None = None) -> str:
        """Where the edge of a machine answers, or that of the head."""
        scheme = "http" if self.ca is None else "https"
        return f"{scheme}://{(machine or self.head).address}:{HTTP}"

    def graph_url(self, name: str, machine: Machine | None = None) -> str:
        """Where the edge of a machine takes requests for a graph."""
        return f"{self.url(machine)}/v2/models/{name}/infer"

    def up(self, *options: object) -> None:
        host = "--host", self.head.address, "--anonymous", "invoker"
        done(self.head.run("anabranch", "up", *host, *options, env=self.env))

    def join(
        self, machine: Machine, *options: object, key: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Have a machine join, with the control token or another key."""
        file = machine.path(f"{HOME}/key")
        file.touch(0o600)
        file.write_text(key or self.token)
        engine = self.url(), "--token-file", f"{HOME}/key"
        return machine.run("anabranch", "join", *engine, *options, env=self._trust(machine))

    def run(self, *words: object, machine: Machine | None = None) -> str:
        """What a command prints, typed on the head's machine or another one."""
        where = machine or self.head
        told = where.run("anabranch", *words, env=self._trust(where), timeout=500)
        return done(told).stdout

    def ask(
        self, method: str, path: str, machine: Machine | None = None, timeout: float = 60
    ) -> httpx.Response:
        """Send a request with the control token to the edge of a machine."""
        headers = {"authorization": f"Bearer {self.token}"}
        with self._client(timeout) as client:
            return client.request(method, f"{self.url(machine)}{path}", headers=headers)

    def is_ready(self, machine: Machine) -> bool:
        """Whether a load balancer would send requests to a machine."""
        try:
            return self.ask("GET", "/v2/health/ready", machine).status_code == 200
        except httpx.TransportError:
            return False

    def api(self, method: str, path: str) -> Any:
        """One call of the control API, which succeeds."""
        reply = self.ask(method, f"/control/v1{path}")
        assert reply.is_success, reply.text
        return reply.json()

    def nodes(self) -> dict[str, Any]:
        """The machines of the engine, by their names."""
        return {one["name"]: one for one in self.api("GET", "/nodes")["nodes"]}

    def homes(self, graph: str) -> dict[str, list[str]]:
        """The names of the machines of a graph's replicas, by deployment."""
        found: dict[str, list[str]] = {}
        for name, machine in self.nodes().items():
            for share in machine["segments"]:
                if share["graph"] == graph:
                    found.setdefault(share["deployment"], []).extend([name] * share["replicas"])
        return found

    def running(self, graph: str, segment: str) -> int:
        """How many replicas of a segment run."""
        found = self.api("GET", f"/graphs/{graph}")["segments"]
        return int(next(one["running"] for one in found if one["name"] == segment))

    def write(self, name: str, graph: Mapping[str, Any] | str, **code: str) -> str:
        """Write a bundle with these modules on the head; the path of its spec there."""
        folder = self.head.path(f"{HOME}/{name}")
        folder.mkdir()
        for module, text in code.items():
            (folder / f"{module}.py").write_text(text)
        spec = graph if isinstance(graph, str) else json.dumps(graph)
        (folder / "graph.yaml").write_text(spec)
        return f"{HOME}/{name}/graph.yaml"

    def deploy(self, name: str, graph: Mapping[str, Any] | str, **code: str) -> None:
        self.run("deploy", self.write(name, graph, **code))

    @contextmanager
    def without(self, *graphs: str) -> Iterator[None]:
        """Delete graphs in the end."""
        try:
            yield
        finally:
            for name in graphs:
                self.head.run("anabranch", "delete", name, "--yes", env=self._trust(self.head))

    def infer(
        self, name: str, machine: Machine | None = None, body: Any = BODY, timeout: float = 60
    ) -> httpx.Response:
        """Send a request of nobody in particular to the edge of a machine."""
        with self._client(timeout) as client:
            return client.post(self.graph_url(name, machine), json=body)

    def answers(self, name: str, machine: Machine, body: Any = BODY) -> bool:
        """Whether the edge of a machine answers a request for a graph."""
        try:
            return self.infer(name, machine, body).status_code == 200
        except httpx.TransportError:
            return False

    def call(self, name: str, machine: Machine) -> list[float]:
        """Send the same over gRPC; the values of the first output."""
        request = InferRequest(model_name=name)
        request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
        request.raw_input_contents.append(np.array([[1.0, 2.0]], np.float32).tobytes())
        asked = path("ModelInfer"), request.SerializeToString().hex()
        ca = self._trust(self.head).get("ANABRANCH_CA", "")
        words = "python", "-c", _CALL, f"{machine.address}:{GRPC}", ca, *asked
        told = bytes.fromhex(done(self.head.run(*words)).stdout.strip())
        answer = response_type("ModelInfer").FromString(told)
        found: list[float] = np.frombuffer(answer.raw_output_contents[0], np.float32).tolist()
        return found

    @contextmanager
    def load(self, name: str, *edges: Machine) -> Iterator[Load]:
        """Clients that ask for all outputs without a pause, each on one of the machines with these
        edges, or on the head's.
        """
        load, places = Load(), itertools.cycle(edges or (self.head,))
        urls = [(one, self.graph_url(name, one)) for one in itertools.islice(places, CLIENTS)]
        with load.running(urls):
            load.more(CLIENTS)
            yield load

    @contextmanager
    def _client(self, timeout: float) -> Iterator[httpx.Client]:
        verify = False if self.ca is None else ssl.create_default_context(cafile=str(self.ca))
        with self.head.inside(), httpx.Client(timeout=timeout, verify=verify) as client:
            yield client

    def _trust(self, machine: Machine) -> dict[str, str]:
        """The variables by which commands on a machine trust the edges' certificates."""
        if self.ca is None:
            return {}
        machine.path(_CA).write_bytes(self.ca.read_bytes())
        return {"ANABRANCH_CA": _CA}


@dataclass
class Load:
    """What becomes of the requests of clients, and the longest time that one took, in seconds."""

    found: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    _stopping: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _clients: list[threading.Thread] = field(default_factory=list)
    _ended: Counter[threading.Thread] = field(default_factory=Counter)

    def more(self, number: int = 400) -> None:
        """Wait for so many further answers."""
        enough = self.found["ok"] + number
        until(lambda: self.found["ok"] >= enough, 180)

    def each(self) -> None:
        """Wait until every client has begun a request from now on, and had its answer."""
        enough = {one: self._ended[one] + 2 for one in self._clients}
        until(lambda: all(self._ended[one] >= number for one, number in enough.items()), 180)

    @contextmanager
    def running(self, urls: Sequence[tuple[Machine, str]]) -> Iterator[None]:
        """Have a client on each machine ask there."""
        self._clients = [threading.Thread(target=self._ask, args=one) for one in urls]
        for one in self._clients:
            one.start()
        try:
            yield
        finally:
            self._stopping.set()
            for one in self._clients:
                one.join()

    def _ask(self, machine: Machine, url: str) -> None:
        with machine.inside(), httpx.Client(timeout=60, verify=False) as client:
            while not self._stopping.is_set():
                began = time.monotonic()
                try:
                    reply = client.post(url, json=BODY)
                    kind = "ok" if reply.status_code == 200 else reply.text[:300]
                except httpx.HTTPError as error:
                    kind = repr(error)
                with self._lock:
                    self.found[kind] += 1
                    self._ended[threading.current_thread()] += 1
                    self.slowest = max(self.slowest, time.monotonic() - began)
