"""Explanations from outside: over HTTP and gRPC, beside predictions, and never in their way."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from anabranch.router.grpc.messages import InferParameter, InferRequest, path, response_type
from anabranch.router.oip.raw_tensors import encode_raw
from tests.e2e.conftest import Given, error, node, spec, value
from tests.e2e.test_traces import Asked
from tests.engines import BODY, Engine
from tests.telemetry.collector import Collector
from tests.waiting import until

pytestmark = pytest.mark.e2e

CODE = '''
import os
import time

import numpy as np


class Times:
    def __init__(self, by):
        self.by = by

    def transform(self, x):
        return x * self.by


class Why:
    """Says what the model makes of each row, and of each row plus one."""

    def attach(self, model):
        self.model = model

    def explain(self, x, context):
        ends = time.monotonic() + context.parameters.get("sleep", 0)
        while time.monotonic() < ends:
            time.sleep(0.01)
        if context.parameters.get("fail"):
            raise RuntimeError("no idea")
        both = self.model({"x": np.concatenate([x, x + 1])})["output"]
        return {"of": both[: len(x)].tolist(), "plus": both[len(x) :].tolist(), "pid": os.getpid()}


class Broken(Why):
    def load(self):
        raise RuntimeError("no idea of anything")
'''
WHY = {"type": "explainer", "component": "components.py:Why", "explains": "times"}


def explained(name: str, **more: Any) -> dict[str, Any]:
    """A graph that doubles and then multiplies by ten, whose latter node is explained."""
    return spec(
        name,
        twice=node("Times", args={"by": 2}),
        why={**WHY, **more.pop("why", {})},
        **more.pop("others", {}),
        times=node("Times", "twice", args={"by": 10}, **more),
    )


def ask(engine: Engine, name: str, path: str = "", **parameters: Any) -> httpx.Response:
    """Ask for an explanation."""
    body = {**BODY, "parameters": parameters}
    return httpx.post(f"{engine.graph_url(name)}{path}/explain", json=body, timeout=60)


def found(reply: httpx.Response) -> dict[str, Any]:
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


@pytest.fixture(scope="module")
def graph(given_once: Given) -> str:
    """A graph whose explained node has a deployment of two replicas."""
    more = {"timeout": "30s", "scaling": {"replicas": 1, "max_queue": 1}, "sample": "50%"}
    return given_once.deployed(explained("explained", why=more, scaling={"replicas": 2}), CODE)


def test_a_component_explains_over_http(engine: Engine, graph: str) -> None:
    answer = found(ask(engine, graph, path="/versions/1"))
    assert (answer["explainer"], answer["model_version"]) == ("why", "1")
    (one,) = answer["explanations"]
    assert (one["method"], one["seed"]) == ("components.py:Why", 0)
    assert one["library"]["of"] == [[20, 40]] and one["library"]["plus"] == [[30, 50]]
    assert answer["timing"]["model_calls"] == 1 and answer["timing"]["model_rows"] == 2
    assert found(ask(engine, graph))["timing"]["cached"]
    assert value(engine.infer(graph)) == [20, 40]


def test_what_goes_wrong_is_told(engine: Engine, graph: str) -> None:
    told = error(ask(engine, graph, fail=True), 500)
    assert told.startswith("node 'why' failed: RuntimeError: no idea (components.py:")
    assert "no explainer 'who'" in error(ask(engine, graph, explainer="who"), 400)
    late = error(ask(engine, graph, sleep=10, timeout=500_000), 504)
    # The router says so, or the explainer, to which a little less of the time was left.
    assert re.search(r"^explainer 'why' .*did not answer within 0\.(5|[0-4]\d+)s", late), late
    until(lambda: ask(engine, graph).status_code == 200)


def test_a_prediction_comes_with_its_explanation_or_without(engine: Engine, graph: str) -> None:
    both = engine.infer(graph, {**BODY, "parameters": {"explain": True}})
    assert value(both) == [20, 40]
    told = both.json()["parameters"]
    alone = found(ask(engine, graph))
    assert told["explained"] is True
    assert json.loads(told["explanation"])["explanations"] == alone["explanations"]
    # A twentieth of the time is left to the reply, which a busy machine may need.
    late = engine.infer(
        graph, {**BODY, "parameters": {"explain": "why", "sleep": 10, "timeout": 3_000_000}}
    )
    assert value(late) == [20, 40]
    told = late.json()["parameters"]
    assert told["explained"] is False and told["explanation_error"].startswith("late: ")


@pytest.mark.nightly
def test_a_slow_explainer_with_a_full_queue_harms_no_prediction(
    engine: Engine, graph: str, load: Callable[..., Any]
) -> None:
    """Each explanation would take ten seconds, and has two: one is in progress, one waits."""
    until(lambda: ask(engine, graph, sleep=0.01).status_code == 200)

    def one(number: int) -> httpx.Response:
        return ask(engine, graph, sleep=10 + number / 1000, timeout=2_000_000)

    with load(graph, clients=4) as predictions, ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(one, range(6)))
        predictions.until_asked(100)
    assert predictions.failures == {} and len(predictions.answers) == 1
    late = [reply for reply in replies if reply.status_code == 504]
    refused = [reply for reply in replies if reply.status_code == 503]
    assert len(late) + len(refused) == 6 and late and len(refused) >= 3
    for reply in refused:
        assert "'why' has its queue full" in error(reply, 503)
        assert int(reply.headers["retry-after"]) >= 1
    until(lambda: ask(engine, graph, sleep=0.02).status_code == 200)


@pytest.mark.nightly
def test_a_killed_explainer_harms_no_prediction_and_comes_back(
    engine: Engine, graph: str, load: Callable[..., Any]
) -> None:
    until(lambda: ask(engine, graph, n=1).status_code == 200)
    pid = found(ask(engine, graph, n=1))["explanations"][0]["library"]["pid"]
    with load(graph, clients=4) as predictions:
        os.kill(pid, signal.SIGKILL)
        until(lambda: ask(engine, graph, n=1).status_code == 200)
        predictions.until_asked(20)
    assert predictions.failures == {} and len(predictions.answers) == 1
    assert found(ask(engine, graph, n=1))["explanations"][0]["library"]["pid"] != pid


def test_a_share_of_the_traffic_is_explained_in_the_log(engine: Engine, graph: str) -> None:
    def is_logged() -> bool:
        """Samples are dropped while an explanation that was given up ends: it has idle time."""
        for _ in range(20):
            assert value(engine.infer(graph)) == [20, 40]
        return '"node":"why"' in engine.command("logs", graph).stdout

    until(is_logged)
    lines = [line for line in engine.command("logs", graph).stdout.splitlines() if '"node"' in line]
    # Where one is known, the request stands behind what was logged.
    told, _ = json.JSONDecoder().raw_decode(lines[-1], lines[-1].index("{"))
    assert (told["graph"], told["revision"], told["node"]) == (graph, "1", "why")
    assert told["explanations"]


def test_an_explanation_is_a_part_of_its_requests_trace(
    engine: Engine, collector: Collector, graph: str
) -> None:
    asked = Asked()
    body = {"inputs": [{**BODY["inputs"][0], "data": [70.0, 80.0]}]}
    url = f"{engine.graph_url(graph)}/explain"
    found(httpx.post(url, json=body, headers=asked.headers, timeout=60))
    names = ["node twice", "explainer why", "hop why", "explanation why"]
    names += ["POST /v2/models/{model}/explain"]
    until(lambda: {span.name for span in collector.trace(asked.trace).values()} >= set(names))
    spans = {span.name: span for span in collector.trace(asked.trace).values()}
    parents = [spans[name].parent_id for name in names]
    assert parents == [*(spans[name].span_id for name in names[1:]), asked.span]
    assert spans["explainer why"].process != spans["hop why"].process
    assert not any("times" in name for name in spans), "the model's calls are not recorded"


def test_a_prediction_is_explained_over_grpc(engine: Engine, graph: str) -> None:
    request = InferRequest(
        model_name=graph, parameters={"explain": InferParameter(bool_param=True)}
    )
    request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    request.raw_input_contents.append(encode_raw(np.float32([[1, 2]]), "FP32"))
    with grpc.insecure_channel(f"127.0.0.1:{engine.ports.grpc}") as channel:
        call = channel.unary_unary(path("ModelInfer"))
        reply = response_type("ModelInfer").FromString(
            call(request.SerializeToString(), timeout=20, wait_for_ready=True)
        )
    assert reply.parameters["explained"].bool_param
    told = json.loads(reply.parameters["explanation"].string_param)
    assert told["explanations"][0]["library"]["of"] == [[20, 40]]


def test_each_revision_explains_itself_by_a_copy_in_the_explainer(
    engine: Engine, given: Given
) -> None:
    name = given.deployed(explained("explained-twice"), CODE)
    given.beside(
        explained("explained-twice"), CODE.replace("x * self.by", "-x * self.by"), "--canary", "1"
    )
    for number, sign in (("1", 1), ("2", -1)):
        (one,) = found(ask(engine, name, f"/versions/{number}"))["explanations"]
        # The second revision's other node has turned the sign before.
        assert one["library"]["of"] == [[20, 40]]
        assert one["library"]["plus"] == [[30, 50] if sign > 0 else [10, 30]]


def test_an_explainer_that_cannot_start_fails_the_revision(given: Given) -> None:
    done = given.deploy(explained("unexplained", why={"component": "components.py:Broken"}), CODE)
    assert done.returncode == 1
    assert "'why'" in done.stderr and "no idea of anything" in done.stderr
