"""Models and experiments imported, and mistakes in all kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch.importers.report import unmet
from anabranch.importers.result import Taken
from tests.importers.imported import imported, mistakes, notes, opened
from tests.importers.seldon_v2.test_pipelines import (
    MUL,
    VERSION,
    output,
    pipeline,
    step,
)
from tests.small_models import Data, write_model

X = np.array([[0.0, 1.0], [2.0, 1.0]], np.float32)


def model(name: str, uri: str = "gs://models/iris", *needs: str, **more: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"storageUri": uri, **({"requirements": [*needs]} if needs else {})}
    return {"apiVersion": VERSION, "kind": "Model", "metadata": {"name": name}, "spec": spec | more}


def experiment(name: str, *candidates: tuple[str, int], **more: Any) -> dict[str, Any]:
    arms = [{"name": one, "weight": weight} for one, weight in candidates]
    spec = {**({"candidates": arms} if arms else {}), **more}
    return {"apiVersion": VERSION, "kind": "Experiment", "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of scikit-learn in a folder, as Seldon's agent finds it."""
    place = tmp_path / "iris"
    place.mkdir()
    write_model("sklearn", place / "classifier.joblib", Data(X, np.array([0, 1])))
    return place


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_model_on_this_machine_runs(tmp_path: Path, folder: Path, scheme: str) -> None:
    (graph,) = imported(model("iris", f"{scheme}{folder}", "sklearn", memory="100Ki", replicas=1))
    with opened([graph], tmp_path / "out") as loaded:
        assert loaded.run({"predict": X})["predict"].tolist() == [0, 1]
    assert [line.rpartition(": ")[2] for line in unmet([graph])] == [
        "Seldon reserves 102400 bytes on a server: `resources.memory` of the node would give it a "
        "process of its own (left out)".rpartition(": ")[2],
    ]


def test_a_pipeline_of_models_on_this_machine_runs(tmp_path: Path, folder: Path) -> None:
    spec = {"steps": [step("iris")], "output": output("iris")}
    (graph,) = imported(pipeline("prod", spec), model("iris", f"{folder}", "sklearn"))
    with opened([graph], tmp_path / "out") as loaded:
        assert loaded.run({"predict": X})["predict"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("needs", "runtime", "uri"),
    [
        ("sklearn", "sklearn", "gs://models/iris/model.joblib"),
        ("xgboost", "xgboost", "gs://models/iris/model.json"),
        ("lightgbm", "lightgbm", "gs://models/iris/model.bst"),
        ("mlflow", "mlflow", "gs://models/iris"),
    ],
)
def test_the_file_that_the_server_loads(needs: str, runtime: str, uri: str) -> None:
    (graph,) = imported(model("iris", "gs://models/iris", needs))
    node = graph.spec["spec"]["nodes"]["iris"]
    assert (node["runtime"], node["model"]) == (runtime, uri)
    runs_code = needs in ("sklearn", "mlflow")
    assert node.get("sha256") == ("0" * 64 if runs_code else None)
    told = notes(graph, Taken.TO_DO)
    assert ("sha256" in told.get("spec.storageUri", "")) is runs_code


@pytest.mark.parametrize(
    "needs", ["tensorflow", "triton", "python", "huggingface", "onnx", "extra"]
)
def test_other_models_stay_where_they_are(needs: str) -> None:
    (graph,) = imported(model("net", "gs://models/net", needs, maxReplicas=3, server="triton"))
    node = graph.spec["spec"]["nodes"]["net"]
    assert node["args"] == {
        "url": "http://localhost:9000", "model": "net", "headers": {"seldon-model": "net"},
    }  # fmt: skip
    assert any("set `url`" in line for line in unmet([graph]))


def test_a_hugging_face_model_with_a_task() -> None:
    more = {"parameters": [{"name": "task", "value": "text-classification"}]}
    (graph,) = imported(model("mood", "s3://models/mood", "huggingface", **more))
    spec = graph.spec["spec"]
    assert spec["nodes"]["mood"]["args"] == {"task": "text-classification"}
    assert spec["inputs"] == {"args": {"datatype": "BYTES", "shape": [-1]}}
    assert spec["outputs"] == {"labels": "mood.labels", "scores": "mood.scores"}


def test_replicas() -> None:
    found = {}
    for name, more in {
        "two": {"replicas": 2},
        "range": {"replicas": 2, "minReplicas": 1, "maxReplicas": 4},
        "one": {"replicas": 1},
    }.items():
        (graph,) = imported(model(name, "gs://m/i", "sklearn", **more))
        found[name] = graph.spec["spec"]["nodes"][name].get("scaling")
    assert found == {"two": {"replicas": 2}, "range": {"min": 1, "max": 4}, "one": None}


def test_an_explainer_is_a_node_of_what_it_explains() -> None:
    explainer = model("why", "gs://models/why", explainer={"type": "anchor_tabular",
                                                           "modelRef": "iris"})  # fmt: skip
    (graph,) = imported(model("iris", "gs://models/iris", "sklearn"), explainer)
    assert graph.spec["spec"]["nodes"]["why"] == {
        "type": "explainer",
        "method": "anchor_tabular",
        "model": "gs://models/why",
        "sha256": "0" * 64,
    }


def test_an_explainer_of_a_model_that_is_not_there_stays_a_model() -> None:
    explainer = model("why", explainer={"type": "anchor_tabular", "modelRef": "iris"})
    (graph,) = imported(explainer)
    assert "there is no model 'iris'" in notes(graph, Taken.LEFT_OUT)["spec.explainer"]


def test_an_experiment_is_a_graph_with_revisions() -> None:
    one, two = model("iris", "gs://m/1", "sklearn"), model("iris2", "gs://m/2", "sklearn")
    split = experiment("split", ("iris", 30), ("iris2", 10), default="iris")
    graphs = imported(one, two, split)
    assert [(graph.name, graph.folder, graph.steps) for graph in graphs] == [
        ("iris", "", ["anabranch deploy graph.yaml"]),
        ("iris", "iris2", ["anabranch deploy iris2/graph.yaml --canary 25"]),
    ]


def test_weights_of_several_candidates_are_set_together() -> None:
    split = experiment("split", ("a", 1), ("b", 1), ("c", 1), mirror={"name": "d", "percent": 20})
    graphs = imported(split)
    assert [graph.name for graph in graphs] == ["split"] * 4
    assert [step for graph in graphs for step in graph.steps] == [
        "anabranch deploy graph.yaml",
        "anabranch deploy b/graph.yaml --canary 0",
        "anabranch deploy c/graph.yaml --canary 0",
        "anabranch traffic split r1=33.334 r2=33.333 r3=33.333",
        "anabranch deploy d/graph.yaml --mirror 20",
    ]


def test_an_experiment_on_pipelines() -> None:
    spec = {"steps": [MUL], "output": output("mul10.outputs.OUTPUT")}
    split = experiment(
        "split", ("pipe", 50), ("other", 50), default="pipe", resourceType="pipeline"
    )
    first, second = imported(pipeline("pipe", spec), split)
    assert first.spec["spec"]["outputs"] == {"OUTPUT": "mul10"}
    (node,) = second.spec["spec"]["nodes"].values()
    assert node["args"]["headers"] == {"seldon-model": "other.pipeline"}


def test_namespaces_are_in_the_name_of_the_graph() -> None:
    manifest = model("iris", "gs://m/1", "sklearn")
    manifest["metadata"]["namespace"] = "team"
    assert imported(manifest)[0].name == "team/iris"


LONE = {"kind": "Server", "apiVersion": VERSION, "metadata": {"name": "s"}, "spec": {}}
MISTAKES: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "no URI": ([model("a", "")], ["spec.storageUri: is required"]),
    "replicas": (
        [model("a", replicas=1, minReplicas=2, maxReplicas=0)],
        ["spec.replicas: is 1, but `minReplicas` is 2",
         "spec.maxReplicas: is 0, but there are 1 replicas"],
    ),
    "memory": ([model("a", memory="lots")], ["spec.memory: is no quantity"]),
    "two references": (
        [model("a", explainer={"type": "x", "modelRef": "a", "pipelineRef": "b"})],
        ["spec.explainer.pipelineRef: explains either a model or a pipeline; remove one"],
    ),
    "twice": ([model("a"), model("a")], ["metadata.name: Model 'a' is there twice"]),
    "no steps": ([pipeline("p", {"steps": []})], ["spec.steps: needs at least one step"]),
    "a step twice": (
        [pipeline("p", {"steps": [step("a"), step("a")]})],
        ["spec.steps.1.name: step 'a' is there twice"],
    ),
    "a step with the name of the pipeline": (
        [pipeline("p", {"steps": [step("p")]})],
        ["spec.steps.0.name: has the name of the pipeline"],
    ),
    "an empty reference": (
        [pipeline("p", {"steps": [step("a", " ")]})],
        ["spec.steps.0.inputs.0: ' ' is empty, or has an empty part"],
    ),
    "a reference of another form": (
        [pipeline("p", {"steps": [step("a", "p.input.x"), step("b", "a.outputs.x.y")]})],
        ["spec.steps.0.inputs.0: 'p.input.x' must be of the form",
         "spec.steps.1.inputs.0: 'a.outputs.x.y' must be of the form"],
    ),
    "an unknown step": (
        [pipeline("p", {"steps": [step("first", "frist"), step("b", triggers=["c"])],
                        "output": output("d")})],
        ["spec.steps.0.inputs.0: there is no step 'frist'",
         "spec.steps.1.triggers.0: there is no step 'c'",
         "spec.output.steps.0: there is no step 'd'"],
    ),
    "the output of the pipeline itself": (
        [pipeline("p", {"steps": [step("a", "p.outputs")]})],
        ["is what the pipeline gives, which no step of it can read"],
    ),
    "a cycle": (
        [pipeline("p", {"steps": [step("a", "b"), step("b", "c"), step("c", "a")],
                        "allowCycles": True})],
        [
            "spec.steps.0: the steps form a cycle, which no graph may have: a → c → b → a; "
            "write the loop as one component"
        ],
    ),
    "a join of another name": (
        [pipeline("p", {"steps": [step("a", "p", inputsJoinType="left")]})],
        ["spec.steps.0.inputsJoinType: 'left' is unknown"],
    ),
    "no input": (
        [pipeline("p", {"input": {"joinType": "any"}, "steps": [step("a")]})],
        ["spec.input.externalInputs: needs at least one input"],
    ),
    "an input of another form": (
        [pipeline("p", {"input": {"externalInputs": ["q.step.s.output.x", "q.x"]},
                        "steps": [step("a")]})],
        ["must be of the form <pipeline>.step.<step>", "must be of the form <pipeline>.(inputs"],
    ),
    "pipelines that feed each other": (
        [pipeline("p", {"input": {"externalInputs": ["q"]}, "steps": [step("a")],
                        "output": output("a")}),
         pipeline("q", {"input": {"externalInputs": ["p"]}, "steps": [step("b")],
                        "output": output("b")})],
        ["the pipelines form a cycle"],
    ),
    "no candidates": ([experiment("e")], ["spec.candidates: needs at least one candidate"]),
    "a default that is no candidate": (
        [experiment("e", ("a", 1), default="b")], ["spec.default: 'b' is no candidate"],
    ),
    "a candidate twice": (
        [experiment("e", ("a", 1), ("a", 1))], ["spec.candidates.1.name: 'a' takes part already"],
    ),
    "a mirror that is a candidate": (
        [experiment("e", ("a", 1), mirror={"name": "a", "percent": 5})],
        ["spec.mirror.name: 'a' takes part already"],
    ),
    "a share over 100": (
        [experiment("e", ("a", 1), mirror={"name": "b", "percent": 500})],
        ["spec.mirror.percent: must be from 0 to 100"],
    ),
    "weights of 0": ([experiment("e", ("a", 0))], ["spec.candidates: the weights sum to 0"]),
    "only a server": ([LONE], ["kind: holds no model, only Server: "]),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str) -> None:
    documents, expected = MISTAKES[name]
    found = mistakes(*documents)
    assert all(one.startswith("<stdin>:") for one in found)
    if name.startswith("pipelines"):
        assert any(expected[0] in one for one in found), found
        return
    assert len(found) == len(expected), found
    assert all(said in one for said, one in zip(expected, found, strict=True)), found


def test_what_kafka_does_and_a_graph_cannot_is_said() -> None:
    spec = {
        "steps": [
            step("iris", batch={"size": 2, "windowMs": 5}),
            step("drift", "iris", batch={"size": 20}),
            step("late", "iris", joinWindowMs=50, tensorMap={"iris.outputs.a": "b"}),
        ],
        "output": output("iris", "late"),
        "maxStepRevisits": 3,
        "inputs": [],
    }
    (graph,) = imported(pipeline("p", spec))
    told = notes(graph, Taken.LEFT_OUT)
    assert "each request is answered by itself" in told["spec.steps.0.batch"]
    assert "no output needs the step" in told["spec.steps.1"]
    assert "write a loop as a component" in told["spec.maxStepRevisits"]
    assert "`timeout`" in notes(graph, Taken.REWORDED)["spec.steps.2.joinWindowMs"]


def test_a_pipeline_without_an_output_answers_with_its_last_steps() -> None:
    (graph,) = imported(pipeline("p", {"steps": [step("a"), step("b", "a")]}))
    assert graph.spec["spec"]["outputs"] == {"output": "b"}
    assert any("Seldon answers nobody" in note.text for note in graph.notes)


def test_servers_beside_models_are_noted() -> None:
    (graph,) = imported(model("iris", "gs://m/1", "sklearn"), LONE)
    assert any("engine's processes" in note.text for note in graph.notes)


def test_an_unknown_field_is_noted_with_what_may_be_meant() -> None:
    (graph,) = imported(model("iris", "gs://m/1", "sklearn", requirement=["x"]))
    assert "did you mean 'requirements'?" in notes(graph, Taken.LEFT_OUT)["spec.requirement"]
