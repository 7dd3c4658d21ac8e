"""Shared models on a real engine: deployed once, called by several graphs over HTTP."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Given, Load, error, value
from tests.engines import HTTP, Engine, done
from tests.waiting import until

pytestmark = pytest.mark.e2e

MODELS = ("scorer", "ranker", "holdable", "picky", "frail", "judged")
GRAPHS = ("pay", "claim", "login", "audit")
POOLED = ("login", "audit")
"""Those of the graphs that share a process."""
SCORE = {"datatype": "FP32", "shape": [-1]}
CODE = """
import os
from pathlib import Path

import numpy as np


class Scorer:
    def __init__(self, factor=1.0, log=None, fails=False):
        self.factor = factor
        self.log = log
        self.fails = fails
        self.write(f"loaded {os.getpid()}")

    def write(self, line):
        if self.log is not None:
            with Path(self.log).open("a") as file:
                file.write(line + "\\n")

    def predict(self, x):
        if self.fails or (x < 0).any():
            raise ValueError("negative amounts")
        self.write("batch " + " ".join(f"{one:g}" for one in x[:, 1]))
        return x.sum(axis=1) * self.factor

    def feedback(self, given):
        self.write(f"reward {given.id} {given.reward:g}")


class Why:
    def attach(self, model):
        self.model = model

    def explain(self, x):
        return self.model({"x": x})["score"].tolist()


class Moved:
    def __init__(self, by=0.0):
        self.by = np.float32(by)

    def transform(self, x):
        return x + self.by
"""


def model(name: str, factor: float = 1.0, log: str | None = None, **fields: Any) -> dict[str, Any]:
    """A shared model that sums the columns of its rows, and may log what it does."""
    args = {"factor": factor, **({} if log is None else {"log": log}), **fields.pop("args", {})}
    return {
        "apiVersion": "anabranch/v1",
        "kind": "Model",
        "metadata": {"name": name},
        "spec": {
            "component": "components.py:Scorer",
            "args": args,
            "inputs": {"x": {"datatype": "FP32", "shape": [-1, 2]}},
            "outputs": {"score": SCORE},
            **fields,
        },
    }


def graph(name: str, reference: str, by: float = 0.0, **fields: Any) -> dict[str, Any]:
    """A graph that adds to the scores of a shared model."""
    scorer = {"type": "predictor", "model": reference, "inputs": {"x": "x"}, **fields}
    moved = {
        "type": "transformer",
        "component": "components.py:Moved",
        "args": {"by": by},
        "inputs": {"x": "scorer"},
    }
    return {
        "apiVersion": "anabranch/v1",
        "kind": "InferenceGraph",
        "metadata": {"name": name},
        "spec": {
            "inputs": {"x": {"datatype": "FP32", "shape": [-1, 2]}},
            "nodes": {"scorer": scorer, "moved": moved},
            "outputs": {"y": "moved"},
        },
    }


def score(engine: Engine, name: str, row: tuple[float, float] = (1, 2)) -> float:
    """The score that a graph gives to a row."""
    (found,) = value(engine.infer(name, body(row)), "score" if name in MODELS else "y")
    return found


def users(engine: Engine, name: str) -> dict[str, Any]:
    return {one["graph"]: one for one in models(engine)[name]["users"]}


def answers(load: Load) -> set[str]:
    """The texts of all different scores that a load has got."""
    return {str(json.loads(text)["outputs"][0]["data"][0]) for text in list(load.answers)}


def body(*rows: tuple[float, float]) -> dict[str, Any]:
    data = [list(row) for row in rows]
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [len(rows), 2], "data": data}]}


def models(engine: Engine) -> dict[str, Any]:
    """What ``anabranch models`` shows, by name."""
    found = json.loads(done(engine.command("models", "-o", "json")).stdout)["models"]
    return {one["model"]: one for one in found}


@pytest.fixture(scope="module")
def log(given_once: Given) -> str:
    """Deploy a model and four graphs that use it; the file in which the model logs."""
    path = str(given_once.folder / "scorer.log")
    batching = {"max_size": 64, "max_delay": "100ms"}
    given_once.deployed(model("scorer", log=path, batching=batching), CODE)
    for number, name in enumerate(GRAPHS):
        using = graph(name, "shared://scorer", by=number * 10)
        if name in POOLED:
            using["spec"]["serving"] = {"pool": "light"}
        given_once.deployed(using, CODE)
    return path


def lines(path: str, kind: str) -> list[str]:
    return [line for line in Path(path).read_text().splitlines() if line.startswith(kind)]


def test_one_model_in_four_graphs_is_loaded_once(engine: Engine, log: str) -> None:
    assert [score(engine, name) for name in GRAPHS] == [3, 13, 23, 33]
    assert score(engine, "scorer") == 3
    assert len(lines(log, "loaded")) == 1
    (process,) = {line.split()[1] for line in lines(log, "loaded")}
    found = models(engine)["scorer"]
    assert [one["replicas"] for one in found["revisions"]] == [1]
    until(lambda: (models(engine)["scorer"]["revisions"][0]["memory"] or 0) > 2**20)
    assert Path(f"/proc/{process}").exists()


def test_a_batch_has_rows_of_two_graphs(engine: Engine, log: str) -> None:
    def ask(number: int) -> float:
        return score(engine, GRAPHS[number % 2], (0, 1000 + number))

    def is_mixed() -> bool:
        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(ask, range(16))) == [1000 + n + 10 * (n % 2) for n in range(16)]
        batches = [[int(row) for row in line.split()[1:]] for line in lines(log, "batch")]
        return any(len({row % 2 for row in batch if row >= 1000}) == 2 for batch in batches)

    until(is_mixed)


def test_what_is_used_is_not_deleted_and_its_users_are_named(engine: Engine, log: str) -> None:
    refused = engine.command("delete", "scorer", "--yes")
    unloaded = engine.api("POST", "/graphs/scorer/unload")

    assert refused.returncode == 1
    for name in GRAPHS:
        assert f"{name} (revision 1)" in refused.stderr
    assert "used by audit" in error(unloaded, 409)
    assert score(engine, "pay") == 3


def test_the_use_of_a_model_is_counted_by_graph(engine: Engine, log: str) -> None:
    before = users(engine, "scorer")
    for _ in range(5):
        score(engine, "claim")
    assert "scorer" in error(engine.infer("login", body((-1, 0))), 500)

    def are_counted() -> bool:
        now = users(engine, "scorer")
        claimed = now["claim"]["requests"] - before["claim"]["requests"]
        failed = now["login"]["errors"] - before["login"]["errors"]
        return bool(claimed >= 5 and failed > 0)

    until(are_counted, 30)
    text = done(engine.command("models")).stdout
    assert "shared://scorer" in text
    assert "claim" in text
    metrics = HTTP.get(f"{engine.url}/metrics").text
    assert 'anabranch_model_requests_total{graph="scorer",revision="1",user="claim"}' in metrics


def test_rewards_and_explanations_of_a_graph_reach_its_model(
    engine: Engine, given: Given, log: str
) -> None:
    told = graph("tell", "shared://scorer")
    told["spec"]["nodes"] |= {
        "pick": {"type": "router", "strategy": "weighted", "routes": {"moved": 1, "scorer": 1}},
        "why": {"type": "explainer", "component": "components.py:Why", "explains": "scorer"},
    }
    told["spec"]["outputs"] = {"y": "pick"}
    given.deployed(told, CODE)
    url = engine.graph_url("tell")
    assert engine.infer("tell", body((1, 2)) | {"id": "tell-1"}).status_code == 200
    given_reward = HTTP.post(f"{url}/feedback", json={"id": "tell-1", "reward": 0.5})

    assert given_reward.json() == {"id": "tell-1", "counted": True, "reward": 0.5}
    until(lambda: lines(log, "reward") == ["reward tell-1 0.5"])
    explained = HTTP.post(f"{url}/explain", json=body((1, 2), (3, 4)))
    assert explained.json()["explanations"][0]["library"] == [3, 7]


@pytest.mark.nightly
def test_a_rollout_of_a_model_is_judged_by_the_calls_of_graphs(
    engine: Engine, given: Given, load: Callable[..., AbstractContextManager[Load]]
) -> None:
    errors = {"metric": "error_rate", "max": 0.05}
    analysis = {"interval": "1s", "min_samples": 10, "failure_limit": 0, "metrics": [errors]}
    steps = {"steps": [50], "hold": "2s", "analysis": analysis}
    given.deployed(model("judged"), CODE)
    given.deployed(graph("asks", "shared://judged"), CODE)

    def has_come_to(phase: str) -> Callable[[], bool]:
        return lambda: engine.api("GET", "/graphs/judged/rollout").json()["phase"] == phase

    with load("asks") as asking:
        given.beside(model("judged", rollout=steps, args={"fails": True}), CODE)
        asking.until(has_come_to("aborted"))
    assert asking.failures.keys() == {"500"}
    assert all("shared://judged" in text for text in asking.answers if "error" in text)
    assert score(engine, "asks") == 3
    with load("asks") as asking:
        given.beside(model("judged", 10, rollout=steps), CODE)
        asking.until(has_come_to("promoted"))
    assert asking.failures == {}
    until(lambda: score(engine, "asks") == 30)


@pytest.mark.nightly
def test_replicas_of_a_job_call_the_model_that_is_deployed(
    engine: Engine, log: str, tmp_path: Path
) -> None:
    rows, output = tmp_path / "rows.csv", tmp_path / "answers.csv"
    rows.write_text("a,b\n" + "".join(f"{number},1000\n" for number in range(40)))
    asked = {
        "graph": "claim", "input": str(rows), "output": str(output), "chunk": 10, "replicas": 2,
        "columns": {"x": ["a", "b"]},
    }  # fmt: skip
    id = engine.api("POST", "/jobs", json=asked).json()["id"]
    ended = done(engine.process("job", "status", id, "--wait", "-o", "json"))

    assert (json.loads(ended.stdout)["state"], json.loads(ended.stdout)["reason"]) == (
        "finished", "",
    )  # fmt: skip
    with output.open(newline="") as file:
        found = [float(row["y"]) for row in csv.DictReader(file)]
    assert found == [number + 1010 for number in range(40)]
    assert len(lines(log, "loaded")) == 1


def test_graphs_are_checked_against_the_models_that_there_are(given: Given, log: str) -> None:
    unknown = given.deploy(graph("astray", "shared://scorr"), CODE)
    wrong = graph("astray", "shared://scorer")
    wrong["spec"]["nodes"]["scorer"]["inputs"] = {"amounts": "x"}
    unfit = given.deploy(wrong, CODE)
    typed = graph("astray", "shared://scorer")
    typed["spec"]["inputs"]["x"]["datatype"] = "FP64"
    no_model = given.deploy(graph("astray", "shared://pay"), CODE)

    assert "there is no shared model 'scorr' (did you mean 'scorer'?" in unknown.stderr
    assert "takes no input 'amounts'; it takes x FP32[-1, 2]" in unfit.stderr
    assert "takes FP32[-1, 2], but x is FP64[-1, 2]" in given.deploy(typed, CODE).stderr
    assert "'pay' is an inference graph, not a shared model" in no_model.stderr
    assert (
        "has no revision 7 that is up"
        in given.deploy(graph("astray", "shared://scorer@7"), CODE).stderr
    )


def busy_arms(engine: Engine, name: str) -> list[int]:
    """The revisions of a model that get requests now."""
    arms = engine.graph(name)["arms"]
    return [one["revision"] for one in arms if one["requests_per_second"] > 0]


def test_a_new_revision_reaches_graphs_that_were_not_deployed_again(
    engine: Engine, given: Given, load: Callable[..., AbstractContextManager[Load]]
) -> None:
    given.deployed(model("ranker"), CODE)
    given.deployed(graph("sort", "shared://ranker", by=0.5), CODE)
    given.deployed(graph("old", "shared://ranker@1", by=0.5), CODE)
    with load("sort") as asking:
        given.beside(model("ranker", 10), CODE, "--canary", "50")
        asking.until(lambda: {one.split(".")[0] for one in answers(asking)} == {"3", "30"})
        done(engine.command("promote", "ranker"))
        until(lambda: [score(engine, "sort") for _ in range(8)] == [30.5] * 8)
        until(lambda: busy_arms(engine, "ranker") == [2])
    assert asking.failures == {}
    assert score(engine, "old") == 3.5
    found = {one["revision"]: one for one in models(engine)["ranker"]["revisions"]}
    assert found[1]["held_by"] == 1


@pytest.mark.nightly
def test_a_held_revision_stays_up_until_nobody_holds_it(engine: Engine, given: Given) -> None:
    short: dict[str, Any] = {"traffic": {"grace": "0s"}}
    given.deployed(model("holdable", **short), CODE)
    given.deployed(graph("past", "shared://holdable@1"), CODE)
    given.deployed(model("holdable", 10, **short), CODE)
    given.deployed(model("holdable", 100, **short), CODE)

    def states() -> dict[int, str]:
        found = models(engine)["holdable"]["revisions"]
        return {one["revision"]: one["state"] for one in found}

    until(lambda: states() == {1: "warm", 3: "live"})
    assert (score(engine, "past"), score(engine, "holdable")) == (3, 300)
    refused = engine.command("delete", "holdable", "--yes")
    assert "past (revision 1, which holds shared://holdable@1)" in refused.stderr
    given.deployed(graph("past", "shared://holdable"), CODE)
    until(lambda: score(engine, "past") == 300, 60)
    # The revision of the graph that holds the model's goes after its own grace period.
    until(lambda: states() == {3: "live"}, 60)


def test_a_revision_that_graphs_do_not_fit_is_refused(engine: Engine, given: Given) -> None:
    given.deployed(model("picky"), CODE)
    given.deployed(graph("fits", "shared://picky"), CODE)
    given.deployed(graph("holds", "shared://picky@1"), CODE)
    wider = model("picky")
    wider["spec"]["inputs"]["x"]["shape"] = [-1, 3]
    refused = given.deploy(wider, CODE)
    no_graph = given.deploy(graph("picky", "shared://picky"), CODE)

    assert refused.returncode == 1
    assert "fits (revision 1): spec.nodes.scorer.inputs.x" in refused.stderr
    assert "holds" not in refused.stderr.split("have these graphs")[0]
    assert "'picky' is a shared model already" in no_graph.stderr
    assert score(engine, "fits") == 3


def test_a_model_whose_process_dies_is_a_segment_that_is_down(engine: Engine, given: Given) -> None:
    path = str(given.folder / "frail.log")
    given.deployed(model("frail", log=path), CODE)
    given.deployed(graph("needs", "shared://frail"), CODE)
    stand_in: dict[str, Any] = {"on_error": {"value": 7.0}, "outputs": {"score": SCORE}}
    given.deployed(graph("copes", "shared://frail", **stand_in), CODE)
    assert score(engine, "copes") == 3

    os.kill(int(lines(path, "loaded")[-1].split()[1]), signal.SIGKILL)
    replies = [engine.infer("needs", body((1, 2))) for _ in range(3)]
    assert {reply.status_code for reply in replies} <= {200, 503}
    assert score(engine, "copes") in (3, 7)
    until(lambda: engine.infer("needs", body((1, 2))).status_code == 200, 60)
    assert len(lines(path, "loaded")) == 2
