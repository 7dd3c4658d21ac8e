"""Helpers: real processes and servers that answer, are silent, or are stopped."""

import os
import signal
import sys
import threading
import uuid
from concurrent import futures
from contextlib import contextmanager, suppress

import grpc
import psutil
import pytest

from anabranch.control.engine.supervision import helpers
from anabranch.control.engine.supervision.helpers import Helper, Helpers, helpers_of
from anabranch.control.settings.ray_tls import RayTls
from anabranch.errors import EngineError
from tests.certificates import Authority
from tests.control.web import Answer, running
from tests.ports import free_ports

ME = os.getpid()


def silent():
    raise ConnectionError


def answers():
    pass


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Every silent process is looked for at once."""
    monkeypatch.setattr(helpers, "_LOOK_S", 0.0)


@pytest.fixture
def child():
    """A process whose command line has a name of its own."""
    name = uuid.uuid4().hex
    process = psutil.Popen([sys.executable, "-c", "import time; time.sleep(600)", name])
    yield process, name
    with suppress(psutil.NoSuchProcess):
        process.kill()
    process.wait()


def watching(*of, engine=answers, patience=1000.0):
    return Helpers(list(of), Helper("the engine", engine, "", patience))


def test_a_silent_helper_that_runs_has_its_time(child):
    process, name = child
    watching(Helper("it", silent, name, 1000.0)).watch(ME)
    assert process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    watching(Helper("it", silent, name, 0.0)).watch(ME)
    assert process.wait(60) == -signal.SIGKILL


def test_other_processes_are_left_alone(child):
    process, name = child
    watching(Helper("it", silent, name + " of another", 0.0)).watch(ME)
    assert process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_an_engine_that_is_silent_for_long_is_a_reason_to_start_anew():
    assert "the engine has not answered" in watching(engine=silent, patience=0.0).watch(ME)
    assert watching(engine=silent).watch(ME) is None


def test_a_helper_that_answers_again_has_all_its_time(child, monkeypatch):
    monkeypatch.setattr(helpers, "_PAUSE_S", 0.01)
    monkeypatch.setattr(helpers, "_LOOK_S", 1000.0)
    asked = threading.Semaphore(0)
    found = watching(Helper("it", asked.release, child[1], 0.0))
    with found.asking():
        for _ in range(3):
            assert asked.acquire(timeout=60)
        found.watch(ME)
    assert child[0].is_running()


class Health(grpc.GenericRpcHandler):
    """A server of gRPC's health protocol that wants a token."""

    def service(self, call):
        if call.method != "/grpc.health.v1.Health/Check":
            return None
        return grpc.unary_unary_rpc_method_handler(self._check)

    def _check(self, request, context):
        if dict(context.invocation_metadata()).get("authorization") != "Bearer secret":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
        return b"\x08\x01"


@contextmanager
def health(port, tls=None):
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Health()])
    if tls is None:
        server.add_insecure_port(f"127.0.0.1:{port}")
    else:
        wanted = [(tls.key, tls.cert)], tls.authority, True
        server.add_secure_port(f"127.0.0.1:{port}", grpc.ssl_server_credentials(*wanted))
    server.start()
    try:
        yield
    finally:
        server.stop(0).wait()


def test_each_helper_is_asked_at_its_port_with_the_token(tmp_path, monkeypatch):
    monkeypatch.setattr(helpers, "_TIMEOUT_S", 60.0)
    (tmp_path / "token").write_text("secret\n")
    gcs, raylet, closed = free_ports(3)
    with running(lambda asked: Answer(404)) as web, health(gcs), health(raylet):
        ports = {
            "--port": gcs,
            "--node-manager-port": raylet,
            "--dashboard-port": web.port,
            "--dashboard-agent-listen-port": web.port,
            "--runtime-env-agent-port": closed,
        }
        options = {**{k: str(v) for k, v in ports.items()}, "--dashboard-host": "0.0.0.0"}
        found = helpers_of(options, tmp_path / "token")
        for helper in found[:-1]:
            helper.ask()
        with pytest.raises(Exception, match="refused"):
            found[-1].ask()
        assert {one.headers["authorization"] for one in web.asked} == {"Bearer secret"}


def test_where_ray_speaks_tls_it_is_asked_with_the_machine_s_certificate(tmp_path, monkeypatch):
    monkeypatch.setattr(helpers, "_TIMEOUT_S", 60.0)
    (tmp_path / "token").write_text("secret\n")
    authority = Authority(tmp_path)
    files = authority.issue("machine")
    env = {
        "RAY_USE_TLS": "1", "RAY_TLS_SERVER_CERT": str(files.cert),
        "RAY_TLS_SERVER_KEY": str(files.key), "RAY_TLS_CA_CERT": str(authority.file),
    }  # fmt: skip
    raylet = free_ports(1)[0]
    names = ("--node-manager-port", "--dashboard-agent-listen-port", "--runtime-env-agent-port")
    options = dict.fromkeys(names, str(raylet))
    with health(raylet, RayTls.from_env(env)):
        helpers_of(options, tmp_path / "token", env)[0].ask()
        monkeypatch.setattr(helpers, "_TIMEOUT_S", 1.0)
        with pytest.raises(EngineError, match=r"^DEADLINE_EXCEEDED: "):
            helpers_of(options, tmp_path / "token", {})[0].ask()


def test_only_the_head_machine_has_a_gcs_and_a_dashboard(tmp_path):
    (tmp_path / "token").write_text("secret")
    ports = ("--node-manager-port", "--dashboard-agent-listen-port", "--runtime-env-agent-port")
    found = helpers_of(dict.fromkeys(ports, "1"), tmp_path / "token")
    assert [one.name for one in found] == [
        "Ray's raylet", "Ray's dashboard agent", "Ray's runtime environment agent",
    ]  # fmt: skip


def test_a_server_that_refuses_the_token_has_not_answered(tmp_path):
    (tmp_path / "token").write_text("another\n")
    gcs = free_ports(1)[0]
    options = dict.fromkeys(
        ("--port", "--node-manager-port", "--dashboard-port", "--dashboard-agent-listen-port",
         "--runtime-env-agent-port"), str(gcs),
    )  # fmt: skip
    with health(gcs):
        found = helpers_of({**options, "--dashboard-host": "127.0.0.1"}, tmp_path / "token")
        with pytest.raises(EngineError, match=r"^UNAUTHENTICATED: no token$"):
            found[0].ask()
