from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest

from anabranch.components.artefacts.http import open_source
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.peers import problem, problem_of
from anabranch.components.runtimes.open_inference.server import RemoteError, remote_model
from anabranch.errors import ArtefactError
from tests.control.web import Answer, Web, running

NAME = "models.example.com"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A server on this machine; the name service says that it is NAME too."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    real = socket.getaddrinfo

    def lookup(host: Any, *more: Any, **named: Any) -> Any:
        names = (NAME, NAME.encode())
        return real("127.0.0.1" if host in names else host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with running(lambda _: Answer(200, b"{}")) as one:
        yield one


def fetch(url: str) -> None:
    open_source(url, ArtefactSettings(Path()))


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "169.254.0.1", "fe80::1", "fd00:ec2::254", "100.100.100.200",
        "192.0.0.192", "168.63.129.16",
    ],
)  # fmt: skip
@pytest.mark.parametrize("host", [NAME, "localhost", "169.254.169.254", "127.0.0.1"])
def test_metadata_services_are_nobodys_models(address: str, host: str) -> None:
    assert f"{host} leads to {address}" in str(problem(ip_address(address), host))


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.0.1", "::1"])
def test_this_machine_must_be_named_so(address: str) -> None:
    for host in ("localhost", "127.0.0.1", "[::1]", "::1"):
        assert problem(ip_address(address), host) is None
    for host in (NAME, "10.0.0.1", "0.0.0.0", "localhost.example.com", "127.0.0.1.example.com"):
        assert "leads to this machine" in str(problem(ip_address(address), host))


def test_all_other_addresses_may_be_asked() -> None:
    for address in ("10.0.0.1", "192.168.1.1", "8.8.8.8", "2001:db8::1", "fd00::1"):
        assert problem(ip_address(address), NAME) is None


def test_addresses_in_other_clothes() -> None:
    """Without a connection, as behind a proxy, the URL tells."""
    for host in ("[::ffff:169.254.169.254]", "169.254.169.254", "[fe80::1%25eth0]"):
        response = httpx.Response(200, request=httpx.Request("GET", f"http://{host}/"))
        assert "metadata" in str(problem_of(response, host))
    response = httpx.Response(200, request=httpx.Request("GET", f"http://{NAME}/"))
    assert problem_of(response, NAME) is None


def test_a_name_that_leads_here_is_no_place_of_a_model(web: Web) -> None:
    fetch(f"{web.url}/model.onnx")
    with pytest.raises(ArtefactError, match=f"{NAME} leads to this machine"):
        fetch(f"http://{NAME}:{web.port}/model.onnx")


def test_redirects_are_looked_at_too(web: Web) -> None:
    web.answer = lambda asked: Answer(302, headers={"location": f"{web.url}/other"})
    with pytest.raises(ArtefactError, match="leads to this machine"):
        fetch(f"http://{NAME}:{web.port}/model.onnx")
    assert [one.path for one in web.asked] == ["/model.onnx"]


def test_a_proxy_on_this_machine_is_no_model_here(web: Web, monkeypatch: Any) -> None:
    monkeypatch.setenv("http_proxy", web.url)
    fetch("http://models.elsewhere.example.com/model.onnx")
    assert web.asked
    with pytest.raises(ArtefactError, match="metadata"):
        fetch("http://169.254.169.254/model.onnx")


def test_remote_models_are_looked_at_likewise(web: Web) -> None:
    async def get(url: str) -> Any:
        server = remote_model(url, "fruit")
        try:
            return await server.get("/v2")
        finally:
            await server.close()

    assert asyncio.run(get(web.url)) == {}
    with pytest.raises(RemoteError, match=f"'fruit' may not be asked: {NAME} leads to"):
        asyncio.run(get(f"http://{NAME}:{web.port}"))
