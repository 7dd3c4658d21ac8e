"""A real MLflow tracking server in a process of its own, which tests kill and start again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

LOG = """
import sys
import mlflow
import numpy as np
from sklearn.linear_model import LinearRegression

x = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
for slope in map(float, sys.argv[2:]):
    model = LinearRegression().fit(x, slope * x.sum(axis=1))
    with mlflow.start_run():
        mlflow.sklearn.log_model(
            model, name="model", registered_model_name=sys.argv[1], serialization_format="skops",
            pip_requirements=[], skops_trusted_types=[],
        )
"""
_ENV = {"MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"}


def log_models(url: str, name: str, *slopes: float) -> None:
    """Register a version for each slope, from 1 on: models that give the slope times the sum."""
    done = subprocess.run(
        [sys.executable, "-c", LOG, name, *map(str, slopes)],
        env={**os.environ, **_ENV, "MLFLOW_TRACKING_URI": url},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def call(url: str, verb: str, method: str, **fields: Any) -> Any:
    """Call a method of MLflow's API."""
    sent = {"params": fields} if verb == "GET" else {"json": fields}
    reply = httpx.request(verb, f"{url}/api/2.0/mlflow/{method}", timeout=60, **sent)
    assert reply.status_code == 200, reply.text
    return reply.json()


def set_alias(url: str, name: str, version: int, alias: str = "champion") -> None:
    """Move an alias to a version."""
    fields = {"name": name, "alias": alias, "version": str(version)}
    call(url, "POST", "registered-models/alias", **fields)


def tags(url: str, name: str, version: int) -> dict[str, str]:
    """Return the engine's tags of a version, without the part of the key that all have."""
    found = call(url, "GET", "model-versions/get", name=name, version=str(version))
    listed = found["model_version"].get("tags", ())
    return {
        one["key"].removeprefix("anabranch."): one.get("value", "")
        for one in listed
        if one["key"].startswith("anabranch.")
    }


@dataclass
class TrackingProcess:
    """A tracking server at a URL, whose files are in a folder and outlive it."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        port = self.url.rpartition(":")[2]
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port,
            "--backend-store-uri", f"sqlite:///{self.folder / 'store.db'}",
            "--artifacts-destination", str(self.folder / "artifacts"), "--workers", "1",
        ]  # fmt: skip
        env = {**os.environ, **_ENV, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=env, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        self._wait()

    def kill(self) -> None:
        """End it and all its workers at once."""
        self._end(9)

    def stop(self) -> None:
        """End it, if it runs."""
        if self.process is not None:
            self._end(15)

    def _end(self, signal: int) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal)
        self.process.wait(30)
        self.process = None

    def _wait(self) -> None:
        deadline = time.monotonic() + 180
        while True:
            try:
                if httpx.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return
            except httpx.HTTPError:
                assert self.process is not None
                is_up = self.process.poll() is None and time.monotonic() < deadline
                assert is_up, (self.folder / "log").read_text()
                time.sleep(0.2)
