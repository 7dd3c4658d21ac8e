"""Graphs with shared models, run without an engine: the models' documents lie beside the specs."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from anabranch import Graph, InvalidRequest, NodeError
from anabranch.client.prepared import prepare
from anabranch.components.contract import NodeFeedback
from anabranch.graph.compile.loading import load_text
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes, unload_nodes
from anabranch.graph.shared.local_models import LocalModels
from anabranch.graph.trial import load_problems

CODE = """
from pathlib import Path

class Sum:
    def __init__(self, factor=1):
        self.factor = factor
        with Path("loads.txt").open("a") as file:
            file.write("loaded ")

    def predict(self, x):
        if (x < 0).any():
            raise ValueError("negative")
        return {"total": x.sum(axis=1) * self.factor, "rows": x[:, 0]}

class Learns(Sum):
    def feedback(self, given):
        with Path("rewards.txt").open("a") as file:
            file.write(f"{given.id} {given.reward} ")

class Chat:
    async def predict(self, x):
        for row in x:
            yield row
"""
MODEL = """
apiVersion: anabranch/v1
kind: Model
metadata: {name: %s}
spec:
  component: parts.py:%s
  inputs: {x: {datatype: FP32, shape: [-1, 2]}}
"""
SUM = MODEL % ("sum", "Sum") + "  outputs: {total: %s, rows: %s}" % (
    ("{datatype: FP32, shape: [-1]}",) * 2
)
GRAPH = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: twice}
spec:
  inputs: {x: {datatype: FP32, shape: [-1, 2]}}
  nodes:
    one: {type: predictor, model: "shared://sum", inputs: {x: x}}
    double: {type: transformer, method: scale, args: {multiply_by: 2}, inputs: {x: x}}
    two: {type: predictor, model: "shared://sum@4", inputs: {x: double}}
  outputs: {y: one.total, z: two.total}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "parts.py").write_text(CODE)
    (tmp_path / "model.yaml").write_text(SUM)
    (tmp_path / "learns.yaml").write_text(MODEL % ("learns", "Learns"))
    (tmp_path / "chat.yml").write_text(MODEL % ("chat", "Chat"))
    (tmp_path / "broken.yaml").write_text("kind: [")
    return tmp_path


def opened(folder: Path, spec: str = GRAPH) -> Graph:
    (folder / "graph.yaml").write_text(spec)
    return Graph.load(folder / "graph.yaml")


def test_a_model_is_loaded_once_for_all_nodes(folder: Path) -> None:
    with opened(folder) as graph:
        found = graph.run({"x": [[1, 2], [3, 4]]})

    assert found["y"].tolist() == [3, 7]
    assert found["z"].tolist() == [6, 14]
    assert (folder / "loads.txt").read_text() == "loaded "


def test_a_model_without_a_document_is_refused_naming_the_others(folder: Path) -> None:
    said = r"'sun' has no document .*did you mean 'sum'"
    spec = GRAPH.replace("shared://sum", "shared://sun")
    with opened(folder, spec) as graph, pytest.raises(InvalidRequest, match=said):
        graph.run({"x": [[1, 2]]})


def test_errors_of_a_model_name_the_node_and_the_model(folder: Path) -> None:
    said = r"node 'one' failed: shared://sum: .*negative"
    with opened(folder) as graph, pytest.raises(NodeError, match=said):
        graph.run({"x": [[-1, 2]]})


def test_a_model_may_be_run_by_itself(folder: Path) -> None:
    with Graph.load(folder / "model.yaml") as graph:
        assert graph.run({"x": [[1, 2]]})["total"].tolist() == [3]


def test_a_graph_that_stands_for_a_model_is_not_deployed_as_a_graph(folder: Path) -> None:
    with pytest.raises(InvalidRequest, match="deploy the model's document"):
        prepare(Graph.load(folder / "model.yaml"), folder)


def test_a_model_that_streams_streams_through_the_graph(folder: Path) -> None:
    spec = GRAPH.replace("shared://sum@4", "shared://chat").replace("two.total", "two")
    with opened(folder, spec) as graph, pytest.raises(InvalidRequest, match="stream"):
        graph.run({"x": [[1, 2]]})


def test_an_explainer_calls_a_shared_model(folder: Path) -> None:
    why = "{type: explainer, component: why.py:Why, explains: one}"
    (folder / "why.py").write_text(
        "class Why:\n"
        "    def attach(self, model):\n        self.model = model\n\n"
        "    def explain(self, x):\n        return self.model({'x': x})['total'].tolist()\n"
    )
    with opened(folder, GRAPH.replace("  outputs:", f"    why: {why}\n  outputs:")) as graph:
        (found,) = graph.explain({"x": [[1, 2]]})["explanations"]
    assert found["library"] == [3.0]


def test_a_reward_reaches_the_models_that_its_request_may_have_called(folder: Path) -> None:
    choose = "{type: router, strategy: weighted, routes: {one: 1, two: 1}}"
    spec = GRAPH.replace("shared://sum@4", "shared://learns")
    spec = spec.replace("  outputs:", f"    choose: {choose}\n  outputs:")
    spec = spec.replace("{y: one.total, z: two.total}", "{y: choose}")

    async def told() -> list[bool]:
        plan = load_text(spec).plan
        models = await LocalModels.load(plan, folder)
        bound = await load_nodes(plan, ["double", "choose"], folder, False)
        executor = HeadExecutor(plan, bound, models.calls)
        given = [NodeFeedback(id, 0.5, path={"choose": id}) for id in ("one", "two")]
        found = [await executor.feedback.give(one) for one in given]
        executor.close()
        await unload_nodes(bound, folder)
        await models.close()
        return found

    with contextlib.chdir(folder):
        assert asyncio.run(told()) == [False, True]
    assert (folder / "rewards.txt").read_text() == "two 0.5 "


def test_shared_models_are_not_loaded_where_a_spec_is_tried(folder: Path) -> None:
    opened(folder).close()
    assert load_problems(folder / "graph.yaml", 60, lambda text: None) == []
    model = (folder / "model.yaml").read_text()
    (folder / "model.yaml").write_text(model.replace("parts.py:Sum", "parts.py:Sun"))
    (problem,) = load_problems(folder / "model.yaml", 60, lambda text: None)
    assert str(problem).startswith(f"{folder / 'model.yaml'}:5:1: spec: ")
    assert not (folder / "loads.txt").exists()
