"""The sockets on which a process of the engine answers, near and far."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

import pytest

from anabranch.control.access.authority import certificates_environment, make_certificates
from anabranch.errors import EngineError
from anabranch.router.between_nodes import CALLED_MS, NODE_TLS
from anabranch.serve import node
from anabranch.serve.heartbeat import process_name
from anabranch.serve.sockets import FOLDER


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that the engine has not set up."""
    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.delenv(NODE_TLS, raising=False)
    monkeypatch.setattr(node, "node_host", lambda: "127.0.0.1")


def connected(address: str) -> bool:
    """Whether somebody listens there."""
    if address.startswith("unix@"):
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(address.removeprefix("unix@")) == 0
    host, _, port = address.rpartition(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


def test_an_engine_on_one_machine_has_unix_sockets_alone_of_which_no_two_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    found = [node.own_listeners(node.own_places()) for _ in range(2)]
    assert len({reach.near for _, reach in found}) == 2
    assert all(process_name() in reach.near for _, reach in found)
    for (listener, *others), reach in found:
        assert not others
        assert listener.tls is None
        assert reach.far == ""
        assert connected(reach.near)
        listener.socket.close()
        node.forget(reach)
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_may_grow_is_reached_from_other_nodes_too_with_its_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_certificates(tmp_path)
    (tmp_path / "s").mkdir()
    monkeypatch.setenv(FOLDER, str(tmp_path / "s"))
    for name, value in certificates_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    (near, far), reach = node.own_listeners(node.own_places())
    with near.socket, far.socket:
        assert connected(reach.near)
        assert connected(reach.far)
        assert near.tls is None
        assert far.tls is not None
        with closing(socket.create_connection(far.socket.getsockname())):
            accepted, _ = far.socket.accept()
            with accepted:
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                patience = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
                assert patience == CALLED_MS
    node.forget(reach)
    assert not list((tmp_path / "s").iterdir())


@pytest.mark.parametrize("named", [None, "", "/nonexistent"])
def test_a_process_without_a_folder_for_sockets_is_reached_by_a_port(
    named: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if named is not None:
        monkeypatch.setenv(FOLDER, named)
    (listener,), reach = node.own_listeners(node.own_places())
    with listener.socket:
        assert reach.near == ""
        assert connected(reach.far)
    node.forget(reach)


def test_nothing_listens_without_the_certificates_that_the_engine_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NODE_TLS, str(tmp_path))
    monkeypatch.setenv(FOLDER, str(tmp_path))
    with pytest.raises(EngineError, match=r"ANABRANCH_NODE_TLS: file .*/authority.pem cannot be"):
        node.own_places()


def test_a_port_that_is_not_to_be_had_leaves_no_socket_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    places = node.OwnPlaces(tmp_path, "203.0.113.1")
    with pytest.raises(EngineError, match=r"of 203\.0\.113\.1: Cannot assign"):
        node.own_listeners(places)
    assert not any(connected(f"unix@{path}") for path in tmp_path.iterdir())
