"""Copies of what the edge uses at the moment, in the engine's home.

HAProxy reads them whenever it starts, so it starts also while the files that ``anabranch up`` was
given are missing or wrong. Clients on this machine know the engine by its certificate itself.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from anabranch.files import disk_errors, replace_file
from anabranch.serve.edge.tls.certificates import SOON, Certificates, each_of, end_of, moment

LINK = "tls"
"""Name in HAProxy's folder of a link to the folder of the copies."""
SERVER, CLIENT_CA = "server.pem", "client-ca.pem"
"""Names of the chain with its key, and of the clients' authorities."""
_KEY = "-----BEGIN PRIVATE KEY-----"
"""Beginning of the key in the file of the chain; see ``load``."""
TRUSTED, PROBLEM = "trusted.pem", "problem"


@dataclass(frozen=True)
class InForce:
    """The folder, which is its owner's alone; ``verifies`` tells whether it has a client CA."""

    folder: Path
    verifies: bool

    @property
    def trusted(self) -> Path:
        """File with the certificate in force and the one before it, for clients of this machine."""
        return self.folder / TRUSTED

    def install(self, certificates: Certificates) -> None:
        """Take over a chain, its key and a client CA; StorageError where the disk takes none."""
        with disk_errors(self.folder):
            self.folder.mkdir(mode=0o700, exist_ok=True)
        server = certificates.server
        before = [one for one in each_of(_text(self.trusted)) if one != server]
        # First, so that no client meets a certificate that it does not know.
        replace_file(self.trusted, "".join([server, *before[:1]]))
        if self.verifies:
            replace_file(self.folder / CLIENT_CA, certificates.client_ca)
        replace_file(self.folder / SERVER, certificates.chain + certificates.key)

    def certificates(self) -> Certificates:
        """Return what is in force; OSError where nothing was installed."""
        pem = (self.folder / SERVER).read_text()
        chain, mark, key = pem.partition(_KEY)
        client_ca = (self.folder / CLIENT_CA).read_text() if self.verifies else ""
        return Certificates(chain, mark + key, client_ca, end_of(chain))

    def remove(self) -> None:
        """Remove all copies, if there are any."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def note(self, problem: str) -> None:
        """Keep why the files cannot take the place of the copies; empty if they have."""
        if problem != self.problem:
            replace_file(self.folder / PROBLEM, problem, durable=False)

    @property
    def problem(self) -> str:
        """What was noted last."""
        return _text(self.folder / PROBLEM)

    def ends(self) -> datetime:
        """Return when the certificate in force ends."""
        return end_of(_text(self.trusted))

    def warnings(self, now: datetime | None = None) -> Iterator[str]:
        """Yield what to do something about: an end that is near, files that are not taken."""
        if not self.trusted.exists():
            yield f"{self.trusted} is missing: commands of this machine do not know the engine"
            return
        ends, now = self.ends(), now or datetime.now(UTC)
        if now >= ends:
            yield f"the certificate of the edge expired on {moment(ends)}"
        elif now > ends - SOON:
            yield f"the certificate of the edge ends on {moment(ends)}, in {_left(now, ends)}"
        if problem := self.problem:
            yield f"the edge keeps its certificate, for the new files are not taken: {problem}"


def in_force_at(home: Path, verifies: bool) -> InForce:
    """Return the copies in the home of an engine, or of a machine that has joined it."""
    return InForce(home / "tls", verifies)


def _text(path: Path) -> str:
    """Return what a file says; nothing where there is none."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _left(now: datetime, ends: datetime) -> str:
    days = (ends - now).days
    return f"{days} days" if days > 1 else f"{(ends - now).total_seconds() / 3600:.0f} hours"
