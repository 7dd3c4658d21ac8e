"""Streams over real HTTP: from the router's own head, from a segment, from another revision."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Given, error, spec
from tests.engines import Engine
from tests.waiting import until

pytestmark = pytest.mark.e2e

CODE = """
import asyncio
import os
import numpy as np


class Talk:
    async def predict(self, x, context):
        asked, made = context.parameters, 0
        try:
            for index in range(asked.get("upto", 3)):
                while "gate" in asked and not os.path.exists(f"{asked['gate']}{index}"):
                    await asyncio.sleep(0.01)
                made += 1
                if "count" in asked:
                    with open(asked["count"], "a") as file:
                        file.write(".")
                yield np.array([f"{index}," + " " * asked.get("size", 0)], object)
                if asked.get("fail"):
                    raise RuntimeError("not today")
                await asyncio.sleep(asked.get("pause", 0))
        finally:
            print("ended", context.id, "after", made, flush=True)
"""
WAYS = ["head/versions/1", "segment", "head/versions/2"]
each_way = pytest.mark.parametrize(
    "way", [*WAYS[:2], pytest.param(WAYS[2], marks=pytest.mark.nightly)]
)


def graph(name: str, isolate: bool) -> dict[str, Any]:
    talk = {"type": "predictor", "component": "components.py:Talk", "inputs": {"x": "x"}}
    talk["outputs"] = {"text": {"datatype": "BYTES", "shape": [1]}}
    made = spec(name, talk={**talk, "placement": {"isolate": isolate}})
    made["spec"]["timeout"] = "20s"
    return made


@pytest.fixture(scope="module", autouse=True)
def deployed(given_once: Given) -> None:
    given_once.deployed(graph("segment", isolate=True), CODE)
    given_once.deployed(graph("head", isolate=False), CODE)
    given_once.beside(graph("head", isolate=False), CODE, "--canary", "0")


def ask(**parameters: Any) -> dict[str, Any]:
    return {"x": [1.0, 2.0], "parameters": parameters}


def events(lines: Iterator[str]) -> Iterator[Any]:
    return (json.loads(line.removeprefix("data: ")) for line in lines if line)


def stream(engine: Engine, way: str, **parameters: Any) -> list[Any]:
    url = f"{engine.graph_url(way)}/generate_stream"
    reply = httpx.post(url, json=ask(**parameters), timeout=60)
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    return list(events(reply.iter_lines()))


@each_way
def test_each_result_arrives_when_it_is_made(engine: Engine, way: str, tmp_path: Path) -> None:
    """The next one is not made before the last has arrived."""
    url, gate = f"{engine.graph_url(way)}/generate_stream", tmp_path / "gate"
    texts = []
    # A reply begins with its first result.
    Path(f"{gate}0").touch()
    with httpx.stream("POST", url, json=ask(gate=str(gate)), timeout=60) as reply:
        for event in events(reply.iter_lines()):
            texts.append(event["text_output"])
            Path(f"{gate}{len(texts)}").touch()
    assert texts == ["0,", "1,", "2,", ""]


@each_way
def test_generate_joins_and_infer_refuses(engine: Engine, way: str) -> None:
    url = engine.graph_url(way)
    reply = httpx.post(f"{url}/generate", json=ask(upto=50), timeout=60)
    assert reply.json()["text_output"] == "".join(f"{index}," for index in range(50))
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
    reply = httpx.post(f"{url}/infer", json={"inputs": [tensor]}, timeout=60)
    assert "node 'talk' streams" in error(reply, 400)


@each_way
def test_errors_and_the_deadline_are_the_last_event(engine: Engine, way: str) -> None:
    found = stream(engine, way, fail=True)
    assert found[-1]["error"].startswith("node 'talk' failed: RuntimeError: not today (")
    found: list[Any] = []
    for seconds in (1, 4, 16):  # the first result may take a busy machine that long
        url = f"{engine.graph_url(way)}/generate_stream"
        reply = httpx.post(url, json=ask(pause=60, timeout=seconds * 1_000_000), timeout=60)
        if reply.status_code == 200:
            found = list(events(reply.iter_lines()))
            break
    assert f"did not answer within {seconds}s" in found[-1]["error"]
    assert found[0]["text_output"] == "0,"


def made_before_the_end(engine: Engine, way: str, own: str) -> int:
    """How many results the component had made when it was told to end."""
    name, mark = way.partition("/")[0], f"ended {own} after "
    deadline = time.monotonic() + 60
    while mark not in (log := engine.command("logs", name, "--tail", "10000").stdout):
        assert time.monotonic() < deadline, log
    return int(log.partition(mark)[2].split()[0])


def is_still(count: Path) -> bool:
    """Whether no result is made for half a second."""
    before = count.stat().st_size
    time.sleep(0.5)
    return before == count.stat().st_size


@each_way
def test_a_client_that_hangs_up_ends_the_component(
    engine: Engine, way: str, tmp_path: Path
) -> None:
    """The second result waits for a gate that never opens: only the hang-up ends the component."""
    url, own = f"{engine.graph_url(way)}/generate_stream", f"gone-{WAYS.index(way)}"
    gate = tmp_path / "gate"
    Path(f"{gate}0").touch()
    body = {**ask(upto=100, gate=str(gate)), "id": own}
    with httpx.stream("POST", url, json=body, timeout=60) as reply:
        next(reply.iter_lines())
    assert made_before_the_end(engine, way, own) == 1


@each_way
def test_a_client_that_reads_nothing_stops_the_component(
    engine: Engine, way: str, tmp_path: Path
) -> None:
    """What was made is what fits into the buffers on the way, not all of 2,000 pieces."""
    url, own = f"{engine.graph_url(way)}/generate_stream", f"stuck-{WAYS.index(way)}"
    count = tmp_path / "count"
    body = {**ask(upto=2000, size=100_000, count=str(count)), "id": own}
    with httpx.stream("POST", url, json=body, timeout=60):
        until(lambda: count.exists() and is_still(count))
    assert made_before_the_end(engine, way, own) < 500
