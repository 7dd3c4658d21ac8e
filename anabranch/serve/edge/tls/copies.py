"""Certificates of an edge on another machine than the head's: those that are in force there."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from anabranch.router.following import Follower
from anabranch.serve.edge.runtime_api import RuntimeApi
from anabranch.serve.edge.tls.certificates import Certificates
from anabranch.serve.edge.tls.in_force import InForce
from anabranch.serve.edge.tls.renewal import put_in_force


@dataclass(frozen=True)
class VersionedCertificates:
    """Certificates, and a number that is theirs alone and never 0."""

    version: int
    certificates: Certificates

    @classmethod
    def of(cls, found: Certificates) -> VersionedCertificates:
        """Number certificates by their content."""
        text = "\0".join((found.chain, found.key, found.client_ca))
        digest = hashlib.blake2b(text.encode(), digest_size=7).digest()
        return cls(1 + int.from_bytes(digest, "big"), found)


class CertificateCopies:
    """Keeps copies of what ``poll`` says, a long poll as ``Follower`` asks.

    ``api`` reaches the HAProxy whose certificates are ``in_force``.
    """

    def __init__(
        self,
        poll: Callable[[int], Awaitable[VersionedCertificates]],
        in_force: InForce,
        api: RuntimeApi,
    ) -> None:
        self._poll, self._in_force, self._api = poll, in_force, api

    async def begin(self) -> None:
        """Install the copies that HAProxy reads at its start; raises as ``poll`` does, and
        StorageError where the disk takes no files.
        """
        found = await self._poll(0)
        await asyncio.to_thread(self._in_force.install, found.certificates)

    async def run(self) -> None:
        """Have HAProxy take each version, for ever.

        The first one too: an HAProxy that has outlived its owner may have an older one.
        """
        follower = Follower("certificates", self._poll, self._take)
        while True:
            await follower.step()

    async def _take(self, new: VersionedCertificates) -> None:
        await put_in_force(new.certificates, self._in_force, self._api)
