"""Pipelines imported and asked, against the rules of Seldon's data flow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch import Graph
from anabranch.importers.result import ImportedGraph
from anabranch.importers.seldon_v2.models import URL
from anabranch.importers.writing import files_of
from tests.importers.imported import imported
from tests.importers.remote_models import Arrays, RemoteModels, served, taking
from tests.importers.seldon_v2.dataflow import DataFlow

VERSION = "mlops.seldon.io/v1alpha1"


def times(by: float) -> Callable[..., Arrays]:
    return taking({"INPUT": "FP32"}, lambda INPUT: {"OUTPUT": INPUT * np.float32(by)})


def conditional(INPUT: np.ndarray) -> Arrays:
    """The model of Seldon's sample: one of two outputs, by the sign of the first element."""
    return {"OUTPUT0" if INPUT.flat[0] >= 0 else "OUTPUT1": INPUT}


def is_small(INPUT: np.ndarray) -> Arrays:
    """Like Seldon's sample of a query: a tensor where the condition holds, else another."""
    return {"choice": INPUT} if abs(INPUT.flat[0]) < 3 else {"status": INPUT}


def either(A: np.ndarray | None = None, B: np.ndarray | None = None) -> Arrays:
    """Takes what it gets."""
    given = [one for one in (A, B) if one is not None]
    return {"OUTPUT": sum(given[1:], given[0])}


MODELS: dict[str, Callable[..., Arrays]] = {
    "mul10": times(10),
    "mul100": times(100),
    "conditional": taking({"INPUT": "FP32"}, conditional),
    "is-small": taking({"INPUT": "FP32"}, is_small),
    "plus": taking({"A": "FP32", "B": "FP32"}, lambda A, B: {"SUM": A + B, "DIFF": A - B}),
    "either": taking({"A": "FP32", "B": "FP32"}, either),
}
REQUESTS: list[dict[str, list[float]]] = [
    {"INPUT": [1.0, 2.0]},
    {"INPUT": [-1.0, 2.0]},
    {"INPUT": [5.0, 2.0]},
    {"INPUT": [-5.0, 2.0]},
]


def pipeline(name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": VERSION, "kind": "Pipeline", "metadata": {"name": name}, "spec": spec}


def step(name: str, *inputs: str, **more: Any) -> dict[str, Any]:
    return {"name": name, **({"inputs": list(inputs)} if inputs else {}), **more}


def output(*steps: str, **more: Any) -> dict[str, Any]:
    return {"steps": list(steps), **more}


BRANCHES = [
    step("conditional", "pipe.inputs.INPUT"),
    step("mul10", "conditional.outputs.OUTPUT0",
         tensorMap={"conditional.outputs.OUTPUT0": "INPUT"}),
    step("mul100", "conditional.outputs.OUTPUT1",
         tensorMap={"conditional.outputs.OUTPUT1": "INPUT"}),
]  # fmt: skip
MUL = step("mul10", "pipe.inputs.INPUT")
SPECS: dict[str, dict[str, Any]] = {
    "one step": {"steps": [MUL], "output": output("mul10.outputs.OUTPUT")},
    "a step that reads all of the pipeline": {
        "steps": [step("mul10"), step("mul100", "pipe.inputs.INPUT")],
        "output": output("mul10.outputs.OUTPUT"),
    },
    "a chain by tensorMap": {
        "steps": [MUL, step("mul100", "mul10", tensorMap={"mul10.outputs.OUTPUT": "INPUT"})],
        "output": output("mul100.outputs.OUTPUT"),
    },
    "an inner join of two steps": {
        "steps": [MUL, step("mul100", "pipe.inputs.INPUT"),
                  step("plus", "mul10.outputs.OUTPUT", "mul100.outputs.OUTPUT",
                       tensorMap={"mul10.outputs.OUTPUT": "A", "mul100.outputs.OUTPUT": "B"})],
        "output": output("plus.outputs.SUM", "plus.outputs.DIFF"),
    },
    "the inputs of a step": {
        "steps": [MUL, step("plus", "mul10.inputs.INPUT", "mul10.outputs.OUTPUT",
                            tensorMap={"mul10.inputs.INPUT": "A", "mul10.outputs.OUTPUT": "B"})],
        "output": output("plus.outputs.DIFF"),
    },
    "outputs that are renamed": {
        "steps": [MUL],
        "output": output("mul10.outputs.OUTPUT", tensorMap={"mul10.outputs.OUTPUT": "scaled"}),
    },
    "conditional messages and an any join": {
        "steps": BRANCHES,
        "output": output("mul10.outputs.OUTPUT", "mul100.outputs.OUTPUT", stepsJoin="any"),
    },
    "conditional messages and an outer join": {
        "steps": BRANCHES,
        "output": output("mul10.outputs.OUTPUT", "mul100.outputs.OUTPUT", stepsJoin="outer",
                         joinWindowMs=100,
                         tensorMap={"mul10.outputs.OUTPUT": "tens",
                                    "mul100.outputs.OUTPUT": "hundreds"}),
    },
    "an any join of a step": {
        "steps": [*BRANCHES,
                  step("either", "mul10.outputs.OUTPUT", "mul100.outputs.OUTPUT",
                       inputsJoinType="any",
                       tensorMap={"mul10.outputs.OUTPUT": "A", "mul100.outputs.OUTPUT": "A"})],
        "output": output("either.outputs.OUTPUT"),
    },
    "an outer join of a step": {
        "steps": [*BRANCHES,
                  step("either", "mul10.outputs.OUTPUT", "mul100.outputs.OUTPUT",
                       "conditional.inputs.INPUT", inputsJoinType="outer",
                       tensorMap={"mul10.outputs.OUTPUT": "A", "mul100.outputs.OUTPUT": "A",
                                  "conditional.inputs.INPUT": "B"})],
        "output": output("either.outputs.OUTPUT"),
    },
    "a trigger": {
        "steps": [step("is-small", "pipe.inputs.INPUT"),
                  step("mul10", "pipe.inputs.INPUT", triggers=["is-small.outputs.choice"]),
                  step("mul100", "pipe.inputs.INPUT", triggers=["is-small.outputs.status"])],
        "output": output("mul10.outputs.OUTPUT", "mul100.outputs.OUTPUT", stepsJoin="any"),
    },
    "triggers that must all be there": {
        "steps": [step("is-small", "pipe.inputs.INPUT"), step("conditional", "pipe.inputs.INPUT"),
                  step("mul10", "pipe.inputs.INPUT",
                       triggers=["is-small.outputs.choice", "conditional.outputs.OUTPUT0"]),
                  step("mul100", "pipe.inputs.INPUT")],
        "output": output("mul10.outputs.OUTPUT", "mul100.outputs.OUTPUT", stepsJoin="any"),
    },
    "triggers of which one suffices": {
        "steps": [step("is-small", "pipe.inputs.INPUT"), step("conditional", "pipe.inputs.INPUT"),
                  step("mul10", "pipe.inputs.INPUT", triggersJoinType="any",
                       triggers=["is-small.outputs.choice", "conditional.outputs.OUTPUT0"]),
                  step("mul100", "pipe.inputs.INPUT")],
        "output": output("mul10.outputs.OUTPUT", "mul100.outputs.OUTPUT", stepsJoin="any"),
    },
    "a step as a trigger": {
        "steps": [*BRANCHES, step("is-small", "pipe.inputs.INPUT", triggers=["mul10"])],
        "output": output("is-small.outputs.choice", "is-small.outputs.status", stepsJoin="outer"),
    },
    "a skipped step skips those after it": {
        "steps": [*BRANCHES, step("is-small", "mul10.outputs.OUTPUT",
                                  tensorMap={"mul10.outputs.OUTPUT": "INPUT"})],
        "output": output("is-small.outputs.choice", "is-small.outputs.status",
                         "mul100.outputs.OUTPUT", stepsJoin="outer"),
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def remote() -> Iterator[tuple[RemoteModels, str]]:
    models = RemoteModels(MODELS)
    with served(models) as url:
        yield models, url


def open_at(graph: ImportedGraph, folder: Path, url: str) -> Graph:
    """Write an imported graph, at the address of the models, and open it."""
    for path, text in files_of([graph]).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text.replace(URL, url).replace("[-1, -1]", "[-1]"))
    return Graph.load(folder / graph.folder / "graph.yaml")


def compared(
    remote: tuple[RemoteModels, str],
    graph: Graph,
    flow: Callable[[], DataFlow],
    requests: list[dict[str, list[float]]],
) -> None:
    """Ask a graph, and compare its answers and the models that ran with those of Seldon."""
    models, _ = remote
    with graph:
        for request in requests:
            given = {name: np.array(value, np.float32) for name, value in request.items()}
            expected = flow()
            answer = expected.answer("pipe", given) or {}
            del models.calls[:]
            found = graph.run(given)
            assert {name: array.tolist() for name, array in found.items()} == {
                name: array.tolist() for name, array in answer.items()
            }, request
            assert sorted(name for name, _ in models.calls) == sorted(expected.ran), request


@pytest.mark.parametrize("name", SPECS)
def test_a_pipeline_answers_as_seldon_does(
    tmp_path: Path, remote: tuple[RemoteModels, str], name: str
) -> None:
    (graph,) = imported(pipeline("pipe", SPECS[name]))
    loaded = open_at(graph, tmp_path, remote[1])
    compared(remote, loaded, lambda: DataFlow({"pipe": SPECS[name]}, MODELS), REQUESTS)


JOINS = {
    "steps": [
        step("mul10", "pipe.inputs.INPUT", triggersJoinType="any",
             triggers=["pipe.inputs.ok1", "pipe.inputs.ok2"]),
        step("mul100", "pipe.inputs.INPUT", triggers=["pipe.inputs.ok3"]),
    ],
    "output": output("mul10.outputs.OUTPUT", "mul100.outputs.OUTPUT", stepsJoin="any"),
}  # fmt: skip


def test_tensors_of_a_request_trigger_steps(
    tmp_path: Path, remote: tuple[RemoteModels, str]
) -> None:
    (graph,) = imported(pipeline("pipe", JOINS))
    requests = [
        {"INPUT": [1.0], **{name: [0.0] for name in names}}
        for names in ([], ["ok1"], ["ok2"], ["ok3"], ["ok1", "ok3"])
    ]
    loaded = open_at(graph, tmp_path, remote[1])
    compared(remote, loaded, lambda: DataFlow({"pipe": JOINS}, MODELS), requests)


def test_a_tensor_that_every_step_reads_must_be_there() -> None:
    (graph,) = imported(pipeline("pipe", JOINS))
    optional = {name for name, one in graph.spec["spec"]["inputs"].items() if one.get("optional")}
    assert optional == {"ok1", "ok2", "ok3"}


EITHER = {
    "steps": [
        step("mul10", "pipe.inputs.A", tensorMap={"pipe.inputs.A": "INPUT"}),
        step("mul100", "pipe.inputs.B", tensorMap={"pipe.inputs.B": "INPUT"}),
    ],
    "output": output("mul10.outputs.OUTPUT", "mul100.outputs.OUTPUT", stepsJoin="any"),
}


def test_a_request_with_one_of_two_tensors(
    tmp_path: Path, remote: tuple[RemoteModels, str]
) -> None:
    (graph,) = imported(pipeline("pipe", EITHER))
    requests = [{"A": [1.0]}, {"B": [1.0]}, {"A": [1.0], "B": [2.0]}]
    loaded = open_at(graph, tmp_path, remote[1])
    compared(remote, loaded, lambda: DataFlow({"pipe": EITHER}, MODELS), requests)


def test_two_steps_of_an_output_with_tensors_of_one_name(
    tmp_path: Path, remote: tuple[RemoteModels, str]
) -> None:
    """Seldon gives two tensors of one name; here the second is called after its step."""
    spec = {
        "steps": [MUL, step("mul100", "pipe.inputs.INPUT")],
        "output": output("mul10.outputs.OUTPUT", "mul100.outputs.OUTPUT"),
    }
    (graph,) = imported(pipeline("pipe", spec))
    with open_at(graph, tmp_path, remote[1]) as loaded:
        found = loaded.run({"INPUT": np.array([1.0], np.float32)})
    assert found == {"OUTPUT": [10], "mul100_OUTPUT": [100]}
    assert any("'mul100_OUTPUT'" in note.text for note in graph.notes)


UPSTREAM = {"steps": [step("mul10", "up.inputs.INPUT")], "output": output("mul10.outputs.OUTPUT")}
FED: dict[str, dict[str, Any]] = {
    "the outputs of a pipeline": {
        "input": {"externalInputs": ["up.outputs.OUTPUT"],
                  "tensorMap": {"up.outputs.OUTPUT": "INPUT"}},
        "steps": [step("mul100", "pipe.inputs.INPUT")],
        "output": output("mul100.outputs.OUTPUT"),
    },
    "a step of a pipeline": {
        "input": {"externalInputs": ["up.step.mul10.outputs.OUTPUT", "up.inputs.INPUT"],
                  "tensorMap": {"up.step.mul10.outputs.OUTPUT": "A", "up.inputs.INPUT": "B"}},
        "steps": [step("plus", "pipe.inputs.A", "pipe.inputs.B")],
        "output": output("plus.outputs.SUM"),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", FED)
def test_a_pipeline_that_another_feeds_has_the_steps_of_both(
    tmp_path: Path, remote: tuple[RemoteModels, str], name: str
) -> None:
    graphs = imported(pipeline("pipe", FED[name]), pipeline("up", UPSTREAM))
    graph = next(one for one in graphs if one.name == "pipe")
    both = {"pipe": FED[name], "up": UPSTREAM}
    loaded = open_at(graph, tmp_path, remote[1])
    compared(remote, loaded, lambda: DataFlow(both, MODELS), REQUESTS[:2])


def test_the_triggers_of_a_pipeline_gate_what_reads_its_inputs(
    tmp_path: Path, remote: tuple[RemoteModels, str]
) -> None:
    gate = {
        "steps": [step("conditional", "gate.inputs.INPUT")],
        "output": output("conditional.outputs.OUTPUT0", "conditional.outputs.OUTPUT1",
                         stepsJoin="outer"),
    }  # fmt: skip
    spec = {
        "input": {
            "externalInputs": ["up.outputs.OUTPUT"],
            "externalTriggers": ["gate.outputs.OUTPUT0"],
            "tensorMap": {"up.outputs.OUTPUT": "INPUT"},
        },
        "steps": [step("mul100", "pipe.inputs.INPUT")],
        "output": output("mul100.outputs.OUTPUT"),
    }
    all_of = {"pipe": spec, "up": UPSTREAM, "gate": gate}
    graphs = imported(*(pipeline(name, one) for name, one in all_of.items()))
    graph = next(one for one in graphs if one.name == "pipe")
    _, url = remote
    with open_at(graph, tmp_path, url) as loaded:
        for request in REQUESTS:
            given = {"INPUT": np.array(request["INPUT"], np.float32)}
            expected = DataFlow(all_of, MODELS).answer("pipe", given) or {}
            found = loaded.run(given)
            assert found.keys() == expected.keys()
