"""A private engine for the benchmarks of single features, used as a user does: by commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml

from anabranch.client.connection.engine_state import read_state
from anabranch.control.engine import processes
from anabranch.names import slashless
from benchmarks.contenders import GRAPH
from benchmarks.servers.script import HOST, free_port


@dataclass(frozen=True)
class Engine:
    """An engine that is up; ``folder`` is for what is deployed."""

    folder: Path
    port: int
    env: Mapping[str, str] = field(default_factory=dict)
    grpc_port: int = field(default_factory=free_port)
    dashboard_port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self.port}"

    def up(self) -> None:
        """Start it."""
        others = ("--grpc-port", self.grpc_port, "--dashboard-port", self.dashboard_port)
        self.command("up", "--http-port", self.port, *others)

    def down(self) -> None:
        """Stop it with all that it started."""
        self.command("down")

    def command(self, *words: object) -> None:
        """Run the command line; CalledProcessError if it does not exit 0."""
        program = Path(sys.executable).with_name("anabranch")
        subprocess.run(
            [str(word) for word in (program, *words)],
            env={**os.environ, **self.env, "ANABRANCH_HOME": str(self.folder / "home")},
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def deploy(
        self, root: Path, name: str, spec: dict[str, Any], kind: str = "InferenceGraph"
    ) -> str:
        """Deploy a graph, or a document of another kind, from the bundle in ``root``.

        Return the URL that takes requests.
        """
        head = {"apiVersion": "anabranch/v1", "kind": kind, "metadata": {"name": name}}
        path = root / f"{slashless(name)}.yaml"
        path.write_text(yaml.safe_dump({**head, "spec": spec}))
        self.command("deploy", path)
        return f"{self.url}/v2/models/{name}/infer"

    def deploy_five(self, root: Path, name: str, more: Mapping[str, Any] = {}) -> str:
        """Deploy the five-node graph, with ``more`` in its spec, from ``root``; its URL."""
        shutil.copy(GRAPH / "components.py", root)
        spec = yaml.safe_load((GRAPH / "graph.yaml").read_text())["spec"]
        return self.deploy(root, name, {**spec, **more})

    def processes(self) -> list[psutil.Process]:
        """All processes of the engine."""
        state = read_state(self.folder / "home")
        assert state is not None
        return processes.of_engine(state.id, Path(state.runtime))

    def replicas(self, name: str) -> list[psutil.Process]:
        """The processes in which a graph runs."""
        title, home = f"ray::ServeReplica:{name}", str(self.folder / "home")
        found = []
        for process in processes.running():
            with suppress(psutil.Error):
                is_own = " ".join(process.cmdline()).startswith(title)
                if is_own and process.environ().get("ANABRANCH_HOME") == home:
                    found.append(process)
        return found


def processor_seconds(process: psutil.Process) -> float:
    """Time of a processor that a process has taken so far, in seconds."""
    times = process.cpu_times()
    return times.user + times.system


class Waiting:
    """How long the busiest thread of a process waits for a processor that others have.

    ``folder`` has the threads, as Linux shows them: ``/proc/PID/task``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._before, self._began = self._threads(), time.monotonic()

    def share(self) -> float:
        """Return which share of the time that was so far; 0 where the system does not tell."""
        passed = time.monotonic() - self._began
        since = {
            name: now - self._before.get(name, np.zeros(2)) for name, now in self._threads().items()
        }
        busiest = max(since.values(), key=np.sum, default=np.zeros(2))
        return float(busiest[1] / passed)

    def _threads(self) -> dict[str, Any]:
        """The seconds that each thread has worked, and waited for a processor."""
        found = {}
        for path in self._folder.glob("*/schedstat"):
            with suppress(OSError):
                found[path.parent.name] = np.array(path.read_text().split()[:2], float) / 1e9
        return found


@contextmanager
def engine(env: Mapping[str, str] = {}) -> Iterator[Engine]:
    """Start an engine, with more in its environment, and end it with all that it started."""
    with tempfile.TemporaryDirectory(prefix="ab-", ignore_cleanup_errors=True) as name:
        one = Engine(Path(name), free_port(), env)
        try:
            one.up()
            yield one
        finally:
            one.down()
