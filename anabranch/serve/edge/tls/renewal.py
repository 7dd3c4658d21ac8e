"""Puts new certificates in force as soon as their files have changed.

The files are compared by content: some are replaced by links, some keep their time. They count once
they have been the same at two looks, for a certificate and its key are not written in one step.
HAProxy takes a new chain with its key at once or not at all, and no connection ends.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from contextlib import suppress

from anabranch.errors import EngineError
from anabranch.serve.edge.runtime_api import FileKind, RuntimeApi
from anabranch.serve.edge.tls.certificates import Certificates, TlsFiles, load
from anabranch.serve.edge.tls.in_force import CLIENT_CA, LINK, SERVER, InForce

LOOK_S = 0.5
"""Time between two looks at the files, in seconds."""

logger = logging.getLogger("anabranch.serve")


class Renewal:
    """Watches ``files``, whose copies are ``in_force`` in the HAProxy that ``api`` reaches."""

    def __init__(self, files: TlsFiles, in_force: InForce, api: RuntimeApi) -> None:
        self._files, self._in_force, self._api = files, in_force, api
        self._seen = self._taken = b""
        """Digests of the files at the last look, and of those that are in force."""

    async def begin(self) -> None:
        """Do nothing: whoever starts the engine has made the copies that HAProxy reads."""

    async def run(self) -> None:
        """Look at the files, again and again, for ever."""
        while True:
            try:
                await self._look()
            except Exception:
                logger.exception("cannot look at the edge's certificate")
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        seen = await asyncio.to_thread(_digest, self._files)
        if seen != self._seen or seen == self._taken:
            self._seen = seen
            return
        self._taken = b""
        try:
            new = await asyncio.to_thread(load, self._files)
            await put_in_force(new, self._in_force, self._api)
            problem, self._taken = "", seen
        except EngineError as error:
            problem = str(error)
        await self._tell(problem)

    async def _tell(self, problem: str) -> None:
        """Tell a problem in the log and to those who examine the engine, once."""
        try:
            if problem == await asyncio.to_thread(lambda: self._in_force.problem):
                return
            await asyncio.to_thread(self._in_force.note, problem)
        except EngineError as error:
            logger.error("%s", error)
        if problem:
            logger.error("the edge keeps its certificate: %s", problem)
        else:
            logger.warning("the edge takes its certificate from %s again", self._files.cert)


async def put_in_force(new: Certificates, in_force: InForce, api: RuntimeApi) -> None:
    """Have HAProxy judge new certificates, keep copies of them, and put them in force.

    EngineError where HAProxy does not take them: then all stays as it was.
    """
    files: dict[str, tuple[FileKind, str]] = {SERVER: ("cert", new.chain + new.key)}
    if in_force.verifies:
        files[CLIENT_CA] = ("ca-file", new.client_ca)
    named = {f"{LINK}/{name}": content for name, content in files.items()}
    try:
        for name, (kind, content) in named.items():
            await api.load(kind, name, content)
        await asyncio.to_thread(in_force.install, new)
    except EngineError:
        with suppress(EngineError):
            for name, (kind, _) in named.items():
                await api.drop(kind, name)
        raise
    for name, (kind, _) in named.items():
        await api.commit(kind, name)


def _digest(files: TlsFiles) -> bytes:
    """Return a digest of the files, or why they cannot be read."""
    digest = hashlib.sha256()
    try:
        contents = files.contents()
    except EngineError as error:
        return str(error).encode()
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return digest.digest()
