"""Graphs for a process of their own: written to a folder, served in a thread or by the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from anabranch.router.standalone.process import opened
from anabranch.router.standalone.revision import StandaloneRevision
from anabranch.router.standalone.server import StandaloneOptions, StandaloneServer, bound_socket
from tests.router.conftest import uvloop_running

PARTS = '''\
import threading, time
from pathlib import Path

FACTOR = 2.0


class Scale:
    def transform(self, x):
        return x * FACTOR


class Slow:
    """Says that it has begun, and waits for a file."""

    def transform(self, x):
        Path("begun").touch()
        while not Path("go").exists():
            time.sleep(0.01)
        return x


class Unwell:
    ill = False

    def transform(self, x):
        return x

    def check_health(self):
        if Path("ill").exists():
            raise RuntimeError("the pump leaks")


class Fails:
    def transform(self, x):
        raise ZeroDivisionError("by design")
'''
ONE = {"x": {"datatype": "FP32", "shape": [-1, 2]}}


def spec(component: str = "Scale", name: str = "demo", **fields: Any) -> dict[str, Any]:
    """A graph of one component of PARTS; ``fields`` stand in for those of the spec."""
    node = {"type": "transformer", "component": f"parts.py:{component}", "inputs": {"x": "x"}}
    body = {"inputs": ONE, "nodes": {"n": node}, "outputs": {"y": "n"}}
    return {
        "apiVersion": "anabranch/v1", "kind": "InferenceGraph", "metadata": {"name": name},
        "spec": {**body, **fields},
    }  # fmt: skip


def written(folder: Path, graph: Mapping[str, Any], parts: str = PARTS) -> Path:
    """The file of a graph, with its components beside it."""
    folder.mkdir(exist_ok=True)
    (folder / "parts.py").write_text(parts)
    (folder / "graph.yaml").write_text(json.dumps(graph))
    return folder / "graph.yaml"


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def ask(url: str, body: Any = None, method: str | None = None, **headers: str) -> Reply:
    """Ask over HTTP, whatever the status of the answer."""
    data = None if body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data, named, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as found:
            return Reply(found.status, dict(found.headers), found.read())
    except urllib.error.HTTPError as error:
        with error:
            return Reply(error.code, dict(error.headers), error.read())


def tensor(*rows: Sequence[float], name: str = "x", datatype: str = "FP32") -> dict[str, Any]:
    """A request with one tensor."""
    shape = [len(rows), len(rows[0])]
    data = [value for row in rows for value in row]
    return {"inputs": [{"name": name, "datatype": datatype, "shape": shape, "data": data}]}


class InThread(NamedTuple):
    """A server in a thread of this process; ``run`` waits for a coroutine on its loop."""

    server: StandaloneServer
    run: Any
    url: str
    model: str


@contextmanager
def served(file: Path, **options: Any) -> Iterator[InThread]:
    """Serve a graph in a thread; its folder is not the working folder."""
    with uvloop_running() as run:
        server = run(_started(file, StandaloneOptions(port=0, **options)))
        url = f"http://127.0.0.1:{server.port}"
        try:
            yield InThread(server, run, url, f"{url}/v2/models/{server.revision.plan.name}")
        finally:
            run(server.close())


async def _started(file: Path, options: StandaloneOptions) -> StandaloneServer:
    revision = await StandaloneRevision.load(1, opened(file))
    server = StandaloneServer(revision, options, bound_socket(options.host, 0))
    await server.start()
    return server


class Command(NamedTuple):
    """``anabranch serve`` as a process of its own, that answers."""

    process: subprocess.Popen[str]
    url: str
    model: str
    told: dict[str, Any]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def command(file: Path, *words: str, **env: str) -> Iterator[Command]:
    """Run the command until the block ends; it must come up."""
    process = begun(file, *words, "--port", "0", "-o", "json", **env)
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        told = json.loads(line)
        yield Command(process, told["http"], f"{told['http']}/v2/models/{told['graph']}", told)
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def begun(file: Path, *words: str, **env: str) -> subprocess.Popen[str]:
    """Begin the command."""
    line = [sys.executable, "-m", "anabranch.cli.main", "serve", str(file), *words]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ANABRANCH")}
    return subprocess.Popen(
        line, env=clean | env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def refused(file: Path, *words: str, **env: str) -> str:
    """What the command says that does not come up."""
    process = begun(file, *words, **env)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    return said
