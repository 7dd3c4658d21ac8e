"""A graph of a namespace beside the graphs that are named like its parts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Given, error, node, spec, value
from tests.e2e.test_grpc import Client
from tests.engines import HTTP, Engine
from tests.waiting import until, until_true

pytestmark = pytest.mark.e2e

CODE = """
import logging

class Times:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def transform(self, x):
        logging.getLogger(__name__).warning("times %d", self.factor)
        return x * self.factor
"""
TEAM = "team-a/double"
GRAPHS = {TEAM: [2.0, 4.0], "double": [3.0, 6.0], "team-a": [4.0, 8.0]}
"""What each graph makes of 1 and 2."""


@pytest.fixture(scope="module")
def graphs(given_once: Given) -> Given:
    for name, (factor, _) in GRAPHS.items():
        graph = spec(name, times=node("Times", args={"factor": int(factor)}))
        graph["spec"]["telemetry"] = {"requests": {}}
        given_once.deployed(graph, CODE)
    return given_once


@pytest.fixture
def client(engine: Engine) -> Iterator[Client]:
    one = Client(engine.ports.grpc)
    with one.channel:
        yield one


def printed(engine: Engine, *arguments: object) -> str:
    done = engine.command(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_graph_answers_by_its_name_over_http(graphs: Given, engine: Engine) -> None:
    for name, expected in GRAPHS.items():
        for below in ("", "/versions/1"):
            assert value(engine.infer(f"{name}{below}")) == expected
        assert value(engine.infer(name.replace("/", "%2F"))) == expected
        assert HTTP.get(f"{engine.graph_url(name)}/ready").json() == {"name": name, "ready": True}
    assert "'team-a/triple'" in error(engine.infer("team-a/triple"), 404)


def test_each_graph_answers_by_its_name_over_grpc(graphs: Given, client: Client) -> None:
    for name, expected in GRAPHS.items():
        assert client.infer(name) == expected
        assert client("ModelReady", name=name).ready
    assert client("ModelMetadata", name=TEAM).name == TEAM


def test_the_command_line_takes_the_whole_name(graphs: Given, engine: Engine) -> None:
    assert printed(engine, "status", TEAM).startswith(f"{TEAM} is live at {engine.graph_url(TEAM)}")
    assert {line.split()[0] for line in printed(engine, "status").splitlines()} >= GRAPHS.keys()
    assert "[2.0, 4.0]" in printed(engine, "infer", TEAM, "--data", '{"x": [[1, 2]]}')
    until(lambda: "times 2" in printed(engine, "logs", TEAM))
    assert "times 3" not in printed(engine, "logs", TEAM)
    assert "times 2" not in printed(engine, "logs", "double")
    assert "promoted" in printed(engine, "events", TEAM)
    until(lambda: any((engine.home / "requests" / "team-a_double").glob("*.jsonl")))


def test_traffic_moves_within_the_graph_of_the_name(graphs: Given, engine: Engine) -> None:
    graphs.beside(spec(TEAM, times=node("Times", args={"factor": 5})), CODE, "--canary", "100")
    until(lambda: value(engine.infer(TEAM)) == [5.0, 10.0])
    assert value(engine.infer("double")) == GRAPHS["double"]
    printed(engine, "traffic", TEAM, "r1=100", "r2=0")
    assert value(engine.infer(TEAM)) == GRAPHS[TEAM]
    printed(engine, "abort", TEAM)


def test_a_graph_that_does_not_run_is_not_taken_for_another(graphs: Given, engine: Engine) -> None:
    unload = f"{engine.url}/v2/repository/models/{TEAM}/unload"
    headers = {"authorization": f"Bearer {engine.token}"}
    assert HTTP.post(unload, headers=headers).status_code == 200

    def check_refused() -> None:
        assert f"graph '{TEAM}' cannot answer now: it is unloaded" in error(engine.infer(TEAM), 503)

    until_true(check_refused)
    assert value(engine.infer("team-a")) == GRAPHS["team-a"]
    assert HTTP.post(unload.replace("unload", "load"), headers=headers).status_code == 200
    until(lambda: engine.infer(TEAM).status_code == 200)


def test_a_quota_refuses_what_would_be_too_much(graphs: Given, engine: Engine) -> None:
    policy = b"namespaces: {team-a: {graphs: 1}}"
    assert engine.api("PUT", "/access", content=policy).status_code == 200
    try:
        done = graphs.deploy(spec("team-a/other", times=node("Times", args={"factor": 1})), CODE)
        assert done.returncode == 1
        assert "namespace 'team-a' may have 1 graphs" in done.stderr
        assert "team-a     1 of 1" in printed(engine, "status")
    finally:
        assert engine.api("PUT", "/access").status_code == 200


def test_deleting_it_leaves_the_others(graphs: Given, engine: Engine) -> None:
    printed(engine, "delete", TEAM, "--yes")
    assert f"'{TEAM}'" in error(engine.infer(TEAM), 404)
    for name in ("double", "team-a"):
        assert value(engine.infer(name)) == GRAPHS[name]
