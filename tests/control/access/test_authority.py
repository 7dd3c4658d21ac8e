"""The certificates of an engine's nodes: who takes them, and who does not."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest

from anabranch.control.access import authority
from anabranch.router.between_nodes import NAME, NODE_TLS, client_tls, server_tls
from tests.certificates import Authority


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with certificates, which this process has."""
    home = tmp_path / "home"
    home.mkdir()
    authority.make_certificates(home)
    use(home, monkeypatch)
    return home


def use(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in authority.certificates_environment(home).items():
        monkeypatch.setenv(name, value)


def talk(server: ssl.SSLContext, client: ssl.SSLContext, name: str = NAME) -> bytes:
    """Return what a client hears of a server to which it has said a word; ssl.SSLError if none."""
    ours, theirs = socket.socketpair()
    failures: list[Exception] = []

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as secured:
                secured.sendall(secured.recv(100).upper())
        except OSError as error:
            failures.append(error)
        finally:
            theirs.close()

    serving = threading.Thread(target=serve)
    serving.start()
    try:
        with ours, client.wrap_socket(ours, server_hostname=name) as secured:
            secured.sendall(b"word")
            heard = secured.recv(100)
    finally:
        serving.join()
    if failures:
        raise failures[0]
    return heard


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server, client = server_tls(), client_tls()
    assert server is not None
    assert client is not None
    return server, client


def test_nodes_of_an_engine_know_each_other(made: Path) -> None:
    assert talk(*contexts()) == b"WORD"


def test_certificates_hold_where_python_is_strict(made: Path) -> None:
    """``ssl.create_default_context`` of Python 3.13 is."""
    server, client = contexts()
    server.verify_flags |= ssl.VERIFY_X509_STRICT
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    assert talk(server, client) == b"WORD"


def test_a_machine_that_joins_gets_all_that_it_needs_in_files_that_are_its_owners_alone(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _ = contexts()
    other = tmp_path / "other"
    other.mkdir()
    authority.write_certificates(other, authority.cluster_certificates(made))
    use(other, monkeypatch)
    _, client = contexts()
    assert talk(server, client) == b"WORD"
    folder = other / authority.FOLDER
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    authority.remove_certificates(other)
    assert not folder.exists()


def test_another_engine_is_refused_by_both_ends(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, client = contexts()
    other = tmp_path / "other"
    other.mkdir()
    authority.make_certificates(other)
    use(other, monkeypatch)
    foreign_server, foreign_client = contexts()
    with pytest.raises(ssl.SSLError):
        talk(server, foreign_client)
    with pytest.raises(ssl.SSLError):
        talk(foreign_server, client)


def test_a_client_without_a_certificate_or_with_an_old_protocol_is_refused(
    made: Path, tmp_path: Path
) -> None:
    server, _ = contexts()
    trusted = made / authority.FOLDER / "authority.pem"
    nobody = ssl.create_default_context(cafile=str(trusted))
    with pytest.raises(ssl.SSLError):
        talk(server, nobody)
    old = ssl.create_default_context(cafile=str(trusted))
    old.load_cert_chain(made / authority.FOLDER / "node.pem")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        talk(server, old)
    files = Authority(tmp_path).issue(NAME)
    stranger = ssl.create_default_context(cafile=str(trusted))
    stranger.load_cert_chain(files.cert, files.key)
    with pytest.raises(ssl.SSLError):
        talk(server, stranger)


def test_a_server_of_another_name_is_not_taken_for_a_node(made: Path) -> None:
    with pytest.raises(ssl.SSLError):
        talk(*contexts(), name="elsewhere.anabranch")


def test_the_authority_signs_nothing_further(made: Path) -> None:
    kept = authority.cluster_certificates(made)
    assert sorted(kept) == ["authority.pem", "node.pem"]
    assert b"PRIVATE" not in kept["authority.pem"]
    assert kept["node.pem"].count(b"PRIVATE KEY-----\n") == 2


def test_an_engine_on_loopback_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NODE_TLS, raising=False)
    assert authority.cluster_certificates(tmp_path) == {}
    assert server_tls() is None
    assert client_tls() is None
