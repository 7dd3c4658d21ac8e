"""The request log of a real engine, and its replay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.control.web import Web
from tests.e2e.conftest import Given, node, spec, value
from tests.engines import Engine
from tests.waiting import until

pytestmark = pytest.mark.e2e

CODE = """
class Scale:
    def __init__(self, by=2.0):
        self.by = by

    def transform(self, x):
        x *= self.by  # in place
        return x
"""
REQUESTS = 300


def graph(name: str, by: float = 2.0, **requests: Any) -> dict[str, Any]:
    found = spec(name, scale=node("Scale", args={"by": by}))
    found["spec"]["telemetry"] = {"requests": requests}
    return found


def bodies(count: int) -> list[dict[str, Any]]:
    """Requests of one to three rows of random numbers."""
    random = np.random.default_rng(7)
    found = []
    for number in range(count):
        x = random.normal(size=(number % 3 + 1, 2)).astype(np.float32)
        tensor = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel()}
        found.append({"inputs": [{**tensor, "data": x.ravel().tolist()}]})
    return found


def ask(engine: Engine, name: str, count: int) -> None:
    with httpx.Client(timeout=60) as client:
        for body in bodies(count):
            reply = client.post(f"{engine.graph_url(name)}/infer", json=body)
            assert reply.status_code == 200, reply.text


def lines(folder: Path) -> list[Any]:
    """All whole lines: the last one may be on its way to the disk."""
    return [
        json.loads(line)
        for path in folder.glob("*.jsonl")
        for line in path.read_text().split("\n")[:-1]
    ]


def replayed(engine: Engine, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = engine.command("replay", *arguments, "-o", "json")
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_rewards_are_events_of_their_own(engine: Engine, given: Given) -> None:
    document = graph("log-rewarded", feedback=True)
    document["spec"]["nodes"] |= {
        "other": document["spec"]["nodes"]["scale"],
        "pick": {"type": "router", "strategy": "weighted", "routes": ["scale", "other"]},
    }
    document["spec"]["outputs"] = {"y": "pick"}
    # Routes that share an input may not change it.
    name = given.deployed(document, CODE.replace("x *= self.by", "x = x * self.by"))
    folder = engine.home / "requests" / name
    (body,) = bodies(1)
    assert engine.infer(name, body | {"id": "mine"}).status_code == 200
    for reward in ("0.5", "0.7"):  # only the first one counts
        done = engine.command("feedback", name, "mine", "--reward", reward)
        assert done.returncode == 0, done.stderr
    until(lambda: len(lines(folder)) == 2)
    (event,) = [one for one in lines(folder) if one["type"] == "io.anabranch.feedback.v1"]
    told = {key: event["data"][key] for key in ("graph", "revision", "id", "reward", "truth")}
    assert told == {"graph": name, "revision": 1, "id": "mine", "reward": 0.5, "truth": None}
    # A reward is no request that could be sent again.
    found = replayed(engine, str(folder), name)
    assert (found["sent"], sum(found["skipped"].values())) == (1, 0)


def test_logged_requests_are_answered_equally_again(engine: Engine, given: Given) -> None:
    name = given.deployed(graph("log-replayed"), CODE)
    folder = engine.home / "requests" / name
    ask(engine, name, REQUESTS)
    until(lambda: len(lines(folder)) == REQUESTS)
    found = replayed(engine, str(folder), name, "--revision", "r1")
    assert (found["sent"], found["equal"], found["remarks"]) == (REQUESTS, REQUESTS, [])
    # What was sent again was logged too, and has an id that says so.
    until(lambda: len(lines(folder)) == 2 * REQUESTS)
    again = [event for event in lines(folder) if "id" in event["data"]["request"]]
    assert len(again) == REQUESTS

    given.beside(graph("log-replayed", by=3.0), CODE, "--canary", "1")
    different = replayed(
        engine, str(folder), name, "--revision", "2", "--limit", "20", "--rate", "500", code=1
    )
    assert (different["sent"], different["differs"]) == (20, 20)
    assert "output 'y'" in different["remarks"][0]["detail"]


def test_what_is_redacted_and_what_fails(engine: Engine, given: Given) -> None:
    pytest.importorskip("pyarrow")
    name = given.deployed(graph("log-redacted", redact=["x"], format="parquet"), CODE)
    folder = engine.home / "requests" / name
    secret = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [7391, 0.5]}]}
    assert value(engine.infer(name, secret)) == [14782.0, 1.0]
    wrong = {"inputs": [{**secret["inputs"][0], "shape": [2, 1]}]}
    assert engine.infer(name, wrong).status_code == 400
    until(lambda: len(lines(folder)) == 2)
    first, second = (event["data"] for event in lines(folder))
    assert first["request"]["inputs"][0]["redacted"] is True
    assert first["response"]["outputs"][0]["data"] == [14782.0, 1.0]
    assert second["error"] == {"class": "InvalidRequest", "status": 400, "redacted": True}
    found = replayed(engine, str(folder), name, code=1)
    assert (found["sent"], found["skipped"]["redacted"], found["skipped"]["error"]) == (0, 1, 1)
    # Once its router ends, the file is complete.
    engine.api("DELETE", f"/graphs/{name}")
    until(lambda: [path.suffix for path in folder.iterdir()] == [".parquet"])
    again = given.deployed(graph("log-redacted-again"), CODE)
    found = replayed(engine, str(folder), again, code=1)
    assert (found["sent"], found["skipped"]["redacted"], found["skipped"]["error"]) == (0, 1, 1)


def test_events_over_http(engine: Engine, given: Given, outside: Web) -> None:
    name = given.deployed(graph("log-http", to=f"{outside.url}/logs/http"), CODE)
    ask(engine, name, 60)

    def events() -> list[Any]:
        asked = [one for one in outside.asked if one.path == "/logs/http"]
        return [event for one in asked for event in one.json]

    until(lambda: len(events()) == 60)
    assert {event["source"] for event in events()} == {f"/v2/models/{name}/versions/1"}
    assert len({event["id"] for event in events()}) == 60


def test_a_log_may_not_go_anywhere(engine: Engine, given: Given) -> None:
    done = given.deploy(graph("log-elsewhere", to="http://example.com/logs"), CODE)
    assert done.returncode == 1
    assert "not below what ANABRANCH_REQUEST_LOGS allows" in done.stderr
