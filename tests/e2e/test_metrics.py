"""What is counted shows at ``/metrics`` and at Ray's agents, and equals what clients did."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import Given, ask_each, node, spec
from tests.engines import Engine, actor_processes
from tests.waiting import until, until_true

pytestmark = pytest.mark.e2e

REQUESTS = 600
CLIENTS = 16
CODE = """
import time

import numpy as np


class Guard:
    def transform(self, x):
        if (x < 0).any():
            raise ValueError("a negative number")
        return x


class Net:
    def predict(self, x):
        time.sleep(0.002)
        return x * 2


class Why:
    def attach(self, model):
        self.model = model

    def explain(self, x):
        return {"of": self.model({"x": np.concatenate([x] * 50)})["output"][0].tolist()}
"""
GOOD, FAILS, WRONG = [[1.0, 2.0]], [[-1.0, 2.0]], [["a", "b"]]


def graph(name: str) -> dict[str, Any]:
    """A guard in the head, batches in another process, and an explainer of these."""
    net = {
        "type": "predictor", "component": "components.py:Net", "inputs": {"x": "guard"},
        "batching": {"max_size": 8, "max_delay": "1ms", "max_queue": 512},
        "placement": {"isolate": True},
    }  # fmt: skip
    why = {"type": "explainer", "component": "components.py:Why", "explains": "net"}
    found = spec(name, guard=node("Guard"), why=why, net=net)
    found["spec"]["warmup"] = {"requests": 3}
    return found


def body(x: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": x}]}


def mixed(index: int) -> tuple[str, Any]:
    """What to ask: of ten requests, one fails, one is refused; of a hundred, one explains."""
    if index % 100 == 50:
        return "explain", GOOD
    return "infer", {3: FAILS, 7: WRONG}.get(index % 10, GOOD)


def asked(engine: Engine, name: str) -> list[tuple[str, httpx.Response]]:
    """Send all requests; endpoints and replies."""

    def some(first: int) -> list[tuple[str, httpx.Response]]:
        found = []
        with httpx.Client(timeout=60, trust_env=False) as client:
            for index in range(first, REQUESTS, CLIENTS):
                endpoint, x = mixed(index)
                url = f"{engine.graph_url(name)}/{endpoint}"
                found.append((endpoint, client.post(url, json=body(x))))
        return found

    with ThreadPoolExecutor(CLIENTS) as pool:
        return [each for part in pool.map(some, range(CLIENTS)) for each in part]


Sample = tuple[str, Mapping[str, str], float]


def samples(text: str) -> list[Sample]:
    return [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def own(engine: Engine) -> list[Sample]:
    """What the gateway shows."""
    return samples(engine.metrics())


def rays(engine: Engine) -> list[Sample]:
    """What Ray's agents show, found by Ray's discovery file, without Ray's prefix."""
    state = json.loads((engine.home / "engine.json").read_text())
    discovery = Path(state["runtime"]) / "ray" / "prom_metrics_service_discovery.json"
    targets = [target for group in json.loads(discovery.read_text()) for target in group["targets"]]
    texts = [httpx.get(f"http://{target}/metrics", timeout=30).text for target in targets]
    return [
        (name.removeprefix("ray_"), labels, value)
        for text in texts
        for name, labels, value in samples(text)
        if name.startswith("ray_anabranch_")
    ]


def totals(found: Sequence[Sample], name: str, by: str, **labels: str) -> dict[str, float]:
    """Sums of a metric's samples that have these labels, by another one; without zeros."""
    sums: Counter[str] = Counter()
    for sample, has, value in found:
        if sample == f"anabranch_{name}" and labels.items() <= has.items():
            sums[has[by]] += value  # type: ignore[assignment]
    return {key: value for key, value in sums.items() if value}


def total(found: Sequence[Sample], name: str, **labels: str) -> float:
    return sum(totals(found, name, "graph", **labels).values())


Look = Callable[[Engine], Sequence[Sample]]


@pytest.fixture(scope="module")
def played(engine: Engine, given_once: Given) -> Iterator[tuple[str, Counter[tuple[str, int]]]]:
    """A graph with a canary and a mirror, and how its clients were answered."""
    name = given_once.deployed(graph("counted"), CODE)
    given_once.beside(graph("counted"), CODE, "--canary", "20")
    given_once.beside(graph("counted"), CODE, "--mirror", "50")
    replies = asked(engine, name)
    assert {r.json()["model_version"] for e, r in replies if e == "infer" and r.is_success} == {
        "1",
        "2",
    }
    yield name, Counter((endpoint, reply.status_code) for endpoint, reply in replies)


@pytest.mark.parametrize("look", [own, pytest.param(rays, marks=pytest.mark.nightly)])
def test_counts_equal_the_clients(
    engine: Engine, played: tuple[str, Counter[tuple[str, int]]], look: Look
) -> None:
    name, answered = played
    until_true(lambda: check_counts(look(engine), {"graph": name}, answered))


def check_counts(
    found: Sequence[Sample], here: dict[str, str], answered: Counter[tuple[str, int]]
) -> None:
    """Processes export each at its own time, so this holds a while after the last reply."""
    good, failed = answered["infer", 200], answered["infer", 500]
    evaluated = good + failed
    assert (good + failed + answered["infer", 400] + answered["explain", 200]) == REQUESTS
    for endpoint in ("infer", "explain"):
        of = {**here, "endpoint": endpoint, "protocol": "http"}
        codes = {code: n for (kind, code), n in answered.items() if kind == endpoint}
        assert totals(found, "requests_total", "code", **of) == {
            str(code): count for code, count in codes.items()
        }
        assert total(found, "request_duration_seconds_count", **of) == sum(codes.values())
    assert total(found, "requests_in_flight", **here) == 0

    assert totals(found, "arm_errors_total", "kind", **here) == {"NodeError": failed}
    assert total(found, "arm_latency_seconds_count", **here) == evaluated
    assert set(totals(found, "arm_requests_total", "revision", **here)) == {"1", "2"}

    for arm in ("1", "2"):
        guard = {**here, "revision": arm, "node": "guard"}
        arms = total(found, "arm_requests_total", **here, revision=arm)
        errors = total(found, "arm_errors_total", **here, revision=arm)
        assert total(found, "node_errors_total", **guard) == errors
        assert total(found, "node_duration_seconds_count", **guard) == arms - errors
        net = {**here, "revision": arm, "node": "net"}
        assert total(found, "batch_size_rows_sum", **net) == arms - errors
        assert total(found, "queue_duration_seconds_count", **net) == arms - errors
        batches = total(found, "batch_requests_count", **net)
        assert 0 < batches <= arms - errors
        assert total(found, "node_duration_seconds_count", **net) == batches
        hops = {**here, "revision": arm, "segment": "net"}
        assert total(found, "hop_duration_seconds_count", **hops) == arms - errors

    selected = total(found, "mirror_selected_total", **here, revision="3")
    dropped = total(found, "mirror_dropped_total", **here, revision="3")
    copies = total(found, "mirror_sent_total", **here, revision="3")
    compared = total(found, "mirror_compared_total", **here, revision="3")
    assert selected == copies + dropped and 0 < selected < good
    assert total(found, "mirror_errors_total", **here) == copies - compared
    assert total(found, "batch_requests_sum", **here, revision="3") == compared

    outcomes = totals(found, "explanations_total", "outcome", **here)
    assert sum(outcomes.values()) == answered["explain", 200]
    assert set(outcomes) == {"explained", "cached"}

    weights = totals(found, "arm_weight", "revision", **here)
    assert weights == {"1": pytest.approx(0.8), "2": pytest.approx(0.2)}
    for segment in ("head", "net", "why"):
        running = {**here, "revision": "1", "segment": segment, "state": "running"}
        assert total(found, "replicas", **running) == 1
        starts = {**here, "revision": "1", "segment": segment}
        assert total(found, "replica_start_seconds_count", **starts) == 1


def test_a_traced_request_is_the_example_of_its_buckets(engine: Engine, given: Given) -> None:
    name = given.deployed(spec("exemplary", guard=node("Guard")), CODE)
    trace = os.urandom(16).hex()
    headers = {"traceparent": f"00-{trace}-{os.urandom(8).hex()}-01"}
    assert engine.infer(name, headers=headers).status_code == 200

    def shown() -> bool:
        accept = {"accept": "application/openmetrics-text; version=1.0.0"}
        page = httpx.get(f"{engine.url}/metrics", headers=accept, timeout=30)
        parse: Any = open_metrics
        found = {
            family.name
            for family in parse(page.text)
            for sample in family.samples
            if sample.exemplar is not None and sample.exemplar.labels == {"trace_id": trace}
        }
        return found >= {"anabranch_request_duration_seconds", "anabranch_node_duration_seconds"}

    until(shown)


@pytest.mark.nightly
def test_counts_outlive_replicas_and_begin_anew_with_the_controller(
    engine: Engine, given: Given
) -> None:
    name = given.deployed(spec("lasting", guard=node("Guard")), CODE)
    url = f"{engine.graph_url(name)}/infer"

    def counted(metric: str, **labels: str) -> float:
        return total(own(engine), metric, graph=name, **labels)

    def away() -> bool:
        return httpx.get(f"{engine.url}/metrics", timeout=30).status_code != 200

    def asked() -> float:
        return counted("requests_total", endpoint="infer")

    ask_each(url, [{}] * 30)
    until(lambda: asked() == 30)
    given.deployed(spec("lasting", guard=node("Guard")), CODE + "\n# changed\n")
    given.settled(name, 2)
    ask_each(url, [{}] * 12)
    until(lambda: asked() == 42)
    until(lambda: counted("arm_requests_total", revision="1") == 30)

    (controller,) = actor_processes(engine, "Controller")
    os.kill(controller.pid, signal.SIGKILL)
    until(lambda: controller.pid not in {p.pid for p in actor_processes(engine, "Controller")})
    until(lambda: not away())
    ask_each(url, [{}] * 5)
    until(lambda: asked() == 5)
    assert counted("request_duration_seconds_count", endpoint="infer") == 5
