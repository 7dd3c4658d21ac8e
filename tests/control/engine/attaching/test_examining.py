"""What is checked of a Ray before an engine comes to it; the end-to-end tests have a whole one."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from anabranch.control.engine.attaching.examining import (
    require_answer,
    require_node_here,
    require_ports,
    resolved,
)
from anabranch.errors import EngineError
from tests.control.web import running
from tests.ports import free_ports


def test_auto_is_what_ray_s_own_clients_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.9:6379")
    assert resolved("auto") == "10.0.0.9:6379"


def test_an_address_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.9:6379")
    assert resolved("10.0.0.1:6380") == "10.0.0.1:6380"


@pytest.mark.parametrize(
    "address", ["nonsense", "ray://10.0.0.1:10001", "10.0.0.1:gcs", "local", "auto:x"]
)
def test_what_is_no_address_of_a_gcs_is_refused(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(EngineError, match=re.escape(repr(address))):
        resolved(address)


def test_a_port_at_which_nothing_listens_is_no_ray() -> None:
    (port,) = free_ports(1)
    with pytest.raises(EngineError, match=f"no Ray answers at 127.0.0.1:{port}: Connection ref"):
        require_answer(f"127.0.0.1:{port}")


def test_what_speaks_something_else_is_no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    with running() as web, pytest.raises(EngineError, match="is no GCS of Ray, or one that asks"):
        require_answer(web.url.removeprefix("http://"))


def test_what_speaks_grpc_is_asked_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GCS that asks for a token answers so, too."""
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    require_answer(f"127.0.0.1:{port}")
    server.stop(None).wait(10)


def test_the_machine_must_be_a_node() -> None:
    require_node_here("10.0.0.1:6379", ["192.0.2.7", "127.0.0.1"])
    said = "no node of the Ray at 10.0.0.1:6379, whose nodes are 192.0.2.1, 192.0.2.7: type"
    with pytest.raises(EngineError, match=re.escape(said)):
        require_node_here("10.0.0.1:6379", ["192.0.2.7", "192.0.2.1"])


SERVE = {
    "proxy_location": "EveryNode",
    "http_options": {"host": "0.0.0.0", "port": 8000},
    "grpc_options": {"port": 9000},
}


@pytest.mark.parametrize(
    ("option", "port", "kind"), [("--http-port", 8000, "HTTP"), ("--grpc-port", 9000, "GRPC")]
)
def test_a_port_of_serve_is_not_the_engine_s(option: str, port: int, kind: str) -> None:
    said = f"port {port} for {kind}: choose another one with {option}"
    with pytest.raises(EngineError, match=said):
        require_ports(SERVE, {"--other": 8100, option: port})


@pytest.mark.parametrize(
    "details", [{**SERVE, "proxy_location": "Disabled"}, {"proxy_location": "EveryNode"}]
)
def test_without_proxies_serve_has_no_ports(details: dict[str, Any]) -> None:
    require_ports(details, {"--http-port": 8000})
