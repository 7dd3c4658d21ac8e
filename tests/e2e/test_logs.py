"""Logs: what components log and print, in Ray's dashboard and by ``anabranch logs``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Given, node, spec
from tests.e2e.test_traces import Asked
from tests.engines import Engine, actor_processes
from tests.waiting import until

pytestmark = pytest.mark.e2e

CODE = """
import logging

logger = logging.getLogger("apples")


class Tell:
    def transform(self, x):
        logger.info("told by %s", "logging", extra={"sort": "cox"})
        print("told by print")
        return x


class Fail:
    async def transform(self, x):
        try:
            raise ValueError("no more apples")
        except ValueError:
            logger.exception("caught")
        return x
"""


@pytest.fixture(scope="module")
def name(given_once: Given) -> str:
    graph = spec(
        "telling", near=node("Tell"), far=node("Fail", "near", placement={"isolate": True})
    )
    return given_once.deployed(graph, CODE)


def lines(engine: Engine, name: str, *options: str) -> list[dict[str, Any]]:
    done = engine.command("logs", name, "-o", "json", *options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def ask(engine: Engine, name: str, request_id: str, **headers: str) -> None:
    reply = engine.infer(name, headers={"x-request-id": request_id, **headers})
    assert reply.status_code == 200, reply.text


def test_lines_say_what_they_speak_of(engine: Engine, name: str) -> None:
    asked = Asked()
    ask(engine, name, "apple-1", **asked.headers)
    found = lines(engine, name, "--request-id", "apple-1")
    about = {
        "graph": name, "revision": "1", "request_id": "apple-1", "trace_id": asked.trace,
    }  # fmt: skip
    assert all(about.items() <= line.items() for line in found)
    logged, printed, caught = found
    assert (logged["logger"], logged["node"], logged["sort"]) == ("apples", "near", "cox")
    assert (printed["logger"], printed["node"]) == ("stdout", "near")
    assert (caught["level"], caught["node"]) == ("ERROR", "far")
    assert caught["exception"].endswith("ValueError: no more apples")
    assert [line["message"] for line in found] == ["told by logging", "told by print", "caught"]


def test_filters_are_applied_by_the_engine(engine: Engine, name: str) -> None:
    ask(engine, name, "apple-2")
    ask(engine, name, "apple-3")
    (line,) = lines(engine, name, "--request-id", "apple-2", "--node", "far")
    assert line["message"] == "caught"
    assert lines(engine, name, "--request-id", "apple-2", "--revision", "2") == []
    assert len(lines(engine, name, "--request-id", "apple-3", "--tail", "2")) == 2
    shown = engine.command("logs", name, "--request-id", "apple-3").stdout.splitlines()
    assert "near: told by print (request apple-3)" in shown[1]
    assert shown[-1].strip() == "ValueError: no more apples"


@contextmanager
def following(engine: Engine, name: str, file: Path) -> Iterator[None]:
    """``anabranch logs --follow``, which writes to a file."""
    command, env = engine.command_line("logs", name, "--follow", "-o", "json"), engine.environment()
    with file.open("wb") as output, subprocess.Popen(command, env=env, stdout=output) as process:
        try:
            yield
        finally:
            process.terminate()


@pytest.mark.nightly
def test_following_goes_on_when_replicas_are_replaced(
    engine: Engine, name: str, tmp_path: Path
) -> None:
    file = tmp_path / "followed"

    def told(request_id: str) -> list[str]:
        found = [json.loads(line) for line in file.read_text().splitlines()]
        return [line["message"] for line in found if line.get("request_id") == request_id]

    everything = ["told by logging", "told by print", "caught"]
    with following(engine, name, file):
        ask(engine, name, "before")
        until(lambda: len(told("before")) >= 3)
        (process,) = actor_processes(engine, f"ServeReplica:{name}.r1:far")
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: engine.infer(name).status_code == 200)
        ask(engine, name, "after")
        until(lambda: len(told("after")) >= 3)
    assert told("before") == told("after") == everything


def test_they_are_in_the_dashboard(engine: Engine, name: str) -> None:
    ask(engine, name, "apple-4")
    application = engine.dashboard("/api/serve/applications/").json()
    deployments = application["applications"][name]["deployments"]
    (replica,) = deployments["router"]["replicas"]
    asked = {"node_id": replica["node_id"], "filename": replica["log_file_path"].lstrip("/")}
    shown = engine.dashboard("/api/v0/logs/file", params={**asked, "lines": 1000})
    assert shown.status_code == 200, shown.text
    ours = [line for line in shown.text.splitlines() if '"request_id":"apple-4"' in line]
    assert [json.loads(line[line.index("{") :])["logger"] for line in ours] == ["apples", "stdout"]
