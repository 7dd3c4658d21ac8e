"""``replay`` against a graph behind a real HTTP server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from anabranch.cli.app import app
from anabranch.client.connection.engine_state import EngineState, write_state
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.inference.contract import InferenceRequest, InferenceResponse, OutputTensor
from anabranch.router.request_log import entries
from anabranch.router.request_log.entries import LogRule
from anabranch.router.request_log.events import encode
from tests.router.conftest import make_arms, serving


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """The home of an engine whose graph ``demo`` doubles; its only revision is 3."""
    with serving(GraphApp(make_arms())) as url:
        write_state(tmp_path, EngineState("id", url, "", "", "", "", 1, ready=True))
        (tmp_path / "token").write_text("token")
        yield tmp_path


def logged(path: Path, *factors: float) -> Path:
    """A log of requests whose answers were so many times the input."""
    rule, x = LogRule(known=("x",)), np.array([[1.0, 2.0]], np.float32)
    lines = []
    for number, factor in enumerate(factors):
        entry = entries.begin(rule, "demo", 3, InferenceRequest({"x": x}, request_id=str(number)))
        doubled = OutputTensor("doubled", "FP32", x * np.float32(factor))
        entries.answered(rule, entry, InferenceResponse("demo", "3", None, [doubled]))
        lines.append(encode(entry, 2**20) + b"\n")
    path.write_bytes(b"".join(lines))
    return path


def run(home: Path, *arguments: object) -> Result:
    environment = {"ANABRANCH_HOME": str(home), "COLUMNS": "200"}
    return CliRunner().invoke(app, ["replay", *map(str, arguments)], env=environment)


def test_equal_and_close_are_good(home: Path) -> None:
    log = logged(home / "r3-a-1.jsonl", 2, 2, 2.0002)
    done = run(home, log, "demo", "--revision", "r3", "-o", "json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["sent"], found["equal"], found["close"]) == (3, 2, 1)
    strict = run(home, log, "demo", "--rtol", "0", "--atol", "0")
    assert strict.exit_code == 1
    assert "3 requests to demo in" in strict.stdout


def test_several_logs_and_a_limit(home: Path) -> None:
    logs = logged(home / "r3-a-1.jsonl", 2, 2), logged(home / "r3-b-2.jsonl", 3)
    done = run(home, *logs, "demo", "-o", "json")
    assert (done.exit_code, json.loads(done.stdout)["differs"]) == (1, 1)
    first = run(home, home / "r3-*.jsonl", "demo", "-n", "2", "-o", "json")
    assert (first.exit_code, json.loads(first.stdout)["sent"]) == (0, 2)


def test_what_is_not_there_is_said_at_once(home: Path) -> None:
    log = logged(home / "r3-a-1.jsonl", 2)
    for arguments, message in (
        ((home / "none.jsonl", "demo"), "has no request logs"),
        ((log, "demo", "--revision", "4"), "has no revision '4'"),
    ):
        done = run(home, *arguments)
        assert done.exit_code != 0
        assert message in str(done.exception)
