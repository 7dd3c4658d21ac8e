"""Lookups of a real engine whose store stops, slows and dies; training sees what was served."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import Given
from tests.engines import Engine, done
from tests.redis_server import RedisServer, running_redis
from tests.waiting import until, until_true

pytestmark = pytest.mark.e2e

IDS = {"datatype": "INT64", "shape": [-1]}
TYPES = {"age": IDS, "tier": {"datatype": "BYTES", "shape": [-1]}}
BODY = {"inputs": [{"name": "user_id", "datatype": "INT64", "shape": [3], "data": [1, 2, 9]}]}
THERE = {"age": [30, 40, -1], "tier": ["gold", "silver", ""]}
AWAY = {"age": [-1, -1, -1], "tier": ["", "", ""]}


def graph(
    name: str, args: dict[str, Any], telemetry: dict[str, Any] | None = None, **node: Any
) -> dict[str, Any]:
    profile = {
        "type": "transformer",
        "method": "lookup",
        "inputs": {"user_id": "user_id"},
        "args": {
            "features": {"age": "age", "tier": "tier"},
            "defaults": {"age": -1, "tier": ""},
            **args,
        },
        "outputs": TYPES,
        **node,
    }
    found = {
        "inputs": {"user_id": IDS},
        "nodes": {"profile": profile},
        "outputs": {"age": "profile.age", "tier": "profile.tier"},
    }
    return {
        "apiVersion": "anabranch/v1",
        "kind": "InferenceGraph",
        "metadata": {"name": name},
        "spec": found if telemetry is None else found | {"telemetry": {"requests": telemetry}},
    }


def outputs(reply: Any) -> dict[str, Any]:
    return {output["name"]: output["data"] for output in reply["outputs"]}


def rows(engine: Engine, name: str) -> dict[str, float]:
    """The metric of rows by outcome, over all processes."""
    found: dict[str, float] = {}
    text = engine.metrics()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "anabranch_lookup_rows_total" and sample.labels["graph"] == name:
                outcome = sample.labels["outcome"]
                found[outcome] = found.get(outcome, 0) + sample.value
    return found


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        fill(server)
        yield server


def fill(server: RedisServer) -> None:
    """Write all rows at once: whoever looks meanwhile sees none or all."""
    with server.client as client, client.pipeline() as rows:
        rows.hset("user:1", mapping={"age": 30, "tier": "gold"})
        rows.hset("user:2", mapping={"age": 40, "tier": "silver"})
        rows.execute()


def answers(engine: Engine, name: str, wanted: dict[str, Any]) -> bool:
    reply = engine.infer(name, BODY)
    return reply.status_code == 200 and outputs(reply.json()) == wanted


def test_every_request_is_answered_while_redis_stops_slows_and_dies(
    engine: Engine, given: Given, load: Callable[..., Any], redis: RedisServer, tmp_path: Path
) -> None:
    secret = tmp_path / "redis-url"
    secret.write_text(redis.url)
    secrets = {"STORE": {"file": str(secret)}}
    args = {"store": "env:STORE", "key": "user:{user_id}"}
    name = given.deployed(graph("features-redis", args, secrets=secrets, timeout="2s"))

    def until_seen(wanted: dict[str, Any]) -> None:
        until(lambda: answers(engine, name, wanted))

    until_seen(THERE)  # a busy machine may take longer to connect than a lookup may take
    with load(name, BODY) as clients:
        redis.pause()
        until_seen(AWAY)
        clients.until_asked(50)
        redis.go_on()
        until_seen(THERE)
        with redis.client as client:
            client.client_pause(3000)
        clients.until_asked(50)
        until_seen(THERE)
        redis.kill()
        until_seen(AWAY)
        clients.until_asked(50)
        redis.start()
        fill(redis)
        until_seen(THERE)
    assert clients.failures == {}
    seen = {json.dumps(outputs(json.loads(answer)), sort_keys=True) for answer in clients.answers}
    assert seen == {json.dumps(one, sort_keys=True) for one in (THERE, AWAY)}

    def counted() -> None:
        found = rows(engine, name)
        assert found.keys() >= {"store", "missing", "away"}
        assert min(found[one] for one in ("store", "missing", "away")) > 0
        assert sum(found.values()) >= 3 * clients.total

    until_true(counted)
    # The password is in no log and in no answer.
    assert "a-password-of-redis" not in engine.command("logs", name).stdout


def test_rows_in_memory_outlive_their_store(
    engine: Engine, given: Given, redis: RedisServer, tmp_path: Path
) -> None:
    secret = tmp_path / "redis-url"
    secret.write_text(redis.url)
    args = {"store": "env:STORE", "key": "user:{user_id}", "max_age": "1ms", "max_stale": "1h"}
    more = {"secrets": {"STORE": {"file": str(secret)}}, "timeout": "2s"}
    name = given.deployed(graph("features-stale", args, **more))
    until(lambda: answers(engine, name, THERE))
    redis.kill()
    assert outputs(engine.infer(name, BODY).json()) == THERE
    until(lambda: rows(engine, name).get("stale", 0) > 0)


@pytest.mark.parametrize("place", [pytest.param("near", marks=pytest.mark.nightly), "apart"])
def test_training_sees_what_was_served(
    engine: Engine, given: Given, tmp_path: Path, place: str
) -> None:
    pytest.importorskip("pyarrow")
    file = tmp_path / "features.db"

    def insert(user: int, age: int, tier: str) -> None:
        at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        with closing(sqlite3.connect(file)) as database, database:
            database.execute("INSERT INTO users VALUES (?, ?, ?, ?)", (user, age, tier, at))

    with closing(sqlite3.connect(file)) as database, database:
        database.execute(
            "CREATE TABLE users (user_id INTEGER, age INTEGER, tier TEXT, at TIMESTAMP)"
        )
    args = {"store": f"sqlite:///{file}", "table": "users", "timestamp": "at"}
    node = {} if place == "near" else {"placement": {"isolate": True}}
    document = graph(f"features-{place}", args, {"nodes": ["profile"]}, **node)
    # Only one of the looked-up values is answered; the log has both.
    document["spec"]["outputs"].pop("tier")
    name = given.deployed(document)
    for turn in range(20):
        insert(turn % 3, turn, f"tier-{turn}")
        assert engine.infer(name, BODY).status_code == 200
    log = engine.home / "requests" / name
    until(lambda: sum(path.read_text().count("\n") for path in log.glob("*.jsonl")) == 20)

    spec = given.bundle(document)
    tables = []
    for more in ((), ("--point-in-time",)):
        target = tmp_path / f"train{len(more)}.csv"
        done(engine.command("features", "export", spec, "--from", log, "-o", target, *more))
        tables.append(target.read_text())
    assert tables[0] == tables[1]
    lines = tables[0].splitlines()
    assert len(lines) == 1 + 20 * 3
    assert '"profile.tier"' in lines[0]
    assert '"tier-19"' in lines[-3]
    insert(1, 99, "late")
    done(engine.command("features", "check", spec, "--from", log))
