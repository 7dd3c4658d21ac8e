"""A real MLflow tracking server: an alias deployed, moved, and deployed again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Given, spec, value
from tests.engines import Engine

pytestmark = pytest.mark.e2e

NAME = "registered"
LOG = """
import sys
import mlflow
import numpy as np
from sklearn.linear_model import LinearRegression

x = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
for slope in map(float, sys.argv[1:]):
    model = LinearRegression().fit(x, slope * x.sum(axis=1))
    with mlflow.start_run():
        mlflow.sklearn.log_model(
            model, name="model", registered_model_name="digits", serialization_format="skops",
            pip_requirements=[], skops_trusted_types=[],
        )
"""


def log_models(url: str, *slopes: float) -> None:
    """Register a version for each slope, from 1 on."""
    env = {
        **os.environ, "MLFLOW_TRACKING_URI": url, "GIT_PYTHON_REFRESH": "quiet",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", LOG, *map(str, slopes)],
        env=env,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr


def set_champion(url: str, version: int) -> None:
    """Move the alias to a version."""
    alias = {"name": "digits", "alias": "champion", "version": str(version)}
    path = "/api/2.0/mlflow/registered-models/alias"
    reply = httpx.post(f"{url}{path}", json=alias, timeout=60)
    assert reply.status_code == 200, reply.text


@pytest.fixture(scope="module")
def tracking(mlflow_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server that the session's engine was told of."""
    folder = tmp_path_factory.mktemp("mlflow")
    port = int(mlflow_url.rpartition(":")[2])
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--backend-store-uri", f"sqlite:///{folder / 'store.db'}",
        "--artifacts-destination", str(folder / "artifacts"), "--workers", "1",
    ]  # fmt: skip
    env = {
        **os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet",
    }  # fmt: skip
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            command, env=env, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
        try:
            wait_for(mlflow_url, server, folder / "log")
            yield mlflow_url
        finally:
            os.killpg(server.pid, 15)
            server.wait(30)


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 180
    while True:
        try:
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)


@pytest.mark.nightly
def test_an_alias_that_moved_is_picked_up_by_the_next_deploy(
    engine: Engine, given: Given, tracking: str
) -> None:
    log_models(tracking, 2.0, 5.0)
    set_champion(tracking, 1)
    model = {
        "type": "predictor", "runtime": "sklearn", "inputs": {"x": "x"},
        "model": "models:/digits@champion#model.skops",
    }  # fmt: skip
    given.deployed(spec(NAME, model=model))
    assert value(engine.infer(NAME)) == pytest.approx([6.0])

    set_champion(tracking, 2)
    assert value(engine.infer(NAME)) == pytest.approx([6.0])
    given.deployed(spec(NAME, model=model))
    assert value(engine.infer(NAME)) == pytest.approx([15.0])

    history = engine.command("history", NAME).stdout.splitlines()
    assert history[1].endswith("digits@champion = 2") and history[2].endswith("= 1")
    changes = engine.command("diff", NAME, "1", "2").stdout
    assert "~ models:/digits@champion: models:/digits/1 -> models:/digits/2" in changes
    done = engine.command("rollback", NAME, "--to", "1")
    assert done.returncode == 0, done.stderr
    assert value(engine.infer(NAME)) == pytest.approx([6.0])
    entries = list((engine.home / "artefacts" / "entries").iterdir())
    assert len(entries) == 2

    model["model"] = "models:/digits@nobody#model.skops"
    done = given.deploy(spec(NAME, model=model))
    assert done.returncode == 1 and "node 'model'" in done.stderr and "nobody" in done.stderr
    model["model"] = "models:/digits@champion"
    done = given.deploy(spec(NAME, model=model))
    assert "is not in ANABRANCH_MLFLOW_TRUSTED" in done.stderr
