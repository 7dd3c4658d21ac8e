"""An engine that other machines reach: who answers at its ports, and whom."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from anabranch.control.access.authority import (
    certificates_environment,
    cluster_certificates,
    write_certificates,
)
from tests.engines import BODY
from tests.machines import HOME, Machine, Network

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
GRAPH = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: far}
spec:
  inputs: {x: {datatype: FP32, shape: [-1, 2]}}
  nodes:
    scale: {type: transformer, component: code.py:Double, inputs: {x: x}}
    again:
      {type: transformer, component: code.py:Double, inputs: {x: scale}, placement: {isolate: true}}
  outputs: {y: again}
"""
CODE = """
class Double:
    def transform(self, x):
        return x * 2
"""
LISTENING = """
import psutil
print(*{one.laddr.port for one in psutil.net_connections("tcp") if one.status == "LISTEN"})
"""
ASK = """
import http.client, json, ssl, sys
from anabranch.router.between_nodes import client_tls
host, *ports = sys.argv[1:]
tls = client_tls()
if tls is None:
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
else:
    tls.check_hostname = False
found = []
for port in map(int, ports):
    kinds = [http.client.HTTPSConnection(host, port, timeout=5, context=tls)]
    kinds.append(http.client.HTTPConnection(host, port, timeout=5))
    for kind in kinds:
        try:
            kind.request("GET", "/v2/models/far/ready")
            if json.loads(kind.getresponse().read()).get("name") == "far":
                found.append(port)
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass
print(json.dumps(found))
"""


def done(machine: Machine, *words: object, **env: str) -> str:
    """Run a command to its end, which is to be good; what it prints."""
    ended = machine.run(*words, env=env)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture
def head() -> Iterator[Machine]:
    """A machine with an engine that others reach, and a graph of two processes."""
    with Network() as network:
        machine = network.machine("head")
        folder = machine.path(f"{HOME}/far")
        folder.mkdir()
        (folder / "graph.yaml").write_text(GRAPH)
        (folder / "code.py").write_text(CODE)
        try:
            done(machine, "anabranch", "up", "--host", machine.address, "--anonymous", "invoker")
            done(machine, "anabranch", "deploy", f"{HOME}/far/graph.yaml")
            yield machine
        finally:
            machine.run("anabranch", "down")


def test_routers_answer_the_machines_of_the_engine_and_nobody_else(head: Machine) -> None:
    other = head.network.machine("other")
    url = f"http://{head.address}:8000/v2/models/far/infer"
    infer = ("curl", "-sS", url, "--data", json.dumps(BODY))
    assert json.loads(done(other, *infer))["outputs"][0]["data"] == [4.0, 8.0]
    ports = done(head, "python", "-c", LISTENING).split()
    strangers = json.loads(done(other, "python", "-c", ASK, head.address, *ports))
    assert set(strangers) == {8000}
    home = Path(HOME)
    files = cluster_certificates(head.path(f"{HOME}/.anabranch"))
    write_certificates(other.path(HOME), files)
    machines = certificates_environment(home)
    found = json.loads(done(other, "python", "-c", ASK, head.address, *ports, **machines))
    assert set(found) > {8000}
    done(head, "anabranch", "down")
    assert not head.path(f"{HOME}/.anabranch/nodes").exists()
