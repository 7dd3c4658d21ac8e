"""Versions, ciphers and protocols by which a real HAProxy speaks TLS, and what else it refuses."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import warnings
from pathlib import Path

import pytest

from anabranch.serve.edge import grpc_frontend
from anabranch.serve.edge.routes import GATEWAY
from tests.certificates import client
from tests.serve.edge.servers import Server, needs_haproxy, request, route
from tests.serve.edge.tls.sites import Secured, secured
from tests.waiting import eventually

pytestmark = needs_haproxy


def shaken(at: Secured, port: int, context: ssl.SSLContext) -> tuple[str | None, str | None, str]:
    """The version, the protocol and the cipher of a handshake."""
    with (
        socket.create_connection(("127.0.0.1", port), 60) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as tls,
    ):
        cipher = tls.cipher()
        assert cipher is not None
        return tls.version(), tls.selected_alpn_protocol(), cipher[0]


def test_versions_and_ciphers(tmp_path: Path) -> None:
    async def main() -> None:
        async with secured(tmp_path) as at:
            for port, alpn in ((at.site.port, "http/1.1"), (at.site.grpc, "h2")):
                for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                    context = client(at.authority, alpn=alpn)
                    context.minimum_version = context.maximum_version = version
                    found = await asyncio.to_thread(shaken, at, port, context)
                    assert found[:2] == (version.name.replace("_", "."), alpn)
                    assert re.search("GCM|CHACHA20", found[2])

    asyncio.run(main())


@pytest.mark.parametrize(
    ("version", "ciphers"),
    [
        (ssl.TLSVersion.TLSv1, "ALL:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256"),  # no forward secrecy
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA256"),  # no authenticated encryption
    ],
)
def test_what_is_too_old(tmp_path: Path, version: ssl.TLSVersion, ciphers: str) -> None:
    async def main() -> None:
        async with secured(tmp_path) as at:
            for port in (at.site.port, at.site.grpc):
                context = client(at.authority)
                context.set_ciphers(ciphers)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)
                    context.minimum_version = context.maximum_version = version
                with pytest.raises(ssl.SSLError, match="ALERT"):
                    await asyncio.to_thread(shaken, at, port, context)

    asyncio.run(main())


def test_other_protocols_are_not_agreed_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with secured(tmp_path) as at:
            for port, alpn in ((at.site.port, "h2"), (at.site.grpc, "http/1.1")):
                found = await asyncio.to_thread(shaken, at, port, client(at.authority, alpn=alpn))
                assert found[1] is None

    asyncio.run(main())


def test_a_request_without_tls_is_not_answered(tmp_path: Path) -> None:
    async def main() -> None:
        async with secured(tmp_path) as at, Server(at.site.folder, "gw") as gateway:
            await at.site.proxy.apply({GATEWAY: route(gateway)})
            for port in (at.site.port, at.site.grpc):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(request("/v2"))
                assert await reader.read() == b""
                writer.close()
            assert gateway.seen == []

    asyncio.run(main())


def test_a_handshake_that_never_comes_is_not_awaited_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_frontend, "HANDSHAKE_S", 1)

    async def main() -> None:
        async with secured(tmp_path) as at:
            for data in (b"", b"\x16"):
                reader, writer = await asyncio.open_connection("127.0.0.1", at.site.grpc)
                writer.write(data)
                async with asyncio.timeout(60):
                    assert await reader.read() == b""
                writer.close()

    asyncio.run(main())


def test_haproxy_that_dies_speaks_tls_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with secured(tmp_path) as at:
            at.site.proxy._process.kill()

            async def speaks() -> bool:
                try:
                    await asyncio.to_thread(shaken, at, at.site.port, client(at.authority))
                except OSError:
                    return False
                return True

            await eventually(speaks)

    asyncio.run(main())
