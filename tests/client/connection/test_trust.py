"""Whom a client takes for its engine: against real servers with TLS."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from anabranch import AsyncClient, Client
from anabranch.client.client import ControlClient
from anabranch.client.connection.engine_state import EngineState, write_state
from anabranch.client.connection.trust import PinnedContext, trust
from anabranch.errors import EngineError
from tests.certificates import Authority
from tests.handlers import QuietHandler


class _Answers(QuietHandler):
    def do_GET(self) -> None:
        body = b'{"graphs": []}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """Each of its connections begins with the handshake, in the connection's own thread."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        super().__init__((host, 0), _Answers)
        self.context = context

    def finish_request(self, request: object, client_address: object) -> None:
        try:
            secured = self.context.wrap_socket(request, server_side=True)  # type: ignore[arg-type]
            super().finish_request(secured, client_address)
            secured.close()
        except OSError:
            pass  # the client has not taken it


@contextmanager
def serving(
    authority: Authority, host: str = "127.0.0.1", **options: object
) -> Iterator[tuple[str, Server, str]]:
    """A server's URL, the server, and its certificate, which is for 127.0.0.1."""
    files = authority.issue("engine", **options)  # type: ignore[arg-type]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    server = Server(context, host)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"https://{host}:{server.server_port}", server, files.cert.read_text()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path))
    (tmp_path / "token").write_text("secret")
    return tmp_path


def running(home: Path, url: str, trusted: str) -> None:
    file = home / "trusted.pem"
    file.with_suffix(".new").write_text(trusted)
    file.with_suffix(".new").rename(file)
    state = EngineState("e", url, "", "", "127.0.0.1:9", str(home), ready=True, trusted=str(file))
    write_state(home, state)


def graphs(url: str | None, ca: object = None) -> None:
    """Ask with both clients."""

    async def main() -> None:
        async with AsyncClient(url, "t", ca=ca) as client:  # type: ignore[arg-type]
            assert await client.status() == {"graphs": []}

    with Client(url, "t", ca=ca) as client:  # type: ignore[arg-type]
        assert client.status() == {"graphs": []}
    asyncio.run(main())


def test_an_authority_is_named_by_the_caller_or_a_variable(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANABRANCH_CA", raising=False)
    with serving(authority) as (url, _, _):
        with pytest.raises(
            EngineError, match=r"is not trusted .*give the file of its authority as"
        ):
            graphs(url)
        for ca in (authority.file, str(authority.file)):
            graphs(url, ca)
        graphs(url, ssl.create_default_context(cafile=authority.file))
        monkeypatch.setenv("ANABRANCH_CA", str(authority.file))
        graphs(url)


def test_a_request_without_tls_says_what_may_be_missing(authority: Authority) -> None:
    with (
        serving(authority) as (url, _, _),
        pytest.raises(EngineError, match="If it speaks TLS, its URL begins with https"),
    ):
        graphs(url.replace("https", "http"))


def test_another_name_is_not_taken(authority: Authority) -> None:
    with (
        serving(authority, "127.0.0.2") as (url, _, _),
        pytest.raises(EngineError, match=r"127\.0\.0\.2.*is not trusted"),
    ):
        graphs(url, authority.file)


@pytest.mark.parametrize("content", [None, "nothing"])
def test_a_file_without_authorities(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(EngineError, match=f"cannot read certificate authorities from {file}"):
        Client("https://engine", ca=file)
    assert trust("http://engine", file) is False


def test_the_engine_of_the_home_is_known_by_its_certificate(
    home: Path, authority: Authority
) -> None:
    """Whatever its name, and also when it has expired: or nothing here could tell of that."""
    past = {"begins": timedelta(days=-9), "ends": timedelta(days=-1)}
    for options in ({}, past):
        with serving(authority, "127.0.0.2", **options) as (url, _, certificate):
            running(home, url, certificate)
            graphs(None)
            with ControlClient.of_home(home) as control:
                assert control.graphs() == []


def test_another_certificate_of_the_same_authority_is_not_the_engine_s(
    home: Path, authority: Authority
) -> None:
    with serving(authority) as (url, _, _):
        other = authority.issue("engine", file="other").cert.read_text()
        running(home, url, other)
        with pytest.raises(EngineError, match="is not trusted"):
            graphs(None)
        graphs(None, authority.file)


def test_a_client_goes_on_when_the_certificate_is_replaced(
    home: Path, authority: Authority
) -> None:
    with serving(authority) as (url, server, first):
        running(home, url, first)
        limits = httpx.Limits(max_keepalive_connections=0)
        context = PinnedContext(home / "trusted.pem")
        with httpx.Client(verify=context, limits=limits, trust_env=False) as client:
            assert client.get(url).status_code == 200
            files = authority.issue("engine", file="second")
            server.context.load_cert_chain(files.cert, files.key)
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                client.get(url)
            running(home, url, files.cert.read_text() + first)
            assert client.get(url).status_code == 200


def test_a_certificate_that_is_missing(home: Path) -> None:
    running(home, "https://127.0.0.1:9", "")
    shutil.rmtree(home / "trusted.pem", ignore_errors=True)
    context = PinnedContext(home / "gone.pem")
    with pytest.raises(EngineError, match=r"the engine's certificate .*gone\.pem"):
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
