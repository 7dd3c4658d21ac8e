"""What unmodified clients are told when HAProxy itself answers, over HTTP and gRPC."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from anabranch.serve.edge.routes import EdgeRoute
from tests.environments import environment
from tests.serve.edge.servers import Server, Site, edge, needs_haproxy, read_head, route

pytestmark = [needs_haproxy, pytest.mark.nightly]
NOBODY, ENDED, LATE = "no replica can take", "ended before it", "did not answer in time"
STATUSES = ("503", "502", "504")
CODES = ("UNAVAILABLE", "UNAVAILABLE", "DEADLINE_EXCEEDED")
OPENAI = [("InternalServerError", STATUSES)]
"""What OpenAI's client is told by transport: a class, and what the text of each error has."""
REFUSED = ("HTTPStatusError", STATUSES)
FAILED = "InferenceServerException"
PREDICTION = "SeldonClientPrediction"
OTHERS = {
    "triton_client": ("tritonclient[http,grpc]>=2.60", [(FAILED, STATUSES), (FAILED, CODES)]),
    "kserve_client": ("kserve>=0.17", [REFUSED, REFUSED, ("AioRpcError", CODES)]),
    "seldon_client": (
        "seldon-core>=1.17,<2",
        [(PREDICTION, tuple(f"code: {status}" for status in STATUSES)), (PREDICTION, CODES)],
    ),
}
"""Requirements of other clients, and what they are told."""


class Router(Server):
    """Hangs up, or waits, once it has the head of a request."""

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        if self.behaviour == "wait":
            await self.go.wait()
        raise EOFError


class Client:
    """A process of a client; ``told`` is what it is told, by transport."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def told(self) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(b"\n")
        async with asyncio.timeout(300):
            return json.loads(await self._process.stdout.readline())


@asynccontextmanager
async def running(name: str, python: Path, site: Site) -> AsyncIterator[Client]:
    script = Path(__file__).with_name("foreign_clients.py")
    addresses = (f"127.0.0.1:{port}" for port in (site.port, site.grpc))
    command = (str(python), str(script), name, *addresses)
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    try:
        yield Client(process)
    finally:
        process.kill()
        await process.wait()


async def told(name: str, python: Path) -> list[Any]:
    """What a client is told without a router, by one that ends, and by one that does not answer."""
    async with (
        edge() as site,
        Router(site.folder, "a", "hang up") as router,
        running(name, python, site) as client,
    ):
        found = [await client.told()]
        await site.proxy.apply({"a": route(router)})
        found.append(await client.told())
        router.behaviour = "wait"
        await site.proxy.apply({"a": EdgeRoute((router.address,), False, longest=0.0)})
        found.append(await client.told())
        router.go.set()
        return found


def check(found: list[Any], expected: list[tuple[str, tuple[str, ...]]]) -> None:
    for index, said in enumerate((NOBODY, ENDED, LATE)):
        for (kind, text), (cls, more) in zip(found[index], expected, strict=True):
            assert (kind, said in text, more[index] in text) == (cls, True, True), text


def test_openais_client_raises_an_exception_with_the_message() -> None:
    check(asyncio.run(told("openai_client", Path(sys.executable))), OPENAI)


@pytest.mark.parametrize("name", OTHERS)
def test_other_clients_tell_the_message(name: str, tmp_path: Path) -> None:
    requirement, expected = OTHERS[name]
    python = environment(tmp_path / "environment", requirement)
    check(asyncio.run(told(name, python)), expected)
