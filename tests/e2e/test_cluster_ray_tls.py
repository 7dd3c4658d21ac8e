"""Two machines whose Rays speak TLS: each knows the other by a certificate of one authority."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority, client
from tests.engines import BODY, done
from tests.machines import HOME, Machine, Network

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
SPEC = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: far}
spec:
  inputs: {x: {datatype: FP32, shape: [-1, 2]}}
  nodes:
    double: {type: predictor, component: parts.py:Double, inputs: {x: x}, resources: {cpu: 1}}
  outputs: {y: double}
"""
PARTS = """
class Double:
    def predict(self, x):
        return x * 2
"""
FILES = f"{HOME}/certificates"
ENV = {
    "RAY_USE_TLS": "1", "RAY_TLS_SERVER_CERT": f"{FILES}/server.pem",
    "RAY_TLS_SERVER_KEY": f"{FILES}/server.key", "RAY_TLS_CA_CERT": f"{FILES}/authority.pem",
}  # fmt: skip


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def machines(authority: Authority) -> Iterator[tuple[Machine, Machine]]:
    with Network() as network:
        head, worker = network.machine("head"), network.machine("worker")
        for one in (head, worker):
            files = authority.issue(one.name, addresses=("127.0.0.1", one.address))
            folder = one.path(FILES)
            folder.mkdir()
            for file in (files.cert, files.key, authority.file):
                (folder / file.name).write_bytes(file.read_bytes())
        yield head, worker


def test_a_machine_joins_and_who_has_no_certificate_is_told_nothing(
    machines: tuple[Machine, Machine], authority: Authority
) -> None:
    head, worker = machines
    options = "--host", head.address, "--anonymous", "invoker", "--resources", "CPU=0"
    done(head.run("anabranch", "up", *options, env=ENV))
    token = worker.path(f"{HOME}/key")
    token.touch(0o600)
    token.write_text(head.path(f"{HOME}/.anabranch/token").read_text())
    join = "anabranch", "join", f"{head.address}:8000", "--token-file", f"{HOME}/key"
    own = {name: value for name, value in ENV.items() if name != "RAY_USE_TLS"}
    assert "RAY_TLS_SERVER_CERT" in worker.run(*join).stderr
    done(worker.run(*join, env=own))
    folder = head.path(f"{HOME}/far")
    folder.mkdir()
    (folder / "graph.yaml").write_text(SPEC)
    (folder / "parts.py").write_text(PARTS)
    done(head.run("anabranch", "deploy", f"{HOME}/far/graph.yaml"))
    url = f"http://{head.address}:8000/v2/models/far/infer"
    reply = json.loads(done(head.run("curl", "-sS", url, "--data", json.dumps(BODY))).stdout)
    assert reply["outputs"][0]["data"] == [2.0, 4.0]
    for one in machines:
        told = one.run("anabranch", "doctor")
        assert told.returncode == 0, told.stdout
    state = json.loads(head.path(f"{HOME}/.anabranch/engine.json").read_text())
    port = int(state["address"].rpartition(":")[2])
    known = authority.issue("other", file="other")
    with head.inside():
        assert answers(head.address, port, client(authority, known, "h2"))
        assert not answers(head.address, port, client(authority, None, "h2"))


def answers(host: str, port: int, context: ssl.SSLContext) -> bool:
    """Whether a server of HTTP/2 begins a conversation; without a certificate it hangs up."""
    with (
        socket.create_connection((host, port), 20) as plain,
        context.wrap_socket(plain, server_hostname=host) as tls,
    ):
        try:
            return tls.recv(9) != b""
        except OSError:
            return False
