"""Caches of graphs and nodes in a real engine: equal answers, kept for each revision by itself."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from anabranch.router.grpc.messages import path, request_type
from tests.e2e.conftest import Given, Load, node, spec
from tests.engines import HTTP, Engine
from tests.redis_server import RedisServer
from tests.waiting import until

pytestmark = pytest.mark.e2e

CODE = """
class Times:
    def __init__(self, by):
        self.by, self.calls = by, 0

    def transform(self, x):
        self.calls += 1
        return {"product": x * self.by, "calls": x[:, :1] * 0 + self.calls}
"""
KEPT = {"ttl": "10m"}
TYPES = {
    "product": {"datatype": "FP32", "shape": [-1, 2]},
    "calls": {"datatype": "FP32", "shape": [-1, 1]},
}


def graph(name: str, by: float, of_graph: Any = KEPT, **fields: Any) -> dict[str, Any]:
    """The product of the input, and how often the component was called for an answer."""
    times = node("Times", args={"by": by}, outputs=TYPES, deterministic=True, **fields)
    made = spec(name, times=times)
    made["spec"]["outputs"] = {"product": "times.product", "calls": "times.calls"}
    if of_graph is not None:
        made["spec"]["cache"] = of_graph
    return made


def body(*data: float) -> dict[str, Any]:
    inputs = [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": data}]
    return {"inputs": inputs, "outputs": [{"name": "product"}]}


def asked(
    engine: Engine, name: str, *data: float, path: str = "", **headers: str
) -> tuple[list[float], str, str]:
    """Product, revision, and how caches have handled the request."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    reply = HTTP.post(f"{engine.url}/v2/models/{name}{path}/infer", json=body(*data), headers=named)
    assert reply.status_code == 200, reply.text
    found = reply.json()
    status = reply.headers.get("cache-status", "").partition("; ttl")[0]
    return found["outputs"][0]["data"], found["model_version"], status


def test_answers_are_kept_for_each_revision_by_itself(engine: Engine, given: Given) -> None:
    name = given.deployed(graph("kept", 2.0), CODE)
    assert asked(engine, name, 1, 2) == ([2, 4], "1", "anabranch; fwd=miss; stored")
    assert asked(engine, name, 1, 2) == ([2, 4], "1", "anabranch; hit")
    assert asked(engine, name, 1, 3) == ([2, 6], "1", "anabranch; fwd=miss; stored")
    fresh = asked(engine, name, 1, 2, cache_control="no-cache")
    assert fresh == ([2, 4], "1", "anabranch; fwd=request; stored")
    # A candidate has a cache of its own, in a process of its own, and keeps it when promoted.
    given.beside(graph("kept", 3.0), CODE, "--canary", "0")
    old, new = {"path": "/versions/1"}, {"path": "/versions/2"}
    assert asked(engine, name, 1, 2, **new) == ([3, 6], "2", "anabranch; fwd=miss; stored")
    assert asked(engine, name, 1, 2, **new) == ([3, 6], "2", "anabranch; hit")
    assert asked(engine, name, 1, 2, **old) == ([2, 4], "1", "anabranch; hit")
    assert engine.command("promote", name).returncode == 0
    assert asked(engine, name, 1, 2) == ([3, 6], "2", "anabranch; hit")
    given.settled(name, 2)
    assert asked(engine, name, 1, 2)[:2] == ([3, 6], "2")
    assert engine.command("rollback", name).returncode == 0
    assert asked(engine, name, 1, 2)[:2] == ([2, 4], "1")


def test_equal_answers_under_load_across_deploys(engine: Engine, given: Given, load: Any) -> None:
    """All that changes is the revision, and each revision answers as it always does."""
    name = given.deployed(graph("moving", 1.0), CODE)
    with load(name, body(1, 2), clients=4) as clients:
        for by in (2.0, 3.0):
            clients.until_asked(100)
            given.beside(graph("moving", by), CODE)
        clients.until_asked(100)
    assert clients.failures == {}
    answers = {(one["model_version"], one["outputs"][0]["data"][0]) for one in _bodies(clients)}
    assert answers == {("1", 1.0), ("2", 2.0), ("3", 3.0)}


def _bodies(load: Load) -> Iterator[Any]:
    return (json.loads(text) for text in load.answers)


def calls(engine: Engine, name: str, *data: float) -> tuple[int, str]:
    """How often a replica's component had been called when it answered; and the caches."""
    reply = engine.infer(name, {**body(*data), "outputs": [{"name": "calls"}]})
    assert reply.status_code == 200, reply.text
    status = reply.headers["cache-status"]
    return int(reply.json()["outputs"][0]["data"][0]), status


def test_replicas_of_a_machine_share_answers(engine: Engine, given: Given) -> None:
    """Both replicas are asked, and a question that one has answered is a hit at the other."""
    made = graph("kept-shared", 2.0)
    made["spec"]["scaling"] = {"replicas": 2}
    name = given.deployed(made, CODE)
    for n in range(5):
        assert "anabranch; fwd=miss; stored" in calls(engine, name, n, n)[1]
    until(lambda: 5 in _in_files(engine))  # whoever has made an answer writes it a little later
    for n in (*range(5),) * 10:
        assert "anabranch; hit; ttl=" in calls(engine, name, n, n)[1]
    until(lambda: _counted(engine, name) == {"hit": 50, "miss": 5, "wait": 0, "bypass": 0})


def _in_files(engine: Engine) -> list[int]:
    """How many answers each file has that replicas of this machine share."""
    assert engine.state is not None
    files = (Path(engine.state.runtime) / "answers").glob("*.answers")
    return [_answers_in(file) for file in files]


def _answers_in(file: Path) -> int:
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as one,
    ):
        return int(one.execute("SELECT count(*) FROM answers").fetchone()[0])
    return 0  # it goes just now


def _counted(engine: Engine, name: str, node: str = "") -> dict[str, float]:
    """The metrics of a cache by outcome."""
    text = engine.metrics()
    found = dict.fromkeys(("hit", "miss", "wait", "bypass"), 0.0)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels
            own = labels.get("graph") == name and labels.get("node", "") == node
            if sample.name == "anabranch_cache_requests_total" and own:
                found[labels["outcome"]] += sample.value
    return found


@pytest.mark.parametrize("apart", [False, True])
def test_a_node_has_a_cache_in_whichever_process_it_runs(
    engine: Engine, given: Given, apart: bool
) -> None:
    placed = {"placement": {"isolate": True}} if apart else {}
    made = graph("by-node", 2.0, None, cache=KEPT, **placed)
    # What may answer differently stands before it, and has no cache.
    made["spec"]["nodes"]["noise"] = node("Noise", args={"by": 1.0})
    made["spec"]["nodes"]["times"]["inputs"] = {"x": "noise"}
    code = (
        CODE
        + """
class Noise(Times):
    def transform(self, x):
        return x
"""
    )
    name = given.deployed(made, code)
    assert calls(engine, name, 1, 1)[1].startswith("anabranch/times; fwd=miss; stored")
    until(lambda: calls(engine, name, 1, 1)[1].startswith("anabranch/times; hit; ttl="))
    assert calls(engine, name, 1, 1)[0] == 1
    assert calls(engine, name, 2, 2)[0] == 2


def test_the_same_is_told_over_grpc(engine: Engine, given: Given) -> None:
    name = given.deployed(graph("over-grpc", 2.0), CODE)
    message = request_type("ModelInfer")(model_name=name)
    tensor = message.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    tensor.contents.fp32_contents.extend([1.0, 2.0])
    told = []
    with grpc.insecure_channel(f"127.0.0.1:{engine.ports.grpc}") as channel:
        ask = channel.unary_unary(path("ModelInfer"), type(message).SerializeToString)
        for control in ("max-age=0", "max-age=0", "no-cache"):
            _, call = ask.with_call(message, timeout=60, metadata=[("cache-control", control)])
            told.append(dict(call.trailing_metadata())["cache-status"].partition("; ttl")[0])
    assert told == [
        "anabranch; fwd=miss; stored",
        "anabranch; hit",
        "anabranch; fwd=request; stored",
    ]


def test_monitors_feedback_and_logs_go_on(engine: Engine, given: Given) -> None:
    made = graph("kept-watched", 2.0)
    made["spec"]["monitors"] = {
        "watch": {"method": "sketch", "watches": ["times.product"], "window": 5}
    }
    made["spec"]["telemetry"] = {"requests": {}}
    name = given.deployed(made, CODE)
    for n in range(5):
        reply = engine.infer(name, body(1, 1) | {"id": f"q{n}"})
        assert reply.json()["id"] == f"q{n}"
    assert "hit" in reply.headers["cache-status"]

    def rows() -> float:
        text = engine.metrics()
        samples = [s for f in text_string_to_metric_families(text) for s in f.samples]
        seen = [s.value for s in samples if s.name == "anabranch_monitor_rows_total"
                and s.labels["graph"] == name]  # fmt: skip
        return sum(seen)

    until(lambda: rows() == 5)
    folder = engine.home / "requests" / name

    def logged() -> int:
        files = list(folder.rglob("*.jsonl*"))
        return sum(line.count('"q') for file in files for line in file.read_text().splitlines())

    until(lambda: logged() >= 5)


def test_bandits_are_refused_with_a_reason(given: Given) -> None:
    made = graph("bandit", 2.0)
    made["spec"]["nodes"]["other"] = made["spec"]["nodes"]["times"]
    made["spec"]["nodes"]["pick"] = {
        "type": "router",
        "strategy": "thompson",
        "routes": ["times", "other"],
    }
    made["spec"]["outputs"] = {"y": "pick.product"}
    done = given.deploy(made, CODE)
    assert done.returncode != 0
    assert "spec.nodes.pick.strategy: the graph has a `cache`, and 'thompson'" in done.stderr


def test_a_candidate_is_judged_by_what_it_evaluates(engine: Engine, given: Given) -> None:
    """Answers from the cache are no requests of an arm: a warm cache flatters nobody."""
    name = given.deployed(graph("judged", 2.0), CODE)
    for n in range(20):
        asked(engine, name, n % 4, 0)
    until(lambda: _counted(engine, name)["hit"] == 16)
    until(lambda: _arm_requests(engine, name) == 4)


def _arm_requests(engine: Engine, name: str) -> float:
    text = engine.metrics()
    samples = [s for f in text_string_to_metric_families(text) for s in f.samples]
    return sum(s.value for s in samples if s.name == "anabranch_arm_requests_total"
               and s.labels["graph"] == name)  # fmt: skip


def test_a_redis_that_comes_and_goes_changes_no_answer(
    engine: Engine, given: Given, cache_redis: RedisServer
) -> None:
    name = given.deployed(graph("in-redis", 2.0, {**KEPT, "store": "redis"}), CODE)
    assert asked(engine, name, 1, 2)[0] == [2, 4]
    cache_redis.start()
    until(lambda: asked(engine, name, 1, 2) == ([2, 4], "1", "anabranch; hit"))
    until(lambda: len(cache_redis.client.keys()) > 0)
    cache_redis.pause()
    assert [asked(engine, name, n, 2)[0] for n in range(20)] == [[2 * n, 4] for n in range(20)]
    cache_redis.go_on()
    cache_redis.kill()
    assert asked(engine, name, 1, 2)[0] == [2, 4]
    cache_redis.start()
    until(lambda: asked(engine, name, 1, 2) == ([2, 4], "1", "anabranch; hit"))
