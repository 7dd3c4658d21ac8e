"""Certificates of a real HAProxy that are replaced, well or badly, under load and with faults."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from pathlib import Path

import pytest

from anabranch.errors import EngineError, StorageError
from anabranch.serve.edge.routes import GATEWAY
from anabranch.serve.edge.runtime_api import RuntimeApi
from anabranch.serve.edge.tls.in_force import InForce
from tests.certificates import Authority, client, name_at
from tests.serve.edge.servers import Connection, Server, needs_haproxy, route, shut
from tests.serve.edge.tls.sites import Secured, secured
from tests.waiting import eventually

pytestmark = needs_haproxy
CLIENTS = 8


async def until_named(at: Secured, name: str) -> None:
    """Wait until new connections over HTTP and over gRPC meet a certificate of that name."""

    async def named() -> bool:
        return {await asyncio.to_thread(name_at, port) for port in at.ports} == {name}

    await eventually(named)


async def until_problem(at: Secured, text: str) -> None:
    await eventually(
        lambda: text in at.in_force.problem and (bool(text) or not at.in_force.problem)
    )


async def asking(port: int, context: ssl.SSLContext, done: asyncio.Event) -> list[object]:
    """Ask on one connection for ten times, then on a new one; statuses and errors."""
    found: list[object] = []
    while not done.is_set():
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=context, server_hostname="localhost"
            )
            try:
                one = Connection(reader, writer)
                found.extend([(await one.get("/x")).status for _ in range(10)])
            finally:
                await shut(writer)
        except (OSError, EOFError) as error:
            found.append(error)
    return found


def test_no_request_fails_while_a_certificate_is_replaced(tmp_path: Path) -> None:
    async def main() -> None:
        async with secured(tmp_path) as at, Server(at.site.folder, "gw") as gateway:
            await at.site.proxy.apply({GATEWAY: route(gateway)})
            done = asyncio.Event()
            context = client(at.authority)
            loads = [
                asyncio.create_task(asking(at.site.port, context, done)) for _ in range(CLIENTS)
            ]
            for name in ("two", "three"):
                asked = len(gateway.seen)
                at.authority.issue(name)
                await until_named(at, name)

                async def more(asked: int = asked) -> bool:
                    return len(gateway.seen) > asked + 10 * CLIENTS

                await eventually(more)
            done.set()
            assert {outcome for load in loads for outcome in await load} == {200}

    asyncio.run(main())


def test_a_connection_goes_on_with_the_certificate_that_it_began_with(tmp_path: Path) -> None:
    async def main() -> None:
        async with secured(tmp_path) as at, Server(at.site.folder, "gw") as gateway:
            await at.site.proxy.apply({GATEWAY: route(gateway)})
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", at.site.port, ssl=client(at.authority), server_hostname="localhost"
            )
            assert (await Connection(reader, writer).get("/x")).status == 200
            at.authority.issue("two")
            await until_named(at, "two")
            assert (await Connection(reader, writer).get("/x")).status == 200
            await shut(writer)

    asyncio.run(main())


def test_files_that_are_wrong_leave_the_certificate_until_they_are_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with secured(tmp_path) as at:
            right = at.authority.issue("three", file="right")
            other = at.authority.issue("two", file="other")
            shutil.copy(other.cert, at.files.cert)
            await until_problem(at, "does not fit")
            assert await asyncio.to_thread(name_at, at.site.port) == "one"
            at.files.cert.unlink()
            await until_problem(at, "cannot be read")
            assert await asyncio.to_thread(name_at, at.site.port) == "one"
            for ours, theirs in ((at.files.cert, right.cert), (at.files.key, right.key)):
                shutil.copy(theirs, ours)
            await until_named(at, "three")
            await until_problem(at, "")

    asyncio.run(main())
    told = [
        record.message for record in caplog.records if "keeps its certificate" in record.message
    ]
    assert any("does not fit" in text for text in told)
    assert any("cannot be read" in text for text in told)
    assert len(told) == len(set(told))


def test_what_was_right_before_is_no_problem_any_more(tmp_path: Path) -> None:
    async def main() -> None:
        async with secured(tmp_path) as at:
            before = at.files.cert.read_bytes()
            at.files.cert.write_bytes(b"nothing")
            await until_problem(at, "no certificates")
            at.files.cert.write_bytes(before)
            await until_problem(at, "")

    asyncio.run(main())


def test_a_full_disk_leaves_all_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: InForce, certificates: object) -> None:
        raise StorageError("the home is full")

    async def main() -> None:
        async with secured(tmp_path) as at:
            with monkeypatch.context() as patch:
                patch.setattr(InForce, "install", full)
                at.authority.issue("two")
                await until_problem(at, "the home is full")
                assert await asyncio.to_thread(name_at, at.site.port) == "one"
            await until_named(at, "two")
            await until_problem(at, "")

    asyncio.run(main())


def test_haproxy_that_is_silent_is_told_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(self: RuntimeApi, kind: str, name: str) -> None:
        raise EngineError("HAProxy does not answer")

    async def main() -> None:
        async with secured(tmp_path) as at:
            with monkeypatch.context() as patch:
                patch.setattr(RuntimeApi, "commit", silent)
                at.authority.issue("two")
                await until_problem(at, "does not answer")
                assert await asyncio.to_thread(name_at, at.site.port) == "one"
                # Clients of this machine know both meanwhile.
                assert at.in_force.trusted.read_text().count("BEGIN") == 2
            await until_named(at, "two")
            await until_problem(at, "")

    asyncio.run(main())


def test_a_certificate_that_haproxy_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It judges by itself, and what it refused is in no file by which it would start."""
    monkeypatch.setattr("anabranch.serve.edge.tls.renewal.load", refusable)

    async def main() -> None:
        async with secured(tmp_path) as at:
            before = (at.in_force.folder / "server.pem").read_bytes()
            await until_problem(at, "HAProxy refuses a new tls/server.pem")
            assert (at.in_force.folder / "server.pem").read_bytes() == before
            assert await asyncio.to_thread(name_at, at.site.port) == "one"

    asyncio.run(main())


def refusable(files: object) -> object:
    """What is no certificate, though it was taken for one."""
    from dataclasses import replace

    from anabranch.serve.edge.tls.certificates import load

    return replace(load(files), chain="nothing\n")  # type: ignore[arg-type]


def test_a_new_client_ca_is_in_force_for_new_connections(tmp_path: Path) -> None:
    async def main() -> None:
        clients, others = Authority(tmp_path, "clients"), Authority(tmp_path, "others")
        async with (
            secured(tmp_path, client_ca=clients) as at,
            Server(at.site.folder, "gw") as gateway,
        ):
            await at.site.proxy.apply({GATEWAY: route(gateway)})
            ann = client(at.authority, clients.issue("ann", file="ann"))
            bob = client(at.authority, others.issue("bob", file="bob"))
            await asyncio.to_thread(at.talk, ann, None)
            assert at.files.client_ca is not None
            at.files.client_ca.write_text(others.file.read_text())
            await at.until_taken()
            await asyncio.to_thread(at.talk, bob, None)
            with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
                await asyncio.to_thread(at.talk, ann, None)

    asyncio.run(main())
