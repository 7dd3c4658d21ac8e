from __future__ import annotations

import os
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from anabranch.client.connection.engine_state import EngineState, read_state, write_state
from anabranch.control.engine import engine
from anabranch.control.engine.launch import EngineOptions
from anabranch.control.nodes.shared import MARK
from anabranch.errors import EngineError

Engine = tuple[EngineState, subprocess.Popen[bytes]]


@contextmanager
def gateway(status: int) -> Iterator[int]:
    """The port of a server that answers everything with a status."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[[int], Engine]]:
    """Have an engine in ``tmp_path`` whose only process lives, and which is asked at a port."""
    started: list[subprocess.Popen[bytes]] = []

    def start(port: int) -> Engine:
        id = uuid.uuid4().hex
        child = subprocess.Popen(["sleep", "600"], env={**os.environ, MARK: id})
        started.append(child)
        url, runtime = f"http://127.0.0.1:{port}", str(tmp_path / "gone")
        state = EngineState(id, url, "", "", "127.0.0.1:20000", runtime, child.pid, ready=True)
        write_state(tmp_path, state)
        return state, child

    yield start
    for child in started:
        child.kill()
        child.wait()


def test_one_that_answers_is_left_alone(run: Callable[[int], Engine], tmp_path: Path) -> None:
    said: list[str] = []
    with gateway(200) as port:
        state, child = run(port)
        assert engine.up(tmp_path, say=said.append) == state.info(tmp_path)
    assert said == [f"the engine in {tmp_path} is already up"]
    assert child.poll() is None


def test_one_that_runs_and_does_not_answer_is_ended_and_another_begins(
    run: Callable[[int], Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "ANSWER_TIMEOUT_S", 0.0)
    said: list[str] = []
    with gateway(503) as port:
        _, child = run(port)
        # The start of the other one ends there: somebody else has its port.
        with pytest.raises(EngineError, match=f"{port}.*--http-port"):
            engine.up(tmp_path, EngineOptions(http_port=port), say=said.append)
        assert child.wait(60) != 0
    assert said == [
        f"the engine in {tmp_path} is already up", "it does not answer, so it is started anew",
    ]  # fmt: skip
    assert read_state(tmp_path) is None
