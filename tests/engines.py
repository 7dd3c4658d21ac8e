"""Engines of a home and ports of their own, driven by the command line and over HTTP."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import httpx
import psutil

from anabranch.cli import main as cli
from anabranch.client.client import ControlClient
from anabranch.client.connection.engine_state import RAY_TOKEN_FILE, EngineState, read_state
from anabranch.control.engine import processes
from anabranch.control.store.store import Store
from anabranch.control.traffic.signing_keys import SigningKeys
from anabranch.names import slashless
from anabranch.router.signing import SigningKey
from tests.actors import MARK, actor_of
from tests.ports import free_ports
from tests.waiting import until

BODY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}]}
"""A request for the graphs that ``tests.e2e.conftest.spec`` makes."""
HTTP = httpx.Client(
    timeout=60, limits=httpx.Limits(max_connections=None, max_keepalive_connections=0)
)
"""A new connection for each request, but not 20 ms each for certificates that none needs."""


class Ports(NamedTuple):
    """The ports that ``anabranch up`` is told."""

    http: int
    grpc: int
    dashboard: int

    def options(self) -> list[str]:
        named = self._asdict().items()
        return [text for name, port in named for text in (f"--{name}-port", str(port))]


def new_ports() -> Ports:
    return Ports(*free_ports(3))


@dataclass
class Engine:
    """An engine of its own home; ``env`` is added to this process's environment."""

    home: Path
    env: Mapping[str, str] = field(default_factory=dict)
    ports: Ports = field(default_factory=new_ports)
    leaving: set[str] = field(default_factory=set)
    """Graphs that were deleted, and whose replicas may still be ending."""
    options: Sequence[object] = ()
    """Further options of `anabranch up`."""

    def start(self) -> subprocess.CompletedProcess[str]:
        return self.process("up", "-o", "json", *self.ports.options(), *self.options)

    def up(self) -> None:
        done(self.start())

    def down(self) -> None:
        """Stop it; nothing of it may be left."""
        state = self.state
        told = json.loads(done(self.process("down", "-o", "json")).stdout)
        assert told["stopped"] is (state is not None)
        assert self.state is None
        if state is not None:
            assert self.processes(state) == []
            assert not Path(state.runtime).exists()

    @property
    def state(self) -> EngineState | None:
        return read_state(self.home)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.http}"

    @property
    def token(self) -> str:
        return (self.home / "token").read_text().strip()

    def signing_keys(self) -> tuple[SigningKey, ...]:
        """The keys of its signatures, from the store, which only the engine's user can read."""
        store = Store.open(f"sqlite:///{self.home / 'store.db'}")
        keys = SigningKeys(store.database)
        keys.renew()
        store.close()
        return keys.current

    def control(self) -> ControlClient:
        return ControlClient.of_home(self.home)

    def graph_url(self, name: str) -> str:
        return f"{self.url}/v2/models/{name}"

    def infer(self, name: str, body: Any = BODY, **request: Any) -> httpx.Response:
        return HTTP.post(f"{self.graph_url(name)}/infer", json=body, **request)

    def api(self, method: str, path: str, **request: Any) -> httpx.Response:
        """One call of the control API, below ``/control/v1``."""
        headers = {"authorization": f"Bearer {self.token}"}
        url = f"{self.url}/control/v1{path}"
        return HTTP.request(method, url, headers=headers, **request)

    def told(self, path: str) -> httpx.Response:
        """What the gateway says; again while a busy controller does not answer in time."""

        def answered() -> httpx.Response | None:
            reply = HTTP.get(self.url + path)
            return None if reply.status_code == 503 else reply

        reply = until(answered)
        assert reply is not None
        return reply

    def metrics(self) -> str:
        """The gateway's page of metrics."""
        reply = self.told("/metrics")
        assert reply.status_code == 200, reply.text
        return reply.text

    def dashboard(self, path: str, method: str = "GET", **request: Any) -> httpx.Response:
        """One call of the Ray dashboard, with its token."""
        token = (self.home / RAY_TOKEN_FILE).read_text().strip()
        headers = {"authorization": f"Bearer {token}"}
        url = f"http://127.0.0.1:{self.ports.dashboard}{path}"
        return HTTP.request(method, url, headers=headers, **request)

    def graph(self, name: str) -> dict[str, Any]:
        """The control API's description of a graph."""
        reply = self.api("GET", f"/graphs/{name}")
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found

    def traffic(self, name: str, routers: int = 0, **change: dict[int, float]) -> dict[str, Any]:
        """Set ``weights`` or ``mirrors``; again, until so many routers have confirmed it in time.

        The controller waits a second for them, and a busy machine may take longer.
        """
        body = {key: {str(n): share for n, share in it.items()} for key, it in change.items()}

        def confirmed() -> dict[str, Any] | None:
            reply = self.api("PUT", f"/graphs/{name}/traffic", json=body)
            assert reply.status_code == 200, reply.text
            found: dict[str, Any] = reply.json()
            return found if found["routers"]["confirmed"] >= routers else None

        found = until(confirmed)
        assert found is not None
        return found

    def process(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run the command line as a user would."""
        return subprocess.run(
            self.command_line(*arguments),
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=300,
        )

    def command(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run the command line in this process, which has imported it all already."""
        words = ["anabranch", *map(str, arguments)]
        out, err = io.TextIOWrapper(io.BytesIO()), io.TextIOWrapper(io.BytesIO())
        with (
            patch.object(sys, "argv", words),
            patch.dict(os.environ, self.environment()),
            redirect_stdout(out),
            redirect_stderr(err),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            code = _exit_code()
        texts = [_written(stream) for stream in (out, err)]
        return subprocess.CompletedProcess(words, code, *texts)

    def command_line(self, *arguments: object) -> list[str]:
        return [sys.executable, "-m", "anabranch.cli.main", *map(str, arguments)]

    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.env, "ANABRANCH_HOME": str(self.home)}

    def until_left(self) -> None:
        """Wait until the replicas of deleted graphs have ended."""
        apps = map(slashless, self.leaving)
        prefixes = [f"ServeReplica:{app}{end}" for app in apps for end in (":", ".r")]
        until(lambda: not prefixes or not actor_processes(self, *prefixes), 120)
        self.leaving.clear()

    def processes(self, state: EngineState) -> list[psutil.Process]:
        return processes.of_engine(state.id, Path(state.runtime))


def _exit_code() -> int:
    before = signal.getsignal(signal.SIGTERM)
    try:
        cli.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode()


def actor_processes(engine: Engine, *names: str) -> list[psutil.Process]:
    """Processes of an engine's actors whose names begin with any of ``names``."""
    found = []
    for process in processes.running():
        with suppress(psutil.Error):
            if not " ".join(process.cmdline()).startswith(MARK):
                continue
            is_own = process.environ().get("ANABRANCH_HOME") == str(engine.home)
            if is_own and actor_of(process).startswith(names):
                found.append(process)
    return found


def files_below(*folders: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield the files of folders in use, with their content; not those that go meanwhile."""
    for root, _, names in chain.from_iterable(map(os.walk, folders)):
        for path in (Path(root, name) for name in names):
            if path.is_file() and not path.is_symlink():
                with suppress(FileNotFoundError):
                    yield path, path.read_bytes()


def done(result: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """The result of a command that succeeded."""
    assert result.returncode == 0, result.stderr
    return result
