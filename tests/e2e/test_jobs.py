"""Batch jobs on a real engine: each row once, whatever is killed on the way."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.conftest import Given, spec
from tests.engines import Engine, actor_processes, done
from tests.waiting import until

pytestmark = pytest.mark.e2e

Victims = Callable[[], Sequence[psutil.Process]]
"""Processes of which one is to be killed; none while they are not there."""
BAD, ENDS = -1.0, -2.0
CODE = f"""
import os
import time


class Sums:
    def __init__(self, gate="", held=0):
        \"\"\"Rows from ``held`` on wait for a file, the gate, where there is one.\"\"\"
        self.gate, self.held = gate, held

    def predict(self, x):
        while self.gate and x[:, 0].max() >= self.held and not os.path.exists(self.gate):
            time.sleep(0.01)
        if (x == {BAD}).any():
            raise ValueError("a bad row")
        if (x == {ENDS}).any():
            os._exit(1)
        time.sleep(0.002)
        return x.sum(axis=1)
"""
OUTPUT = {"y": {"datatype": "FP32", "shape": [-1]}}
EVERY = 997
"""One row of so many is bad."""


def graph(name: str, **fields: Any) -> dict[str, Any]:
    node = {
        "type": "predictor", "component": "components.py:Sums", "inputs": {"x": "x"},
        "outputs": OUTPUT, **fields,
    }  # fmt: skip
    found = spec(name, sums=node)
    found["spec"]["outputs"] = {"y": "sums.y"}
    return found


def write_rows(path: Path, count: int) -> Path:
    with path.open("w") as file:
        file.write("id,a,b\n")
        for at in range(count):
            file.write(f"{at},{at},{BAD if at % EVERY == 5 else at % 7}\n")
    return path


def check_once(path: Path, count: int) -> None:
    """Each row has its own answer, or its error, once."""
    files = [path] if path.is_file() else sorted(path.glob("part-*.csv"))
    found: list[tuple[int, float]] = []
    for file in files:
        with file.open(newline="") as lines:
            found += [(int(row["id"]), float(row["y"])) for row in csv.DictReader(lines)]
    errors = Path(f"{path}.errors.jsonl") if path.is_file() else path / "_errors.jsonl"
    bad = [json.loads(line)["row"] for line in errors.read_bytes().splitlines()]
    assert bad == [at for at in range(count) if at % EVERY == 5]
    counts = Counter(id for id, _ in found)
    assert counts == Counter(at for at in range(count) if at % EVERY != 5)
    assert all(y == id + id % 7 for id, y in found)


def command(engine: Engine, *arguments: object) -> subprocess.Popen[bytes]:
    line = engine.command_line("batch", *arguments)
    return subprocess.Popen(
        line, env=engine.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def parts_of(output: Path) -> int:
    return len(list(Path(f"{output}.parts").glob("part-*")))


def arguments(name: str, rows: Path, output: Path) -> list[object]:
    return [name, rows, "-o", output, "--id", "id", "--map", "x=a,b", "--chunk", 500]


def test_a_command_that_was_killed_goes_on(engine: Engine, given: Given, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    given.deployed(graph("batch-killed", args={"gate": str(gate), "held": 7000}), CODE)
    rows, output = write_rows(tmp_path / "rows.csv", 8000), tmp_path / "answers.csv"
    asked = arguments("batch-killed", rows, output)
    process = command(engine, *asked)
    until(lambda: parts_of(output) >= 3 or process.poll() is not None)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    gate.touch()
    before = parts_of(output)
    assert not output.exists()
    again = engine.process("batch", *asked, "--json")
    assert again.returncode == 1, again.stderr
    last = json.loads(again.stdout.splitlines()[-1])
    assert (last["rows"], last["failed"]) == (8000, len(range(5, 8000, EVERY)))
    assert last["resumed"] >= 500 * before
    check_once(output, 8000)


@pytest.mark.parametrize("replicas", [0, 2])
def test_the_engine_runs_jobs(engine: Engine, given: Given, tmp_path: Path, replicas: int) -> None:
    name = f"batch-engine-{replicas}"
    given.deployed(graph(name), CODE)
    rows, output = write_rows(tmp_path / "rows.csv", 3000), tmp_path / "answers"
    body = {
        "graph": name, "input": str(rows), "output": f"{output}/", "kept": ["id"],
        "columns": {"x": ["a", "b"]}, "chunk": 500, "replicas": replicas,
    }  # fmt: skip
    begun = engine.api("POST", "/jobs", json=body)
    assert begun.status_code == 201, begun.text
    id = begun.json()["id"]
    shown = engine.process("job", "status", id, "--wait", "-o", "json")
    found = json.loads(done(shown).stdout)
    assert (found["state"], found["reason"]) == ("finished", "")
    assert (found["progress"]["rows"], found["progress"]["done"]) == (3000, 3000)
    assert found["progress"]["revisions"] == {"r1": 3000 - found["progress"]["failed"]}
    check_once(output, 3000)
    assert id in done(engine.process("jobs", "--graph", name)).stdout
    kinds = [one["kind"] for one in engine.api("GET", f"/events?graph={name}").json()["events"]]
    assert kinds[-2:] == ["job_running", "job_finished"]


def test_jobs_keep_to_what_is_allowed_and_can_be_cancelled(
    engine: Engine, given: Given, tmp_path: Path
) -> None:
    given.deployed(graph("batch-cancelled"), CODE)
    rows, output = write_rows(tmp_path / "rows.csv", 20_000), tmp_path / "answers.csv"
    body = {"graph": "batch-cancelled", "input": str(rows), "output": str(output), "kept": ["id"]}
    refused = engine.api("POST", "/jobs", json={**body, "input": "/etc/rows.csv"})
    assert refused.status_code == 400
    assert "not below what ANABRANCH_JOBS allows" in refused.json()["error"]
    slow = {**body, "columns": {"x": ["a", "b"]}, "rate": 1000, "chunk": 500}
    id = engine.api("POST", "/jobs", json=slow).json()["id"]
    until(lambda: parts_of(output) >= 1)
    assert "state cancelled" in done(engine.process("job", "cancel", id)).stdout
    until(lambda: actor_processes(engine, "JobWorker") == [])
    assert engine.api("GET", f"/jobs/{id}").json()["state"] == "cancelled"
    told = engine.api("GET", "/events?graph=batch-cancelled&kind=job_cancelled").json()["events"]
    assert [(one["data"]["job"], one["actor"]["kind"]) for one in told] == [(id, "token")]
    assert not output.exists()
    again = engine.process("batch", *arguments("batch-cancelled", rows, output), "--engine")
    assert "finished" in again.stderr, again.stderr
    check_once(output, 20_000)


@contextmanager
def killing(gate: Path, seconds: float, victims: Sequence[Victims]) -> Iterator[None]:
    """Kill one process of each kind, by turns and so many seconds apart; then do so once more.

    The gate is open after that. What was killed has to be back before it is killed again.
    """
    ended = threading.Event()
    killed: list[psutil.Process] = []

    def kill_one(of: Victims) -> bool:
        with suppress(IndexError, psutil.NoSuchProcess):
            one = of()[0]
            one.kill()
            killed.append(one)
            return True
        return ended.is_set()

    def work() -> None:
        try:
            for of in (*victims, *victims):
                if not ended.wait(seconds):
                    until(partial(kill_one, of))
        finally:
            gate.touch()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert len(killed) == 2 * len(victims), killed


def commands() -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if "batch" in one.cmdline()]


@pytest.mark.nightly
def test_a_hundred_thousand_rows_are_there_once_while_everything_is_killed(
    engine: Engine, given: Given, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    args = {"gate": str(gate), "held": 90_000}
    given.deployed(graph("batch-loop", placement={"isolate": True}, args=args), CODE)
    rows, output = write_rows(tmp_path / "rows.csv", 100_000), tmp_path / "answers.csv"
    replicas = partial(actor_processes, engine, "ServeReplica:batch-loop.r1:sums")
    controllers = partial(actor_processes, engine, "Controller")
    kills = 0
    with killing(gate, 2.5, [replicas, controllers, commands]):
        while process := command(engine, *arguments("batch-loop", rows, output)):
            _, said = process.communicate()
            if process.returncode != -signal.SIGKILL:
                break
            kills += 1
    assert (process.returncode, kills) == (1, 2), said.decode()
    check_once(output, 100_000)


@pytest.mark.nightly
@pytest.mark.parametrize("replicas", [0, 2])
def test_jobs_of_the_engine_end_while_their_processes_are_killed(
    engine: Engine, given: Given, tmp_path: Path, replicas: int
) -> None:
    name, gate = f"batch-loop-{replicas}", tmp_path / "gate"
    args = {"gate": str(gate), "held": 90_000}
    given.deployed(graph(name, placement={"isolate": True}, args=args), CODE)
    rows, output = write_rows(tmp_path / "rows.csv", 100_000), tmp_path / "answers.csv"
    body = {
        "graph": name, "input": str(rows), "output": str(output), "kept": ["id"],
        "columns": {"x": ["a", "b"]}, "chunk": 500, "replicas": replicas,
    }  # fmt: skip
    id = engine.api("POST", "/jobs", json=body).json()["id"]
    worker = "MapWorker" if replicas else f"ServeReplica:{name}.r1:sums"
    victims = [partial(actor_processes, engine, one) for one in (worker, "JobWorker", "Controller")]
    with killing(gate, 2.5, victims):
        found = json.loads(done(engine.process("job", "status", id, "--wait", "-o", "json")).stdout)
    assert (found["state"], found["reason"]) == ("finished", "")
    check_once(output, 100_000)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("replicas", "fields"), [(0, {}), (0, {"placement": {"isolate": True}}), (2, {})]
)
def test_a_row_that_ends_its_process_fails_alone(
    engine: Engine, given: Given, tmp_path: Path, replicas: int, fields: dict[str, Any]
) -> None:
    name = f"batch-ends-{replicas}-{len(fields)}"
    given.deployed(graph(name, **fields), CODE)
    (tmp_path / "rows.csv").write_text(
        "a,b\n" + "".join(f"{at},{ENDS if at == 21 else 1}\n" for at in range(64))
    )
    body = {
        "graph": name, "input": str(tmp_path / "rows.csv"), "output": f"{tmp_path}/answers.csv",
        "columns": {"x": ["a", "b"]}, "chunk": 32, "rows": 8, "replicas": replicas,
    }  # fmt: skip
    id = engine.api("POST", "/jobs", json=body).json()["id"]
    found = json.loads(done(engine.process("job", "status", id, "--wait", "-o", "json")).stdout)
    assert (found["state"], found["reason"]) == ("finished", "")
    (failed,) = (tmp_path / "answers.csv.errors.jsonl").read_text().splitlines()
    assert json.loads(failed) == {
        "row": 21, "error": "the process that evaluated it has ended, 3 times in a row",
        "values": {"a": "21", "b": str(ENDS)},
    }  # fmt: skip
    with (tmp_path / "answers.csv").open(newline="") as lines:
        rows = [(int(row["row"]), float(row["y"])) for row in csv.DictReader(lines)]
    assert rows == [(at, at + 1.0) for at in range(64) if at != 21]
