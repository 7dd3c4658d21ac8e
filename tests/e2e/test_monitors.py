"""Monitors see what a graph is asked, say when that has changed, and are in nobody's way."""

from __future__ import annotations

import re
from typing import Any

import httpx
import numpy as np
import pytest

from benchmarks.counts import outlet
from benchmarks.holding import held
from tests.e2e.conftest import Given, node, spec
from tests.engines import Engine, actor_processes
from tests.waiting import until

pytestmark = pytest.mark.e2e

datasets = pytest.importorskip("sklearn.datasets")

NAME = "watched"
CODE = """
import numpy as np


class Prepare:
    def __init__(self, shift: int = 0) -> None:
        self.shift = shift

    def transform(self, x):
        return np.roll(x.reshape(-1, 8, 8), self.shift, axis=2).reshape(-1, 64) / 16


class Ink:
    def transform(self, x):
        return x.sum(axis=1)


class Heavy:
    def score(self, ink):
        heavy = ink > 30
        return {"score": heavy.mean() / 0.5, "outliers": heavy}
"""


def halves() -> tuple[np.ndarray, np.ndarray]:
    """The digits in halves drawn at random: they come by who has written them."""
    images = datasets.load_digits().data.astype(np.float32)
    order = np.random.default_rng(0).permutation(len(images))
    return images[order[:900]], images[order[900:]]


def digits(rows: int, seed: int) -> np.ndarray:
    """Rows of the half that is no reference."""
    _, images = halves()
    return images[np.random.default_rng(seed).integers(0, len(images), rows)]


def shifted(images: np.ndarray) -> np.ndarray:
    return np.roll(images.reshape(-1, 8, 8), 1, axis=2).reshape(-1, 64)


def reference(name: str, scale: float = 1.0) -> str:
    """The other half, as a .csv."""
    images, _ = halves()
    head = ",".join(f"{name}[{i}]" for i in range(64))
    rows = (",".join(f"{value:g}" for value in row) for row in images / scale)
    return "\n".join([head, *rows])


FILES = {"pixels.csv": reference("x"), "prepared.csv": reference("prepare", 16)}


def graph(name: str, shift: int = 0, **more: Any) -> dict[str, Any]:
    one = spec(name, prepare=node("Prepare", args={"shift": shift}), ink=node("Ink", "prepare"))
    one["spec"]["nodes"]["ink"]["placement"] = {"isolate": True}
    one["spec"]["inputs"]["x"]["shape"] = [-1, 64]
    one["spec"]["monitors"] = {
        "pixels": {"method": "drift", "watches": ["x"], "reference": {"data": "pixels.csv"}},
        "prepared": {
            "method": "ks", "watches": ["prepare"], "reference": {"data": "prepared.csv"},
        },
        "heavy": {"component": "components.py:Heavy", "watches": ["ink"], "window": 100},
        "usual": {
            "method": "mahalanobis", "watches": ["x"], "reference": {"first": 200}, "window": 100,
        },
    }  # fmt: skip
    one["spec"] |= more
    return one


def body(images: np.ndarray) -> dict[str, Any]:
    tensor = {"name": "x", "datatype": "FP32", "shape": list(images.shape)}
    return {"inputs": [tensor | {"data": images.ravel().tolist()}]}


def send(engine: Engine, name: str, images: np.ndarray) -> None:
    """Send one request for each image, and now and then wait until monitors have what came.

    They come last on a busy machine, and what has waited for some seconds is dropped.
    """
    with httpx.Client(timeout=60, trust_env=False) as client:
        for number, image in enumerate(images, 1):
            reply = client.post(f"{engine.graph_url(name)}/infer", json=body(image[None]))
            assert reply.status_code == 200, reply.text
            if number % 50 == 0:
                until(lambda: not outlet(engine.url, name, "monitors")["waiting"])


def monitors(engine: Engine, name: str, revision: int = 1) -> dict[str, dict[str, Any]]:
    found = engine.api("GET", f"/graphs/{name}/monitors").json()["monitors"]
    return {one["monitor"]: one for one in found if one["revision"] == revision}


def events(engine: Engine, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = engine.api("GET", f"/events?graph={name}").json()["events"]
    return found


def metric(engine: Engine, name: str, **labels: str) -> float:
    """The value of a metric at the gateway: the sum over cells that have these labels."""
    text = engine.metrics()
    found = re.findall(rf"^{name}\{{(.*)\}} (\S+)", text, re.MULTILINE)
    wanted = {f'{key}="{label}"' for key, label in labels.items()}
    return sum(float(value) for cell, value in found if wanted <= set(cell.split(",")))


@pytest.fixture(scope="module")
def watched(engine: Engine, given_once: Given) -> str:
    """A graph that was asked with data like the reference, of which ``usual`` has made its own."""
    name = given_once.deployed(graph(NAME), CODE, FILES)
    send(engine, name, digits(400, 1))
    until(lambda: monitors(engine, name)["prepared"]["windows"] >= 2)
    until(lambda: monitors(engine, name)["usual"]["windows"] >= 2)
    until(lambda: monitors(engine, name)["heavy"]["windows"] >= 4)
    return name


def test_data_like_the_reference_raise_no_alarm(engine: Engine, watched: str) -> None:
    found = monitors(engine, watched)
    assert {name: one["state"] for name, one in found.items()} == {
        "pixels": "ok", "prepared": "ok", "heavy": "ok", "usual": "ok",
    }  # fmt: skip
    assert found["pixels"]["rows"] == found["prepared"]["rows"] == 400
    assert found["usual"]["rows"] == 200  # and 200 were its reference
    assert found["pixels"]["score"] < 1 and len(found["pixels"]["features"]) == 64
    assert not [one for one in events(engine, watched) if one["kind"].startswith("drift")]


def test_shifted_pixels_are_flagged_within_500_requests(engine: Engine, watched: str) -> None:
    send(engine, watched, shifted(digits(500, 2)))
    until(lambda: monitors(engine, watched)["prepared"]["state"] == "drift")
    until(lambda: monitors(engine, watched)["pixels"]["state"] == "drift")
    until(lambda: monitors(engine, watched)["usual"]["state"] == "drift")
    found = monitors(engine, watched)["pixels"]
    assert found["score"] > 1 and found["alarms"] == 1 and found["drift_since"]
    worst = found["features"][0]
    assert worst["score"] == found["score"] and worst["p_value"] < 1e-6 and worst["statistic"] > 0.3

    until(lambda: metric(engine, "anabranch_monitor_drift", graph=watched, monitor="pixels") == 1)
    labels = {"graph": watched, "revision": "1", "monitor": "pixels"}
    assert metric(engine, "anabranch_monitor_score", **labels) > 1
    assert metric(engine, "anabranch_monitor_feature_score", feature=worst["name"], **labels) > 1
    assert metric(engine, "anabranch_monitor_alarms_total", **labels) == 1
    until(
        lambda: (
            metric(engine, "anabranch_monitor_rows_total", **labels)
            == monitors(engine, watched)["pixels"]["rows"]
        )
    )

    def begun() -> list[dict[str, Any]]:
        told = [one for one in events(engine, watched) if one["kind"] == "drift_began"]
        return [one for one in told if one["data"]["monitor"] == "pixels"]

    until(begun)  # the state is told first
    (began,) = begun()
    assert began["revision"] == 1 and worst["name"] in began["message"]
    assert began["data"]["features"][0]["p_value"] < 1e-6

    shown = engine.command("monitors", watched)
    assert shown.returncode == 0, shown.stderr
    assert "DRIFT since" in shown.stdout and worst["name"] in shown.stdout


def test_a_process_that_starts_anew_goes_on_with_its_reference(
    engine: Engine, watched: str
) -> None:
    before = monitors(engine, watched)["usual"]
    (replica,) = actor_processes(engine, f"ServeReplica:{watched}.r1:monitors")
    replica.kill()
    until(
        lambda: any(
            one.pid != replica.pid
            for one in actor_processes(engine, f"ServeReplica:{watched}.r1:monitors")
        )
    )

    def goes_on() -> bool:
        send(engine, watched, digits(50, 3))
        return monitors(engine, watched)["usual"]["windows"] > before["windows"]

    until(goes_on)
    after = monitors(engine, watched)["usual"]
    assert after["rows"] > before["rows"] and after["alarms"] == before["alarms"]


@pytest.mark.nightly
def test_monitors_that_hang_cost_only_what_they_would_have_seen(
    engine: Engine, watched: str
) -> None:
    labels = {"graph": watched, "outlet": "monitors"}

    def outlet(what: str) -> float:
        return metric(engine, f"anabranch_outlet_{what}", **labels)

    (replica,) = actor_processes(engine, f"ServeReplica:{watched}.r1:monitors")
    lost, selected = outlet("dropped_total"), outlet("selected_total")
    big, times = digits(2000, 4), 12
    with held(replica.pid):
        for _ in range(times):  # each is half a megabyte of what is watched, and four fit
            reply = engine.infer(watched, body(big))
            assert reply.status_code == 200
        send(engine, watched, digits(100, 5))
    until(lambda: outlet("selected_total") >= selected + times)  # reports come once a second
    until(lambda: outlet("waiting") == 0)
    until(
        lambda: outlet("selected_total") == outlet("sent_total") + outlet("dropped_total"),
    )
    assert outlet("dropped_total") > lost


@pytest.mark.nightly
def test_a_rollout_stops_a_candidate_whose_data_drift(given: Given, load: Any) -> None:
    engine = given.engine
    rollout = {
        "steps": [50],
        "hold": "30s",
        "analysis": {"interval": "2s", "metrics": [{"metric": "drift", "max": 1}]},
    }
    name = given.deployed(graph("drifting", rollout=rollout), CODE, FILES)
    images = digits(200, 6)
    with load(name, body(images), clients=2):
        done = given.deploy(graph("drifting", shift=1, rollout=rollout), CODE, FILES)
        assert done.returncode == 0, done.stderr
        until(lambda: engine.graph(name)["rollout"]["phase"] not in ("running", "paused"))
        # The rollout may end before the stable revision has seen a window.
        until(lambda: monitors(engine, name, 1)["prepared"]["state"] != "waiting")
    found = engine.graph(name)
    assert found["rollout"]["phase"] == "aborted"
    assert "drift" in found["rollout"]["reason"]
    until(lambda: monitors(engine, name, 2)["prepared"]["state"] == "drift")
    assert monitors(engine, name, 1)["prepared"]["state"] == "ok"
    until(lambda: monitors(engine, name, 2)["pixels"]["state"] != "waiting")
    assert monitors(engine, name, 2)["pixels"]["state"] == "ok"
