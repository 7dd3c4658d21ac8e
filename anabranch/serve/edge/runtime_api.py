"""HAProxy's runtime API: commands and answers over its stats socket."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal, TypeAlias

from anabranch.errors import EngineError
from anabranch.serve.edge.routes import UNASKED_BACKEND, EdgeState

TIMEOUT_S = 10.0
"""Longest time for a batch of commands, in seconds."""
INFO = "show info"
_PROMPT = b"\n> "
_LONGEST_ANSWER = 2**26
_CONTINUED = re.compile(r"^(\+ )+")
"""Prompts for the lines of a command that has several."""
_FRONTENDS = ("http", "grpc")
_OF_CLIENTS = re.compile(rf"^0x.* fe=(?:{'|'.join(_FRONTENDS)}) ", re.MULTILINE)
"""A stream of a client, as ``show sess`` tells of it in a line."""
FileKind: TypeAlias = Literal["cert", "ca-file"]
"""A certificate with its key, or authorities of clients' certificates."""
_DONE = ("", "New server registered.", "Server deleted.", "Frontend was already shut down.")


class RuntimeApi:
    """Sends commands to the HAProxy behind a stats socket; EngineError where it does not answer."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def ask(self, *commands: str) -> list[str]:
        """Return the answers to commands, which run one after another."""
        async with self._conversation() as (reader, writer):
            return [await _ask(reader, writer, command) for command in commands]

    async def run(self, commands: Iterable[str]) -> None:
        """Run commands that change something; EngineError at the first that is refused."""
        async with self._conversation() as (reader, writer):
            for command in commands:
                answer = await _ask(reader, writer, command)
                if answer not in _DONE:
                    raise EngineError(f"HAProxy refused {command!r}: {answer}")

    async def pid(self) -> int:
        """Return the process that answers."""
        (text,) = await self.ask(INFO)
        return pid_of(text)

    async def state(self, map_name: str) -> EdgeState:
        """Return the entries of the map and the servers that there are."""
        entries, servers = await self.ask(f"show map {map_name}", "show servers state")
        return EdgeState(_entries(entries), _servers(servers))

    async def load(self, kind: FileKind, name: str, pem: str) -> None:
        """Have new content of a file judged; EngineError where HAProxy does not take it.

        It is in force after ``commit`` only, at once for all new connections.
        """
        (answer,) = await self.ask(f"set ssl {kind} {name} <<\n{pem}")
        if "ransaction created" not in answer and "ransaction updated" not in answer:
            raise EngineError(f"HAProxy refuses a new {name}: {answer}")

    async def commit(self, kind: FileKind, name: str) -> None:
        """Put in force what was loaded; EngineError where HAProxy does not."""
        (answer,) = await self.ask(f"commit ssl {kind} {name}")
        if not answer.endswith("Success!"):
            raise EngineError(f"HAProxy keeps its {name}: {answer}")

    async def drop(self, kind: FileKind, name: str) -> None:
        """Forget what was loaded, if anything was."""
        await self.ask(f"abort ssl {kind} {name}")

    async def break_off(self, servers: Iterable[tuple[str, str]]) -> None:
        """End the requests that these servers have, as if their connections had ended."""
        await self.ask(*(f"shutdown sessions server {'/'.join(server)}" for server in servers))

    async def stop_accepting(self) -> None:
        """Accept no further connection; those that there are close after their next answer."""
        await self.run(f"shutdown frontend {name}" for name in _FRONTENDS)

    async def under_way(self) -> int:
        """Return how many requests of clients are under way, those that are arriving among them."""
        (text,) = await self.ask("show sess")
        return len(_OF_CLIENTS.findall(text))

    async def remove(self, servers: Iterable[tuple[str, str]]) -> None:
        """Remove those of these drained servers that are idle by now."""
        await self.ask(*(one for server in servers for one in _removal("/".join(server))))

    @asynccontextmanager
    async def _conversation(
        self,
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(
                    self._path, limit=_LONGEST_ANSWER
                )
                try:
                    await _ask(reader, writer, "prompt")
                    yield reader, writer
                finally:
                    writer.close()
                    with suppress(OSError):
                        await writer.wait_closed()
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError) as error:
            reason = str(error) or type(error).__name__
            raise EngineError(f"HAProxy does not answer on {self._path}: {reason}") from error


def pid_of(info: str) -> int:
    """Return the process that has given an answer to ``INFO``."""
    found = dict(line.partition(": ")[::2] for line in info.splitlines())
    return int(found["Pid"])


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, command: str) -> str:
    writer.write(command.encode() + b"\n")
    answer = await reader.readuntil(_PROMPT)
    return _CONTINUED.sub("", answer.removesuffix(_PROMPT).decode()).strip()


def _removal(server: str) -> Iterable[str]:
    """Return the commands that remove a server that takes no requests any more.

    Its connections are closed by the change to maintenance, and only those that are idle then;
    so one that was busy at the last attempt needs the change once more.
    """
    yield f"set server {server} state drain"
    yield f"set server {server} state maint"
    yield f"del server {server}"


def _entries(text: str) -> dict[str, str]:
    """Parse the answer to ``show map``: an id, a key and a value a line."""
    rows = (line.split() for line in text.splitlines())
    return {row[1]: row[2] for row in rows if len(row) == 3}


def _servers(text: str) -> dict[tuple[str, str], bool]:
    """Parse the answer to ``show servers state``: a version, a line of names, and the servers."""
    head, *rows = (line.split() for line in text.splitlines()[1:])
    names = head[1:]
    servers = [dict(zip(names, row, strict=True)) for row in rows]
    return {
        (one["be_name"], one["srv_name"]): one["srv_admin_state"] == "0"
        for one in servers
        if one["be_name"] != UNASKED_BACKEND
    }
