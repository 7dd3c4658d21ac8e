"""One real engine for the session, and the words in which the end-to-end tests are written.

``given`` makes bundles and deploys them, ``load`` keeps clients asking while something happens.
Each test names its own graphs, and what it deployed is deleted after it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
import threading
import time
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import (
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from anabranch.errors import NotFound
from anabranch.names import slashless
from benchmarks.moody import Moody, moody
from tests.control import web
from tests.control.web import Web
from tests.engines import BODY, Engine
from tests.ports import free_ports
from tests.redis_server import RedisServer
from tests.telemetry.collector import Collector, collecting
from tests.waiting import until

MOST_REQUESTS = 50_000
LONGEST_LOAD_S = 180.0
PAUSE_S = 0.01
"""Time between an answer and the next request of a client of a load."""
PATIENCE_S = 60.0
"""Longest time that a client of a load waits for an answer."""


@pytest.fixture(scope="session")
def outside() -> Iterator[Web]:
    """A server that the engine may call: its Prometheus, webhooks and gates."""
    with web.running() as server:
        yield server


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """An OpenTelemetry collector, to which the engine exports what a client has it trace."""
    with collecting() as one:
        yield one


@pytest.fixture(scope="session")
def sink() -> Iterator[Moody]:
    """A sink of logged requests that is well, or not."""
    with moody() as one:
        yield one


@pytest.fixture(scope="session")
def mlflow_url() -> str:
    """Where the engine looks for MLflow's tracking server, which only its tests start."""
    return f"http://127.0.0.1:{free_ports(1)[0]}"


@pytest.fixture(scope="session")
def cache_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The Redis of the engine's caches, which only their tests start."""
    server = RedisServer(tmp_path_factory.mktemp("redis"), free_ports(1)[0])
    yield server
    if server.process is not None and server.process.poll() is None:
        server.kill()


@pytest.fixture(scope="session")
def engine(
    outside: Web, mlflow_url: str, collector: Collector, sink: Moody, cache_redis: RedisServer
) -> Iterator[Engine]:
    """In a folder that anybody may enter, so that the home's own mode is what protects it."""
    env = {
        "ANABRANCH_WEBHOOKS": f"{outside.url}/",
        "ANABRANCH_REQUEST_LOGS": f"{outside.url}/logs,{sink.url}/",
        "ANABRANCH_PROMETHEUS": outside.url,
        "ANABRANCH_PROTOCOLS": "json,v1",
        "ANABRANCH_JOBS": tempfile.gettempdir(),
        "MLFLOW_TRACKING_URI": mlflow_url,
        "ANABRANCH_CACHE_URL": cache_redis.url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.grpc_url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        # Replaced revisions of one test must not compete with the next.
        "ANABRANCH_GRACE": "30",
        # Half of Ray's; gauges that are not shown again within two of them are dropped.
        "RAY_metrics_report_interval_ms": "5000",
    }
    with tempfile.TemporaryDirectory(prefix="anabranch-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        one = Engine(Path(folder) / "home", env)
        try:
            one.up()
            yield one
        finally:
            one.down()


def spec(name: str, **nodes: Any) -> dict[str, Any]:
    """A graph over the input ``x`` whose last node is its output ``y``."""
    last = list(nodes)[-1]
    return {
        "apiVersion": "anabranch/v1",
        "kind": "InferenceGraph",
        "metadata": {"name": name},
        "spec": {
            "inputs": {"x": {"datatype": "FP32", "shape": [-1, 2]}},
            "nodes": nodes,
            "outputs": {"y": last},
        },
    }


def node(component: str, source: str = "x", **fields: Any) -> dict[str, Any]:
    """A transformer of the bundle's ``components.py``."""
    return {
        "type": "transformer",
        "component": f"components.py:{component}",
        "inputs": {"x": source},
        **fields,
    }


@dataclass
class Given:
    """What a test starts from."""

    engine: Engine
    folder: Path
    made: list[str] = field(default_factory=list)

    def bundle(
        self, graph: Mapping[str, Any], code: str = "", files: Mapping[str, str] | None = None
    ) -> Path:
        """Write a bundle; the spec's path."""
        root = self.folder / f"{slashless(graph['metadata']['name'])}-{time.monotonic_ns()}"
        root.mkdir()
        for name, text in {"components.py": code, **(files or {})}.items():
            (root / name).write_text(text)
        path = root / "graph.yaml"
        path.write_text(json.dumps(graph))
        return path

    def deployed(
        self, graph: Mapping[str, Any], code: str = "", files: Mapping[str, str] | None = None
    ) -> str:
        """Deploy a bundle and wait until it is live; the graph's name."""
        done = self.deploy(graph, code, files)
        assert done.returncode == 0, done.stderr
        return str(graph["metadata"]["name"])

    def deploy(
        self,
        graph: Mapping[str, Any],
        code: str = "",
        files: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Run ``anabranch deploy`` on a bundle."""
        name = str(graph["metadata"]["name"])
        return self.deploy_file(name, self.bundle(graph, code, files), options)

    def deploy_file(
        self, name: str, path: Path, options: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run ``anabranch deploy`` on a spec, which makes a revision in any case.

        Nothing of deleted graphs is left when it returns.
        """
        self.made.append(name)
        self.engine.leaving.discard(name)
        result = self.engine.command("deploy", str(path), "--force", "--timeout", "100s", *options)
        self.engine.until_left()
        return result

    def beside(self, graph: Mapping[str, Any], code: str, *options: str) -> None:
        """Deploy a further revision, as a canary or a mirror or in a rollout."""
        done = self.deploy(graph, code, options=options)
        assert done.returncode == 0, done.stderr

    def settled(self, name: str, inlined: int) -> None:
        """Wait until the routers carry a revision."""
        deadline = time.monotonic() + 60
        while (found := self.engine.graph(name))["inlined"] != inlined:
            assert time.monotonic() < deadline, found
            time.sleep(0.1)

    def until_logged(self, name: str, text: str) -> None:
        """Wait until a graph has logged something."""
        deadline = time.monotonic() + 60
        while text not in (found := self.engine.command("logs", name).stdout):
            assert time.monotonic() < deadline, found
            time.sleep(0.2)

    def delete_all(self) -> None:
        """Ask for what was deployed to go; the next deployment waits for its replicas to end."""
        with self.engine.control() as control:
            for name in reversed(dict.fromkeys(self.made)):  # users of models before these
                with suppress(NotFound):
                    control.delete(name)
                    self.engine.leaving.add(name)


@pytest.fixture
def given(engine: Engine, tmp_path: Path) -> Iterator[Given]:
    one = Given(engine, tmp_path)
    yield one
    one.delete_all()


@pytest.fixture(scope="module")
def given_once(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Given]:
    """What all tests of a module start from."""
    one = Given(engine, tmp_path_factory.mktemp("bundles"))
    yield one
    one.delete_all()


class Answered(NamedTuple):
    """A good answer: when it was asked for and came, on the monotonic clock, and whose it is."""

    asked: float
    came: float
    revision: str


@dataclass
class Load:
    """Clients that ask again and again, ``most`` times at most.

    ``outcomes`` counts statuses and errors by name.

    By hand, and with a pause that a client library would compute in: the engine answers as many
    requests as it would otherwise, and has the processors for them and for what else a test does.
    """

    url: str
    body: Any
    clients: int
    seconds: float = LONGEST_LOAD_S
    most: int = MOST_REQUESTS
    outcomes: Counter[str] = field(default_factory=Counter)
    failed_again: int = 0
    """Requests that failed, of clients whose last one had failed: asking again did not help."""
    answers: Counter[str] = field(default_factory=Counter)
    timeline: list[Answered] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def total(self) -> int:
        return sum(self.outcomes.values())

    @property
    def failures(self) -> dict[str, int]:
        return {name: count for name, count in self.outcomes.items() if name != "200"}

    def run(self) -> None:
        asyncio.run(self._all())

    def stop(self) -> None:
        self._stop.set()

    def until(self, happened: Callable[[], bool]) -> None:
        """Keep asking until something has happened."""
        until(happened, self.seconds)

    def until_asked(self, count: int) -> None:
        """Keep asking until ``count`` more requests were answered, or as many as there may be."""
        goal = min(self.total + count, self.most)
        self.until(lambda: self.total >= goal)

    async def _all(self) -> None:
        await asyncio.gather(*(self._one() for _ in range(self.clients)))

    async def _one(self) -> None:
        ends = time.monotonic() + self.seconds
        client, failed = _Client(self.url, self.body), False
        while not self._stop.is_set() and time.monotonic() < ends and self.total < self.most:
            asked = time.monotonic()
            try:
                reply = await client.ask()
                outcome = str(reply.status_code)
                self.answers[reply.text] += 1
                if reply.status_code == 200:
                    revision = str(reply.json()["model_version"])
                    self.timeline.append(Answered(asked, time.monotonic(), revision))
            except (OSError, EOFError) as error:
                outcome = f"{type(error).__name__}: {error}"
            self.outcomes[outcome] += 1
            failed, before = outcome != "200", failed
            self.failed_again += failed and before
            await asyncio.sleep(PAUSE_S)
        await client.close()


class _Client:
    """A connection that stays open, and another one where it was closed."""

    def __init__(self, url: str, body: Any) -> None:
        self._at = httpx.URL(url)
        self._message = _message(self._at, {}, json.dumps(body).encode())
        self._connection: tuple[StreamReader, StreamWriter] | None = None

    async def ask(self) -> Reply:
        """Raise OSError, TimeoutError too, or EOFError where there is no answer."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                reply = await self._answer()
        except BaseException:
            await self.close()
            raise
        if reply.headers.get("connection") == "close":
            await self.close()
        return reply

    async def _answer(self) -> Reply:
        if self._connection is not None:
            reader, _ = self._connection
            if reader.at_eof() or reader.exception() is not None:
                await self.close()
        if self._connection is None:
            self._connection = await asyncio.open_connection(self._at.host, self._at.port)
        reader, writer = self._connection
        writer.write(self._message)
        return await _reply(reader)

    async def close(self) -> None:
        if self._connection is not None:
            _, writer = self._connection
            self._connection = None
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


@pytest.fixture
def load(engine: Engine) -> Callable[..., Any]:
    @contextmanager
    def running(
        name: str,
        body: Any = BODY,
        clients: int = 8,
        seconds: float = LONGEST_LOAD_S,
        most: int = MOST_REQUESTS,
    ) -> Iterator[Load]:
        one = Load(f"{engine.graph_url(name)}/infer", body, clients, seconds, most)
        thread = threading.Thread(target=one.run, name="load")
        thread.start()
        try:
            one.until_asked(clients)
            yield one
        finally:
            one.stop()
            thread.join()

    return running


@dataclass
class Reply:
    """A reply as ``ask_each`` reads it; as much of an ``httpx.Response`` as the tests use."""

    status_code: int
    headers: dict[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        return json.loads(self.content)


def ask_each(
    url: str, headers: Sequence[Mapping[str, str]], clients: int = 16, patient: bool = False
) -> list[Reply]:
    """Send one request with each of the headers; the replies, in order.

    By hand over a few connections that stay open: a client library takes longer than the server.
    ``patient`` asks again where a connection ends without an answer, as it may when a router dies.
    """
    at = httpx.URL(url)
    body = json.dumps(BODY).encode()
    left = iter(enumerate(headers))
    found: list[Reply | None] = [None] * len(headers)

    async def one() -> None:
        async with AsyncExitStack() as stack:
            reader, writer = await stack.enter_async_context(_connected(at))
            for index, extra in left:
                while found[index] is None:
                    closed = False
                    writer.write(_message(at, extra, body))
                    try:
                        found[index] = reply = await _reply(reader)
                        closed = reply.headers.get("connection") == "close"
                    except (asyncio.IncompleteReadError, ConnectionError):
                        if not patient:
                            raise
                        closed = True
                    if closed:
                        await stack.aclose()
                        reader, writer = await stack.enter_async_context(_connected(at))

    async def run() -> None:
        async with asyncio.timeout(LONGEST_LOAD_S):
            await asyncio.gather(*(one() for _ in range(clients)))

    asyncio.run(run())
    return [reply for reply in found if reply is not None]


def _message(at: httpx.URL, extra: Mapping[str, str], body: bytes) -> bytes:
    """A request over a connection that stays open."""
    lines = [f"POST {at.path} HTTP/1.1", f"host: {at.host}"]
    lines += [f"{name}: {text}" for name, text in extra.items()]
    lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def _connected(at: httpx.URL) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    reader, writer = await asyncio.open_connection(at.host, at.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _reply(reader: StreamReader) -> Reply:
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): text.strip() for name, _, text in pairs}
    content = await reader.readexactly(int(headers["content-length"]))
    return Reply(int(status.split()[1]), headers, content)


def value(reply: httpx.Response | Reply, output: str = "y") -> list[float]:
    """The data of one output of a good reply."""
    assert reply.status_code == 200, reply.text
    return next(item["data"] for item in reply.json()["outputs"] if item["name"] == output)


def error(reply: httpx.Response | Reply, status: int) -> str:
    """The message of a reply that must be an error of that status."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"]
    assert len(reply.content) <= 2048
    text: str = reply.json()["error"]
    assert "Traceback" not in text
    return text
