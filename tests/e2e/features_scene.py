"""What else happens before Prometheus: one graph or more for each feature that has panels.

Shared models, lookups, caches, measures of components, segments that die, memory that runs short,
streams of tokens under a rollout, watched models, asynchronous requests with webhooks, jobs.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from anabranch.control.store import event_log
from anabranch.control.store.store import Store
from anabranch.control.watching.troubles import FAILED
from anabranch.telemetry.dashboards import PREFIXES
from tests.e2e.conftest import Given, node, spec
from tests.e2e.panels import SOURCES
from tests.engines import HTTP, Engine
from tests.telemetry.prometheus import Prometheus
from tests.waiting import until, until_true

MODEL, MANY, TALK, FOLLOWER = "scorer", "many", "talk", "follower"
GRAPHS = (MODEL, MANY, TALK, FOLLOWER)
UNFOLLOWED_S = 1200.0
BUDGET = "600MiB"
USERS = 12
"""Users of the graph that talks, of which either revision has some."""
CODE = '''
import asyncio
import os
from pathlib import Path

import numpy as np
import psutil


class Scorer:
    def predict(self, x):
        if (x < 0).any():
            raise ValueError("a negative number")
        return x.sum(axis=1)


class Measured:
    def transform(self, x, context):
        context.measure("calls", 1)
        context.measure("level", float(x[0, 0]), kind="gauge")
        context.measure("spent", 0.01, kind="timer")
        return x


class Wide:
    """100 KB for each row."""

    def transform(self, x):
        return np.repeat(x[:, :1], 25_000, axis=1)


class First:
    def transform(self, x):
        return x[:, :1]


class Frail:
    """Dies of what is below 0, and does not start while the file ``held`` is there."""

    def __init__(self, held):
        self.held = held

    def load(self):
        if Path(self.held).exists():
            raise RuntimeError("held")

    def transform(self, x):
        if (x < 0).any():
            os._exit(3)
        return x


class Hungry:
    """Takes 93% of its budget, a MiB after the other."""

    def load(self):
        self.taken, process = [], psutil.Process()
        while process.memory_info().rss < 0.93 * 600 * 2**20:
            self.taken.append(b"x" * 2**20)

    def transform(self, x):
        return x


class Patient:
    """Waits for the file ``gate``."""

    def __init__(self, gate):
        self.gate = Path(gate)

    async def transform(self, x):
        while not self.gate.exists():
            await asyncio.sleep(0.02)
        return np.ravel(x).astype(np.float32)


class Pieces:
    async def predict(self, messages):
        for at, word in enumerate(("one", " two", " three")):
            await asyncio.sleep(0.01)
            yield {
                "text": np.array([word], object),
                "prompt_tokens": np.array([1]),
                "completion_tokens": np.array([at + 1]),
            }
'''
EACH: Mapping[str, int] = {
    f'model_requests_total{{graph="{MODEL}", user="{MANY}"}}': 4,
    f'model_errors_total{{graph="{MODEL}", user="{MANY}"}}': 1,
    f'model_duration_seconds_count{{graph="{MODEL}", user="{MANY}"}}': 3,
    f'component_counter_total{{graph="{MANY}", name="calls"}}': 3,
    f'component_duration_seconds_count{{graph="{MANY}", name="spent"}}': 3,
    f'lookup_rows_total{{graph="{MANY}"}}': 3,
    f'cache_requests_total{{graph="{MANY}", node="wide"}}': 16,
    f'arm_first_token_seconds_count{{graph="{TALK}"}}': USERS,
    f'arm_tokens_total{{graph="{TALK}", kind="completion"}}': 3 * USERS,
    f'job_rows_total{{graph="{FOLLOWER}", outcome="answered"}}': 4,
    f'async_ended_total{{graph="{FOLLOWER}", outcome="answered"}}': 1,
    f'webhook_calls_total{{graph="{FOLLOWER}", outcome="delivered"}}': 1,
    'access_refused_total{door="control"}': 1,
}
"""By how much a round adds to what."""
SHOWN = (
    *(
        f'arm_first_token_seconds_count{{graph="{TALK}", revision="{revision}"}} > 0'
        for revision in (1, 2)
    ),
    f'cache_bytes{{graph="{MANY}", node="wide"}} > 0',
    f'cache_evictions_total{{graph="{MANY}", node="wide"}} > 0',
    f'cache_errors_total{{graph="{MANY}", node="far"}} > 0',
    f'component_gauge{{graph="{MANY}", name="level"}} == 1',
    f'replica_memory_ratio{{graph="{MANY}", segment="hungry"}} > 0.9',
    f'watch_trouble_seconds{{graph="{FOLLOWER}"}} > {UNFOLLOWED_S:g}',
)
"""What holds after the rounds."""


def scorer() -> dict[str, Any]:
    return {
        "apiVersion": "anabranch/v1",
        "kind": "Model",
        "metadata": {"name": MODEL},
        "spec": {
            "component": "components.py:Scorer",
            "inputs": {"x": {"datatype": "FP32", "shape": [-1, 2]}},
            "outputs": {"score": {"datatype": "FP32", "shape": [-1]}},
        },
    }


def many(folder: Path) -> dict[str, Any]:
    """A graph with an output for each of several features."""
    away = {"placement": {"isolate": True}}
    kept = {"deterministic": True, "cache": {"ttl": "10m", "size": "1MiB"}}
    wide = {"outputs": {"output": {"datatype": "FP32", "shape": [-1, 25_000]}}}
    nodes: dict[str, Any] = {
        "score": {"type": "predictor", "model": f"shared://{MODEL}", "inputs": {"x": "x"}},
        "profile": {
            "type": "transformer",
            "method": "lookup",
            "inputs": {"user": "user"},
            "args": {
                "store": f"sqlite:///{folder / 'features.db'}",
                "table": "users",
                "timestamp": "at",
                "features": {"age": "age"},
                "defaults": {"age": -1},
            },
            "outputs": {"age": {"datatype": "INT64", "shape": [-1]}},
        },
        "wide": node("Wide", **wide, **kept),
        "first": node("First", "wide"),
        "far": node("First", **kept),
        "measured": node("Measured"),
        "frail": node("Frail", args={"held": str(folder / "held")}, **away),
        "hungry": node("Hungry", resources={"memory": BUDGET}, **away),
    }
    nodes["far"]["cache"] = {"ttl": "10m", "store": "redis"}
    found = spec(MANY, **nodes)
    found["spec"]["inputs"]["user"] = {"datatype": "INT64", "shape": [-1]}
    outputs = ("score", "first", "far", "measured", "frail", "hungry")
    found["spec"]["outputs"] = {"age": "profile.age", **{name: name for name in outputs}}
    return found


def talk(**more: Any) -> dict[str, Any]:
    outputs = {
        "text": {"datatype": "BYTES", "shape": [1]},
        "prompt_tokens": {"datatype": "INT64", "shape": [1]},
        "completion_tokens": {"datatype": "INT64", "shape": [1]},
    }
    say = {
        "type": "predictor",
        "component": "components.py:Pieces",
        "inputs": {"messages": "messages"},
        "outputs": outputs,
    }
    found = spec(TALK, say=say)
    found["spec"] |= {
        "protocols": ["openai"],
        "inputs": {"messages": {"datatype": "BYTES", "shape": [1]}},
        "outputs": {each: f"say.{each}" for each in outputs},
        "traffic": {"sticky": {"parameter": "user"}},
        **more,
    }
    return found


def follower(model: Path, gate: Path) -> dict[str, Any]:
    """A watched model, whose answers wait for a gate."""
    predictor = {
        "type": "predictor",
        "runtime": "sklearn",
        "model": model.as_uri(),
        "inputs": {"x": "x"},
        "watch": {"every": "1s"},
    }
    held = node(
        "Patient",
        "model",
        args={"gate": str(gate)},
        outputs={"y": {"datatype": "FP32", "shape": [-1]}},
    )
    found = spec(FOLLOWER, model=predictor, held=held)
    found["spec"]["outputs"] = {"y": "held.y"}
    return found


def write_model(path: Path, slope: float) -> None:
    """Put a model in a file's place at once."""
    from sklearn.linear_model import LinearRegression
    from skops import io

    new = path.with_suffix(".new")
    io.dump(LinearRegression().fit([[0, 0], [1, 0], [0, 1]], [0, slope, slope]), new)
    new.rename(path)


def write_features(path: Path) -> None:
    """Rows of an hour ago."""
    at = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE users (user INTEGER, age INTEGER, at TIMESTAMP)")
        rows = [(user, 30 + user, at) for user in range(10)]
        database.executemany("INSERT INTO users VALUES (?, ?, ?)", rows)


def tell_old_trouble(engine: Engine, model: Path) -> None:
    """Have the log say that a model is not followed since long, as after so much time."""
    then = time.time() - UNFOLLOWED_S
    data = {"model": model.as_uri(), "source": "move", "reason": "no room"}
    store = Store.open(f"sqlite:///{engine.home / 'store.db'}")
    with patch.object(event_log, "time", SimpleNamespace(time=lambda: then)):
        store.log(FOLLOWER, None, FAILED, "cannot follow it", data)
    store.close()


@dataclass
class Features:
    """An engine whose features are used; ``hook`` is the URL of a webhook that it may call."""

    engine: Engine
    prometheus: Prometheus
    given: Given
    folder: Path
    hook: str

    @property
    def model(self) -> Path:
        return self.folder / "model.skops"

    @property
    def gate(self) -> Path:
        return self.folder / "gate"

    def happen(self) -> None:
        """Two rounds, since Prometheus sees a counter grow only from its second value on."""
        self.deploy()
        for number in (1, 2):
            self.go_round(number)
            until_true(lambda number=number: self.check_counts(number), 90)
        for query in SHOWN:
            self.until_shown(query)
        self.lose_a_segment()
        write_model(self.model, 2.0)
        self.until_shown(f'watch_moves_total{{graph="{FOLLOWER}"}} == 1')
        self.until_shown(f'watch_trouble_seconds{{graph="{FOLLOWER}"}} == 0')

    def deploy(self) -> None:
        write_features(self.folder / "features.db")
        write_model(self.model, 1.0)
        tell_old_trouble(self.engine, self.model)
        self.given.deployed(scorer(), CODE)
        self.given.deployed(many(self.folder), CODE)
        self.given.deployed(talk(), CODE)
        self.given.deployed(talk(rollout={"steps": [50], "hold": "1h"}), CODE)
        self.given.deployed(follower(self.model, self.gate), CODE)
        self.until_shown(f'arm_weight{{graph="{TALK}", revision="2"}} == 0.5')

    def go_round(self, number: int) -> None:
        self.ask_later()
        self.run_job(number)
        for at in range(3):
            for output in ("score", "measured", "age", "far"):
                self.ask(output, 1.0, user=3 * number + at)
        self.ask("score", -1.0, status=500)
        for at in range(16):
            self.ask("first", number + at / 16)
        for user in range(USERS):
            self.chat(f"user-{user}")
        wrong = {"authorization": "Bearer of-nobody"}
        assert HTTP.get(f"{self.engine.url}/control/v1/graphs", headers=wrong).status_code == 401

    def ask(self, output: str, x: float, user: int = 0, status: int = 200) -> None:
        """Ask the graph of many features for one output."""
        inputs = [
            {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [x, 1.0]},
            {"name": "user", "datatype": "INT64", "shape": [1], "data": [user]},
        ]
        reply = self.engine.infer(MANY, {"inputs": inputs, "outputs": [{"name": output}]})
        assert reply.status_code == status, reply.text

    def chat(self, user: str) -> None:
        url = f"{self.engine.url}/openai/{TALK}/v1/chat/completions"
        said = {"messages": [{"role": "user", "content": "hello"}], "stream": True, "user": user}
        reply = HTTP.post(url, json=said)
        assert reply.status_code == 200 and "three" in reply.text, reply.text

    def ask_later(self) -> None:
        """An asynchronous request, which is held until its metric shows that."""
        self.gate.unlink(missing_ok=True)
        headers = {"prefer": "respond-async, wait=10", "x-anabranch-webhook": self.hook}
        reply = self.engine.infer(FOLLOWER, headers=headers)
        assert reply.status_code == 202, reply.text
        self.until_shown(f'async_open{{graph="{FOLLOWER}", state="running"}} == 1')
        self.gate.touch()

    def run_job(self, number: int) -> None:
        rows = self.folder / f"rows-{number}.csv"
        rows.write_text("a,b\n" + "1,2\n" * 4)
        output = str(self.folder / f"answers-{number}.csv")
        columns = {"x": ["a", "b"]}
        body = {"graph": FOLLOWER, "input": str(rows), "output": output, "columns": columns}
        begun = self.engine.api("POST", "/jobs", json=body)
        assert begun.status_code == 201, begun.text
        path = f"/jobs/{begun.json()['id']}"
        until(lambda: self.engine.api("GET", path).json()["state"] == "finished", 120)

    def lose_a_segment(self) -> None:
        """Its process ends, and none comes up before Prometheus has seen that."""
        held = self.folder / "held"
        held.touch()
        self.ask("frail", -1.0, status=503)
        self.until_shown(f'segment_down{{graph="{MANY}", segment="frail"}} == 1')
        held.unlink()

    def check_counts(self, rounds: int) -> None:
        for source in SOURCES:
            for name, number in EACH.items():
                found = self.prometheus.total(f"{PREFIXES[source]}anabranch_{name}")
                assert found == rounds * number, f"{source}: {name}: {found}"

    def until_shown(self, query: str) -> None:
        """Wait until both exports have something to say to a query."""
        for source in SOURCES:
            text = f"{PREFIXES[source]}anabranch_{query}"
            until_true(lambda text=text: self.check_shown(text), 90)

    def check_shown(self, query: str) -> None:
        assert self.prometheus.query(query), query
