"""An engine that speaks TLS: its commands, its clients, and certificates that are replaced."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import grpc
import httpx
import numpy as np
import psutil
import pytest

from anabranch import Client
from anabranch.router.grpc.messages import InferRequest, path, response_type
from anabranch.router.oip.raw_tensors import encode_raw
from tests.certificates import Authority, client, name_at
from tests.e2e.conftest import Given, node, spec, value
from tests.engines import BODY, Engine, actor_processes, done
from tests.waiting import until, until_true

pytestmark = pytest.mark.e2e

CODE = """
import numpy as np


class Names:
    def transform(self, x, context):
        found = [context.headers.get("anabranch-client-name", "-"),
                 context.headers.get("anabranch-client-address", "-")]
        return np.array(found, object)
"""
FORGED = {"anabranch-client-name": "root", "anabranch-client-address": "10.0.0.1"}
CLIENTS = 8


@dataclass
class Secured:
    """The engine, the authority of its certificate, that of its clients, and a graph."""

    engine: Engine
    authority: Authority
    clients: Authority
    given: Given
    graph: str = "names"

    @property
    def url(self) -> str:
        return f"https://localhost:{self.engine.ports.http}/v2/models/{self.graph}/infer"

    def http(self, name: str | None = None) -> httpx.Client:
        """A client that trusts the authority, with a certificate of this name or without."""
        own = None if name is None else self.clients.issue(name, file="client")
        return httpx.Client(verify=client(self.authority, own), trust_env=False, timeout=60)

    def channel(self, name: str | None = None) -> grpc.Channel:
        own = None if name is None else self.clients.issue(name, file="client")
        pair = () if own is None else (own.key.read_bytes(), own.cert.read_bytes())
        credentials = grpc.ssl_channel_credentials(self.authority.file.read_bytes(), *pair)
        return grpc.secure_channel(f"localhost:{self.engine.ports.grpc}", credentials)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("tls")
    authority, clients = Authority(folder), Authority(folder, "clients")
    files = authority.issue("one")
    client_ca = shutil.copy(clients.file, folder / "client-ca.pem")
    options = ("--tls-cert", files.cert, "--tls-key", files.key, "--client-ca", client_ca)
    with tempfile.TemporaryDirectory(prefix="anabranch-", ignore_cleanup_errors=True) as home:
        engine = Engine(Path(home) / "home", options=options)
        try:
            engine.up()
            given = Given(engine, folder)
            one = Secured(engine, authority, clients, given)
            given.deployed(spec(one.graph, names=node("Names")), CODE)
            yield one
        finally:
            engine.down()


def message(graph: str) -> bytes:
    found = InferRequest(model_name=graph)
    found.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    found.raw_input_contents.append(encode_raw(np.ones((1, 2), np.float32), "FP32"))
    data: bytes = found.SerializeToString()
    return data


def told(answer: object) -> list[str]:
    (data,) = answer.raw_output_contents  # type: ignore[attr-defined]
    found = []
    while data:
        size = int.from_bytes(data[:4], "little")
        found.append(data[4 : 4 + size].decode())
        data = data[4 + size :]
    return found


def infer(at: Secured, name: str | None = None, is_large: bool = False) -> list[str]:
    """What a graph is told of a client of gRPC; large messages go to the front."""
    metadata = [*FORGED.items(), *([("x-pad", "p" * 9000)] if is_large else [])]
    with at.channel(name) as channel:
        method = channel.unary_unary(
            path("ModelInfer"), response_deserializer=response_type("ModelInfer").FromString
        )
        return told(method(message(at.graph), metadata=metadata, timeout=60, wait_for_ready=True))


def test_requests_calls_and_commands(secured: Secured) -> None:
    """Also: who a client is comes by both ways of gRPC and over HTTP, and no client can say it."""
    engine = secured.engine
    assert engine.state is not None
    assert engine.state.http == f"https://127.0.0.1:{engine.ports.http}"
    for name, told_name in ((None, "-"), ("ann", "ann")):
        expected = [told_name, "127.0.0.1"]
        with secured.http(name) as http:
            reply = http.post(secured.url, json=BODY, headers=FORGED)
            assert value(reply) == expected
            page = http.get(f"https://localhost:{engine.ports.http}/console/")
            assert (page.status_code, "<title>" in page.text) == (200, True)
        for is_large in (False, True):
            assert infer(secured, name, is_large) == expected
    status = json.loads(done(engine.command("status", "-o", "json")).stdout)
    assert [(one["graph"], one["state"]) for one in status["graphs"]] == [(secured.graph, "live")]
    data = json.dumps({"x": [[1, 2]]})
    assert "127.0.0.1" in done(engine.command("infer", secured.graph, "--data", data)).stdout
    again = engine.ports.options()
    done(engine.command("up", *again, *engine.options))
    other = secured.authority.issue("other", file="other")
    refused = engine.command("up", *again, "--tls-cert", other.cert, "--tls-key", other.key)
    assert "with another certificate than that of --tls-cert" in refused.stderr
    until_true(lambda: check_doctor(engine))
    url = f"https://localhost:{engine.ports.http}"
    with Client(url, engine.token, ca=secured.authority.file) as one:
        assert one.status()["graphs"][0]["graph"] == secured.graph
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"http://127.0.0.1:{engine.ports.http}/v2", trust_env=False)


def check_doctor(engine: Engine) -> None:
    assert "certificate  " in done(engine.command("doctor")).stdout


@pytest.mark.nightly
def test_no_request_fails_while_certificates_are_replaced_well_and_badly(secured: Secured) -> None:
    over = Event()

    def http() -> Counter[str]:
        found: Counter[str] = Counter()
        while not over.is_set():
            with secured.http() as one:
                for _ in range(5):
                    found[str(one.post(secured.url, json=BODY).status_code)] += 1
        return found

    def rpc() -> Counter[str]:
        found: Counter[str] = Counter()
        while not over.is_set():
            found[infer(secured)[1]] += 1
        return found

    engine, authority = secured.engine, secured.authority
    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(http if number % 2 else rpc) for number in range(CLIENTS)]
        try:
            files = authority.issue("two")
            for port in (engine.ports.http, engine.ports.grpc):
                until(lambda port=port: name_at(port) == "two")
            shutil.copy(authority.issue("other", file="other").cert, files.cert)
            until(lambda: "does not fit" in engine.command("status").stderr)
            doctor = engine.command("doctor")
            assert doctor.returncode == 1
            assert "the edge keeps its certificate" in doctor.stdout
            assert name_at(engine.ports.http) == "two"
            authority.issue("three")
            until(lambda: name_at(engine.ports.http) == "three")
            until(lambda: engine.command("status").stderr == "")
        finally:
            over.set()
        counted = [one.result() for one in running]
    assert {outcome for one in counted for outcome in one} == {"200", "127.0.0.1"}


@pytest.mark.nightly
def test_a_new_edge_begins_with_the_last_good_certificate(secured: Secured) -> None:
    """Where the files have become wrong meanwhile, and the actor and its HAProxy die."""
    engine = secured.engine
    files = secured.authority.issue("four")
    until(lambda: name_at(engine.ports.http) == "four")
    files.key.write_text("nothing")
    until(lambda: "holds no private key" in engine.command("status").stderr)
    (actor,) = actor_processes(engine, "Edge")
    proxies = [one for one in engine_processes(engine) if "haproxy.cfg" in " ".join(one.cmdline())]
    for process in (actor, *proxies):
        process.kill()
    until(lambda: answers(secured))
    assert name_at(engine.ports.http) == "four"
    secured.authority.issue("five")
    until(lambda: name_at(engine.ports.http) == "five")


def engine_processes(engine: Engine) -> list[psutil.Process]:
    assert engine.state is not None
    return engine.processes(engine.state)


def answers(at: Secured) -> bool:
    with at.http() as http:
        try:
            return http.post(at.url, json=BODY).status_code == 200
        except httpx.HTTPError:
            return False


@pytest.mark.nightly
def test_a_port_of_a_graph_s_own_is_refused(secured: Secured) -> None:
    graph = spec("own", names=node("Names"))
    graph["spec"]["serving"] = {"port": 7000}
    refused = secured.given.deploy(graph, CODE)
    assert refused.returncode == 1
    assert "graphs' own ports do not" in refused.stderr


@pytest.mark.nightly
def test_an_engine_that_runs_without_tls_says_so(engine: Engine, tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("one")
    asked = engine.command(
        "up", *engine.ports.options(), "--tls-cert", files.cert, "--tls-key", files.key
    )
    assert asked.returncode == 1
    assert "runs already, with no --tls-cert" in asked.stderr
