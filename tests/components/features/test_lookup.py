"""The transformer ``lookup`` in graphs, before real stores that come and go."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch.components.features import lookup, options
from anabranch.errors import (
    DeadlineExceeded,
    InvalidRequest,
    LoadError,
    NodeError,
)
from anabranch.graph.local import LocalGraph
from anabranch.telemetry import definitions
from anabranch.telemetry.registry import Registry
from tests.components.features.conftest import DEFAULTS, OUTPUTS, lookup_graph
from tests.redis_server import RedisServer, running_redis
from tests.waiting import until

LATE = "20s"
"""Timeout of nodes whose store does not answer, which ``given_up`` has for a small part of it."""
USERS = {1: {"age": 30, "tier": "gold"}, 2: {"age": 40, "tier": "silver"}}


@pytest.fixture
def users(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    """A server with the hashes of two users, whose URL is a secret."""
    fill(redis)
    monkeypatch.setenv("REDIS_OF_TEST", redis.url)
    yield redis
    redis.go_on()


@pytest.fixture
def given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that does not answer is given up long before its node is: 1.8 s of 20."""
    for module in (options, lookup):
        monkeypatch.setattr(module, "PART", 0.09)


def fill(redis: RedisServer) -> None:
    with redis.client as client:
        for user, fields in USERS.items():
            client.hset(f"user:{user}", mapping=fields)


def graph(args: dict[str, Any] | None = None, seconds: str = "60s", **node: Any) -> LocalGraph:
    secrets = {"STORE": {"env": "REDIS_OF_TEST"}}
    given = {"store": "env:STORE", "key": "user:{user_id}", **(args or {})}
    return lookup_graph(Path(), given, seconds=seconds, secrets=secrets, **node)


def ask(graph: LocalGraph, *ids: int) -> dict[str, list[Any]]:
    found = graph.run({"user_id": np.array(ids, np.int64)})
    return {name: array.tolist() for name, array in found.items()}


def test_a_request_is_one_call_of_the_store(users: RedisServer) -> None:
    before = users.calls("hmget")
    with closing(graph({"defaults": DEFAULTS})) as running:
        assert ask(running, 1, 2, 9, 1) == {
            "age": [30, 40, -1, 30],
            "tier": ["gold", "silver", "", "gold"],
        }
        assert ask(running) == {"age": [], "tier": []}
    # One for each entity, however many rows it has.
    assert users.calls("hmget") - before == 3


def test_outputs_have_the_declared_types(users: RedisServer) -> None:
    with users.client as client:
        client.hset("user:1", mapping={"tier": "[1, 2.5]"})
    outputs = {
        "age": {"datatype": "FP32", "shape": [-1]},
        "tier": {"datatype": "FP64", "shape": [-1, 2]},
    }
    with closing(graph(outputs=outputs)) as running:
        found = running.run({"user_id": np.array([1, 1])})
    assert found["age"].dtype == np.float32
    assert found["tier"].tolist() == [[1, 2.5], [1, 2.5]]


def test_errors_name_entity_feature_and_value(users: RedisServer) -> None:
    with users.client as client:
        client.hset("user:2", mapping={"age": "old"})
    with closing(graph({"defaults": DEFAULTS})) as running:
        # A row that cannot be read fails only the requests that want it.
        assert ask(running, 1)["age"] == [30]
        with pytest.raises(NodeError, match=r"'age' of user_id=2 is no number: b'old' \(output"):
            ask(running, 1, 2)
    running = graph({"defaults": {"age": 0}})
    with closing(running), pytest.raises(NodeError, match="no 'tier' of user_id=9, and output"):
        ask(running, 1, 9)


def test_outputs_may_be_absent(users: RedisServer) -> None:
    args = {"missing": "absent", "defaults": {"age": 0}}
    with closing(graph(args, optional_outputs=["tier"])) as running:
        assert ask(running, 1, 9) == {"age": [30, 0]}
        assert ask(running, 1) == {"age": [30], "tier": ["gold"]}


def test_rows_are_used_again_up_to_an_age(users: RedisServer) -> None:
    before = users.calls("hmget")
    with closing(graph({"max_age": "1h"})) as running:
        for _ in range(5):
            assert ask(running, 1, 2)["age"] == [30, 40]
        with users.client as client:
            client.hset("user:1", mapping={"age": 31})
        assert ask(running, 1)["age"] == [30]
    assert users.calls("hmget") - before == 2


def test_values_that_are_too_old_are_missing(users: RedisServer) -> None:
    with users.client as client:
        client.hset("user:1", mapping={"at": time.time() - 7200})
        client.hset("user:2", mapping={"at": time.time() - 60})
    args = {"timestamp": "at", "ttl": "1h", "defaults": DEFAULTS, "max_age": "1m"}
    with closing(graph(args)) as running:
        for _ in range(2):
            assert ask(running, 1, 2)["age"] == [-1, 40]


@pytest.mark.usefixtures("given_up")
@pytest.mark.parametrize("way", ["pause", "kill"])
def test_while_the_store_is_away_rows_are_stale_and_then_default(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_redis() as redis:
        fill(redis)
        monkeypatch.setenv("REDIS_OF_TEST", redis.url)
        args = {"defaults": DEFAULTS, "max_age": "1us", "max_stale": "1h"}
        with closing(graph(args, timeout=LATE)) as running:
            assert ask(running, 1)["age"] == [30]
            getattr(redis, way)()
            assert ask(running, 1, 2) == {"age": [30, -1], "tier": ["gold", ""]}
            if way == "pause":
                redis.go_on()
            else:
                redis.start()
                fill(redis)
            with redis.client as client:
                client.hset("user:1", mapping={"age": 31})
            until_age(running, 31)


def until_age(running: LocalGraph, age: int) -> None:
    until(lambda: ask(running, 1)["age"] == [age])


@pytest.mark.usefixtures("given_up")
def test_without_defaults_a_store_that_is_away_lets_the_node_fail(users: RedisServer) -> None:
    with closing(graph({"defaults": {"age": 0}}, timeout=LATE)) as running:
        users.pause()
        with pytest.raises(DeadlineExceeded, match="feature store of node 'profile' is away"):
            ask(running, 1)
    running = graph({"defaults": DEFAULTS, "unavailable": "fail"}, timeout=LATE)
    with closing(running), pytest.raises(DeadlineExceeded, match=r"no answer within 1\.8s"):
        ask(running, 1)


def test_the_nodes_own_stand_in_helps_as_for_all_nodes(users: RedisServer) -> None:
    users.pause()
    more = {
        "outputs": {"age": OUTPUTS["age"]},
        "on_error": {"value": [7, 8]},
        "timeout": "100ms",
    }
    with closing(graph({"features": {"age": "age"}}, **more)) as running:
        assert ask(running, 1, 2) == {"age": [7, 8]}


@pytest.mark.usefixtures("given_up")
def test_the_time_of_the_request_bounds_the_wait(users: RedisServer) -> None:
    with closing(graph({"defaults": DEFAULTS}, "10s", timeout="1h")) as running:
        users.pause()
        assert ask(running, 1)["age"] == [-1]


@pytest.mark.usefixtures("given_up")
def test_a_node_begins_without_its_store_and_not_with_a_wrong_one(
    users: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    users.pause()
    with closing(graph({"defaults": DEFAULTS}, timeout=LATE)) as running:
        assert ask(running, 1)["age"] == [-1]
        users.go_on()
        until_age(running, 30)
    monkeypatch.setenv("REDIS_OF_TEST", users.url.replace("a-password", "no-password"))
    with pytest.raises(LoadError, match="node 'profile': Redis refuses the credentials"):
        graph()
    monkeypatch.setenv("REDIS_OF_TEST", "mongo://h")
    with pytest.raises(LoadError, match="the scheme 'mongo' is no feature store's"):
        graph()


def test_batches_are_one_call(users: RedisServer) -> None:
    with closing(graph({"defaults": DEFAULTS}, batching={"max_size": 8})) as running:
        assert ask(running, 1, 9) == {"age": [30, -1], "tier": ["gold", ""]}


@pytest.mark.usefixtures("given_up")
def test_what_is_looked_up_is_counted(users: RedisServer) -> None:
    with users.client as client:
        client.hset("user:1", mapping={"at": time.time() - 100})
    args = {"timestamp": "at", "defaults": DEFAULTS, "max_age": "1us", "max_stale": "1h"}
    registry, labels = Registry(), ("shop", "1", "profile")
    with closing(graph(args, timeout=LATE)) as running:
        running._bound["profile"].instance.count_into(registry, labels)
        ask(running, 1, 2, 9, 9)
        users.pause()
        ask(running, 1, 5)
        users.go_on()
    cell = registry.number(definitions.LOOKUP_CALLS, *labels, "late")
    until(lambda: cell.value)
    found = registry.snapshot()
    rows = {key[-1]: value for key, value in found[definitions.LOOKUP_ROWS.name].items()}
    assert rows == {"cache": 0, "store": 2, "stale": 1, "missing": 2, "away": 1}
    calls = {key[-1]: value for key, value in found[definitions.LOOKUP_CALLS.name].items()}
    assert calls == {"answered": 1, "late": 1, "away": 0, "failed": 0}
    ages = found[definitions.LOOKUP_AGE.name][labels]
    assert ages.number == 2
    assert 200 <= ages.total < 400
    assert found[definitions.LOOKUP_DURATION.name][labels].number == 2


def test_keys_that_are_none_blame_the_caller(users: RedisServer) -> None:
    node = {"inputs": {"user_id": "user_id"}}
    running = lookup_graph(
        Path(),
        {"store": "env:STORE", "key": "user:{user_id}"},
        datatype="BYTES",
        secrets={"STORE": {"env": "REDIS_OF_TEST"}},
        **node,
    )
    with closing(running), pytest.raises(InvalidRequest, match="is not text in UTF-8"):
        running.run({"user_id": np.array([b"\xff"], object)})
