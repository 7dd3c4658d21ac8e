"""Every built-in is described: each argument, and an example that compiles or runs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from anabranch import Graph
from anabranch.components.contract import Context
from anabranch.components.registry import MONITOR, get, names
from anabranch.graph.compile.loading import Loaded
from anabranch.graph.monitor.windows import load_monitors
from anabranch.graph.observe.monitor_copies import Seen
from anabranch.graph.plan.plan import Signature
from anabranch.reference.builtins import PAGES, arguments, examples, load, meanings, run, sections
from anabranch.reference.markdown import section
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.limits import RequestLimits
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.arms import Arms
from anabranch.specs.models import BUILTIN_FIELD, NODE_TYPES, InputSpec
from tests.components.runtimes.openai.server import KEY, LanguageServer
from tests.components.runtimes.remote.servers import answering
from tests.json_services import json_services
from tests.router.conftest import KEYS, StepHead, serving
from tests.small_models import Data, data_of, write_model, write_sample

DOCS = Path(__file__).parents[2] / "docs"
ALL = [(kind, name) for kind in PAGES for name in names(kind)]


def test_there_is_a_page_for_each_kind() -> None:
    assert set(PAGES) == {*NODE_TYPES, MONITOR}


@pytest.mark.parametrize("kind", PAGES)
def test_every_built_in_has_an_example_and_no_example_is_of_none(kind: str) -> None:
    assert sorted(examples(kind, DOCS)) == sorted(names(kind))


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_every_argument_is_told_and_no_other(kind: str, name: str) -> None:
    found = get(kind, name)
    assert set(arguments(found)) <= set(meanings(found))
    assert set(section(found.cls.__doc__, "Args")) <= set(arguments(found))


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_the_example_uses_the_built_in(kind: str, name: str) -> None:
    graph = load(examples(kind, DOCS)[name], DOCS).graph
    if kind == MONITOR:
        used = {monitor.method for monitor in (graph.spec.monitors or {}).values()}
    else:
        used = {
            getattr(node, BUILTIN_FIELD[kind])
            for node in graph.spec.nodes.values()
            if node.type == kind
        }
    assert name in used


@pytest.mark.parametrize("kind", ["transformer", "combiner", "router"])
def test_what_needs_no_library_runs(kind: str) -> None:
    for name, example in examples(kind, DOCS).items():
        if name == "lookup":
            continue
        answer = run(load(example, DOCS), example["request"])
        assert set(answer) == set(example["spec"]["outputs"]), name


ELSEWHERE = {"open_inference", "openai", "rest", "seldon", "v1", "vllm"}
"""Runtimes whose models are on other servers, or on a GPU."""
SLOW = {"huggingface", "mlflow"}
"""Those whose libraries take seconds to import."""


def cases(kind: str) -> list[Any]:
    marked = {name: [pytest.mark.slow] if name in SLOW else [] for name in names(kind)}
    return [pytest.param(name, marks=marks) for name, marks in marked.items()]


def explainer_libraries(name: str) -> Sequence[str]:
    """Return what an explainer needs beside the libraries of the model that it explains."""
    module = get("explainer", name).cls.__module__
    return [one for one in ("captum", "alibi") if f".{one}." in module or name == "similarity"]


def with_models(example: Mapping[str, Any], folder: Path) -> tuple[Loaded, Data]:
    """Compile an example in a folder with the models and samples that it names."""
    spec = example["spec"]
    (declared,) = spec["inputs"].values()
    data = data_of(declared["shape"], declared["datatype"])
    for node in spec["nodes"].values():
        if "runtime" in node and "model" in node:
            write_model(node["runtime"], folder / node["model"], data)
        if "data" in node:
            write_sample(folder / node["data"], data, node.get("args", {}).get("label"))
    return load(example, folder), data


@pytest.mark.filterwarnings("ignore")  # of the libraries
@pytest.mark.parametrize(
    "name", [one for one in cases("predictor") if one.values[0] not in ELSEWHERE]
)
def test_a_runtime_s_example_runs(name: str, tmp_path: Path) -> None:
    loaded, data = with_models(examples("predictor", DOCS)[name], tmp_path)
    (given,) = loaded.plan.inputs
    with Graph.from_spec(loaded.graph, tmp_path) as graph:
        answer = graph.run({given: data.x[:3]})
    assert answer.keys() == loaded.plan.outputs.keys()
    assert {len(one) for one in answer.values()} == {3}


def test_the_example_of_a_lookup_runs(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "features.db")) as database, database:
        database.execute("CREATE TABLE users (user_id INTEGER, age INTEGER, tier TEXT)")
        database.execute("INSERT INTO users VALUES (7, 30, 'gold')")
    loaded = load(examples("transformer", DOCS)["lookup"], tmp_path)
    with Graph.from_spec(loaded.graph, tmp_path) as graph:
        answer = graph.run({"user_id": np.array([7, 8])})
    found = {name: array.tolist() for name, array in answer.items()}
    assert found == {"age": [30, 0], "tier": ["gold", "none"]}


async def half(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    return {"y": inputs["x"] / 2}


def test_the_example_of_another_server_runs() -> None:
    example = examples("predictor", DOCS)["open_inference"]
    signature = Signature({"x": InputSpec(datatype="FP32", shape=(-1, 4))}, {"y": None}, 60.0)
    arms = Arms("digits", lambda revision: StepHead(half), RequestLimits())
    arms.apply(RoutingTable("digits", 1, 3, {3: 100.0}, revisions={3: signature}, keys=KEYS))
    with serving(GraphApp(arms)) as url:
        spec = yaml.safe_dump(example["spec"]).replace("http://triton:8000", url)
        loaded = load({"spec": yaml.safe_load(spec)}, DOCS)
        with Graph.from_spec(loaded.graph, DOCS) as graph:
            assert graph.run({"x": np.ones((1, 4), np.float32)})["y"].tolist() == [[0.5] * 4]


def test_the_example_of_a_rest_service_runs() -> None:
    example = examples("predictor", DOCS)["rest"]
    with json_services() as services:
        services.add("/v1/price", lambda body: (200, {"price": json.loads(body)["rooms"] / 2}))
        spec = yaml.safe_dump(example["spec"]).replace("http://prices:8080", services.url)
        loaded = load({"spec": yaml.safe_load(spec)}, DOCS)
        with Graph.from_spec(loaded.graph, DOCS) as graph:
            assert graph.run({"house": ['{"rooms": 5}']})["price"].tolist() == ['{"price": 2.5}']


def test_the_example_of_a_language_model_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    example = examples("predictor", DOCS)["openai"]
    with serving(LanguageServer()) as url:
        spec = yaml.safe_dump(example["spec"]).replace("https://api.openai.com", url)
        loaded = load({"spec": yaml.safe_load(spec)}, DOCS)
        with Graph.from_spec(loaded.graph, DOCS) as graph:
            answer = graph.run({"messages": ['[{"role": "user", "content": "good morning"}]']})
    assert {name: array.tolist() for name, array in answer.items()} == {
        "text": ["good morning "],
        "finish_reason": ["stop"],
    }


@pytest.mark.parametrize("name", ["seldon", "v1"])
def test_the_example_of_a_server_without_types_runs(name: str) -> None:
    example = examples("predictor", DOCS)[name]
    (node,) = example["spec"]["nodes"].values()
    with answering(halving) as seen:
        spec = yaml.safe_dump(example["spec"]).replace(node["args"]["url"], seen.url)
        loaded = load({"spec": yaml.safe_load(spec)}, DOCS)
        with Graph.from_spec(loaded.graph, DOCS) as graph:
            assert graph.run({"x": np.ones((1, 4), np.float32)})["y"].tolist() == [[0.5] * 4]


def halving(path: str, body: Any) -> Any:
    """Halve what comes, over V1 and as a microservice of Seldon Core."""
    rows = body.get("instances") or body["data"]["ndarray"]
    halves = [[one / 2 for one in row] for row in rows]
    return {"predictions": halves, "data": {"ndarray": halves}}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", cases("explainer"))
def test_an_explainer_s_example_explains(name: str, tmp_path: Path) -> None:
    for library in explainer_libraries(name):
        pytest.importorskip(library)
    loaded, data = with_models(examples("explainer", DOCS)[name], tmp_path)
    (given,) = loaded.plan.inputs
    with Graph.from_spec(loaded.graph, tmp_path) as graph:
        reply = graph.explain({given: data.x[:1]})
    assert (reply["method"], len(reply["explanations"])) == (name, 1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", cases(MONITOR))
def test_a_monitor_s_example_looks_at_what_it_watches(name: str, tmp_path: Path) -> None:
    example = examples(MONITOR, DOCS)[name]
    loaded, data = with_models(example, tmp_path)
    (given,) = loaded.plan.inputs
    with Graph.from_spec(loaded.graph, tmp_path) as graph:
        assert len(graph.run({given: data.x[:3]})["y"]) == 3
    (monitor,) = load_monitors(loaded.plan, tmp_path, None)
    rows = np.random.default_rng(0).choice(data.x, 4000)
    assert monitor.take(Seen(given, str(number), rows[number::100]) for number in range(100))
    result = monitor.result()
    assert (result.error, result.method, result.has_reference) == ("", name, True)
    assert result.windows > 0


def test_the_page_tells_the_answer() -> None:
    page = sections("transformer", DOCS)
    assert '`{"score": [0.49, 0.5]}` gives `{"accepted": [false, true]}`.' in page
    assert "Tensors: `score` FP64[-1] → `output` BOOL[-1]." in page
    assert "| `at` | a number | required | Smallest value that gives true. |" in page
