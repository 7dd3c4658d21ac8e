"""An edge that speaks TLS, whose certificates are replaced when their files change."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from socket import create_connection

from cryptography.x509 import load_pem_x509_certificate

from anabranch.serve.edge.configuration import STATS_SOCKET
from anabranch.serve.edge.runtime_api import RuntimeApi
from anabranch.serve.edge.tls.certificates import TlsFiles, load
from anabranch.serve.edge.tls.in_force import CLIENT_CA, InForce
from anabranch.serve.edge.tls.renewal import Renewal
from tests.certificates import Authority
from tests.serve.edge.servers import OPTIONS, Site, edge
from tests.waiting import eventually


@dataclass(frozen=True)
class Secured:
    site: Site
    authority: Authority
    files: TlsFiles
    in_force: InForce

    @property
    def ports(self) -> tuple[int, int]:
        return self.site.port, self.site.grpc

    async def until_taken(self) -> None:
        """Wait until HAProxy has what is in the files: copies are made before the last step."""
        new = load(self.files)
        api = RuntimeApi(self.site.folder / STATS_SOCKET)

        async def taken() -> bool:
            # First: what is copied by then was loaded before, and under way until it is in force.
            is_copied = not self.in_force.verifies or (
                (self.in_force.folder / CLIENT_CA).read_text() == new.client_ca
            )
            found = await api.ask(
                "show ssl cert tls/server.pem", "show ssl cert", "show ssl ca-file"
            )
            # While HAProxy takes one, it shows none; and one under way has a line of its own.
            settled = all(text.startswith("#") and "\n*" not in text for text in found[1:])
            return is_copied and _serial(new.server) in found[0] and settled

        await eventually(taken)

    def talk(
        self, context: ssl.SSLContext, session: ssl.SSLSession | None
    ) -> tuple[ssl.SSLSession | None, bool]:
        """Ask over HTTP in a session, or a new one; the session, and whether it was resumed."""
        with (
            create_connection(("127.0.0.1", self.site.port), 20) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as tls,
        ):
            tls.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            if not tls.recv(1000):
                raise EOFError
            return tls.session, bool(tls.session_reused)


@asynccontextmanager
async def secured(folder: Path, client_ca: Authority | None = None) -> AsyncIterator[Secured]:
    """An edge with a certificate of an authority of its own, whose common name is ``one``."""
    authority = Authority(folder)
    files = authority.issue("one")
    if client_ca is not None:
        files = replace(files, client_ca=shutil.copy(client_ca.file, folder / "client-ca.pem"))
    in_force = InForce(folder / "in-force", verifies=client_ca is not None)
    in_force.install(load(files))
    async with edge(replace(OPTIONS, tls=in_force)) as site:
        renewal = Renewal(files, in_force, RuntimeApi(site.folder / STATS_SOCKET))
        running = asyncio.create_task(renewal.run())
        try:
            yield Secured(site, authority, files, in_force)
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            in_force.remove()


def _serial(pem: str) -> str:
    return f"{load_pem_x509_certificate(pem.encode()).serial_number:X}"
