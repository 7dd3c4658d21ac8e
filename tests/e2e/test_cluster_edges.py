"""Which machines of an engine take requests, and by TLS: those that `up` names."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.certificates import Authority
from tests.clusters import GRPC, HTTP, Cluster
from tests.e2e.conftest import node, spec, value
from tests.engines import done
from tests.machines import Machine, Network
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

CODE = """
class Double:
    def transform(self, x):
        return x * 2
"""
FAR = spec("far", double=node("Double", resources={"cpu": 3}))
"""A graph whose node only machines that have joined have room for."""


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as one:
        yield one


def serving(cluster: Cluster, *options: object) -> None:
    """Start an engine, which all machines join, with its graph; the machines' zones are their
    names.
    """
    cluster.up("--resources", "CPU=1", *options)
    for machine in cluster.machines[1:]:
        labels = "--labels", f"zone={machine.name}"
        done(cluster.join(machine, "--resources", "CPU=4", *labels))
    cluster.deploy("far", FAR, components=CODE)
    for machine in cluster.machines:  # what has an agent has all that it is to have
        until(lambda machine=machine: knows(cluster, machine), 60)


def knows(cluster: Cluster, machine: Machine) -> bool:
    """Whether a machine has an agent, which reads its files."""
    told = cluster.run("logs", "far", "--machine", machine.name)
    return "does not answer" not in told


def refusing(cluster: Cluster, machine: Machine) -> set[int]:
    """The ports of clients at which nothing listens on a machine."""
    found = set()
    for port in (HTTP, GRPC):
        with cluster.head.inside(), socket.socket() as one:
            one.settimeout(20)
            if one.connect_ex((machine.address, port)):
                found.add(port)
    return found


def test_machines_with_labels_take_requests_by_tls_and_others_none(network: Network) -> None:
    """The certificate is the head's, and names all machines; the plain protocols are refused."""
    head, other, edge = (network.machine(name) for name in ("head", "other", "edge"))
    authority = Authority(head.path("/tmp"))
    files = authority.issue("engine", addresses=[head.address, edge.address])
    cluster = Cluster([head, other, edge], ca=authority.file)
    own = "--tls-cert", f"/tmp/{files.cert.name}", "--tls-key", f"/tmp/{files.key.name}"
    serving(cluster, *own, "--ingress", "zone=edge")
    until(lambda: cluster.is_ready(edge))
    for machine in (head, edge):
        assert value(cluster.infer("far", machine)) == [2.0, 4.0]
        assert cluster.call("far", machine) == [2.0, 4.0]
        with cluster.head.inside(), pytest.raises(httpx.TransportError):
            httpx.get(f"http://{machine.address}:{HTTP}/v2/health/ready", timeout=20)
    assert refusing(cluster, other) == {HTTP, GRPC}


def test_the_head_s_machine_alone_takes_requests(network: Network) -> None:
    head, other = network.machine("head"), network.machine("other")
    cluster = Cluster([head, other])
    serving(cluster, "--ingress", "head")
    assert cluster.homes("far")["double"] == ["other"]
    assert value(cluster.infer("far", head)) == [2.0, 4.0]
    assert cluster.call("far", head) == [2.0, 4.0]
    assert refusing(cluster, other) == {HTTP, GRPC}
