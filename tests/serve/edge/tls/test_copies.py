"""Certificates that another machine has in force, in a real HAProxy on this one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from anabranch.errors import Unavailable
from anabranch.serve.edge.configuration import STATS_SOCKET
from anabranch.serve.edge.runtime_api import RuntimeApi
from anabranch.serve.edge.tls.certificates import Certificates, load
from anabranch.serve.edge.tls.copies import CertificateCopies, VersionedCertificates
from anabranch.serve.edge.tls.in_force import InForce
from tests.certificates import Authority, name_at
from tests.serve.edge.servers import OPTIONS, edge, needs_haproxy
from tests.waiting import eventually

pytestmark = needs_haproxy


class Elsewhere:
    """The other machine: answers each poll with what it has."""

    def __init__(self, found: Certificates) -> None:
        self.found = found
        self.is_away = False

    async def poll(self, held: int) -> VersionedCertificates:
        await asyncio.sleep(0.01)
        if self.is_away:
            raise Unavailable("the controller is restarting")
        return VersionedCertificates.of(self.found)


def test_what_is_in_force_elsewhere_is_in_force_here(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    there = Elsewhere(load(authority.issue("one")))
    here = InForce(tmp_path / "here", verifies=False)

    async def main() -> None:
        await CertificateCopies(there.poll, here, RuntimeApi(tmp_path / "none")).begin()
        assert here.certificates() == there.found
        async with edge(replace(OPTIONS, tls=here)) as site:
            assert await asyncio.to_thread(name_at, site.port) == "one"
            # An HAProxy that has outlived its owner may have an older one than the next that comes
            there.found = load(authority.issue("two"))
            copies = CertificateCopies(there.poll, here, RuntimeApi(site.folder / STATS_SOCKET))
            running = asyncio.create_task(copies.run())

            async def named(name: str) -> bool:
                return await asyncio.to_thread(name_at, site.port) == name

            await eventually(lambda: named("two"))
            there.found, there.is_away = load(authority.issue("three")), True
            assert await named("two")
            there.is_away = False
            await eventually(lambda: named("three"))
            assert here.certificates() == there.found
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    asyncio.run(main())


def test_versions_tell_certificates_apart(tmp_path: Path) -> None:
    one = load(Authority(tmp_path).issue("one"))
    other = replace(one, client_ca=one.chain)
    versions = {VersionedCertificates.of(each).version for each in (one, one, other)}
    assert len(versions) == 2 and 0 not in versions
