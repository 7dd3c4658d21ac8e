"""Ensembles imported and asked, against the rules of Triton's ensemble scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from anabranch import Graph
from anabranch.errors import SpecError
from anabranch.importers.importing import import_source
from anabranch.importers.report import unmet
from anabranch.importers.result import ImportedGraph, Taken
from anabranch.importers.triton.graphs import URL
from anabranch.importers.writing import check_files, files_of
from tests.importers.remote_models import Arrays, RemoteModels, served, taking

X = np.array([[1.0, 2.0], [3.0, -4.0]], np.float32)


def scale(by: float) -> Callable[..., Arrays]:
    return taking({"IN": "FP32"}, lambda IN: {"OUT": IN * np.float32(by)})


def plus(A: np.ndarray, B: np.ndarray) -> Arrays:
    return {"SUM": A + B, "DIFF": A - B}


def maybe(IN0: np.ndarray | None = None, IN1: np.ndarray | None = None) -> Arrays:
    """The identity of Triton's tests: gives back the inputs that it gets."""
    given = {"OUT0": IN0, "OUT1": IN1}
    return {name: array for name, array in given.items() if array is not None}


def measured(IN: np.ndarray) -> Arrays:
    return {"ROWS": np.array([len(IN)], np.int32), "RANK": np.array([IN.ndim], np.int32)}


MODELS: dict[str, Callable[..., Arrays]] = {
    "double": scale(2),
    "triple": scale(3),
    "plus": taking({"A": "FP32", "B": "FP32"}, plus),
    "maybe": taking({"IN0": "FP32", "IN1": "FP32"}, maybe),
    "one_row": taking({"IN": "FP32"}, lambda IN: {"OUT": IN.sum(keepdims=True).reshape(1)}),
    "measured": taking({"IN": "FP32"}, measured),
}
F = "data_type: TYPE_FP32"
CONFIGS = {
    "double": f'backend: "python" max_batch_size: 8 '
    f'input {{ name: "IN" {F} dims: [2] }} output {{ name: "OUT" {F} dims: [2] }}',
    "triple": f'backend: "python" max_batch_size: 8 instance_group {{ count: 2 kind: KIND_CPU }} '
    f'input {{ name: "IN" {F} dims: [-1] }} output {{ name: "OUT" {F} dims: [-1] }}',
    "plus": f'platform: "pytorch_libtorch" max_batch_size: 8 '
    f'input [ {{ name: "A" {F} dims: [2] }}, {{ name: "B" {F} dims: [2] }} ] '
    f'output [ {{ name: "SUM" {F} dims: [2] }}, {{ name: "DIFF" {F} dims: [2] }} ]',
    "maybe": f'backend: "python" max_batch_size: 8 '
    f'input [ {{ name: "IN0" {F} dims: [2] optional: true }}, '
    f'{{ name: "IN1" {F} dims: [2] optional: true }} ] '
    f'output [ {{ name: "OUT0" {F} dims: [2] }}, {{ name: "OUT1" {F} dims: [2] }} ]',
    "one_row": f'backend: "python" input {{ name: "IN" {F} dims: [2] }} '
    f'output {{ name: "OUT" {F} dims: [1] }}',
    "measured": f'backend: "python" input {{ name: "IN" {F} dims: [-1, 2, 1] }} output '
    '[ { name: "ROWS" data_type: TYPE_INT32 dims: [1] }, '
    '{ name: "RANK" data_type: TYPE_INT32 dims: [1] } ]',
}


def step(model: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> str:
    maps = [("input_map", inputs), ("output_map", outputs)]
    entries = [
        f'{field} {{ key: "{key}" value: "{value}" }}'
        for field, one in maps
        for key, value in one.items()
    ]
    return f'step {{ model_name: "{model}" model_version: -1 {" ".join(entries)} }}'


def ensemble(
    inputs: list[str], outputs: list[str], *steps: str, batch: int = 8, more: str = ""
) -> str:
    """Inputs and outputs are names, with a type of their own after a colon."""

    def tensors(kind: str, names: list[str]) -> str:
        pairs = [name.partition(":") for name in names]
        return " ".join(
            f'{kind} {{ name: "{name}" {own or f"{F} dims: [2]"} }}' for name, _, own in pairs
        )

    return (
        f'name: "pipe" platform: "ensemble" max_batch_size: {batch} {tensors("input", inputs)} '
        f"{tensors('output', outputs)} ensemble_scheduling {{ {' '.join(steps)} }} {more}"
    )


def repository(folder: Path, config: str, *models: str) -> Path:
    for name in models or CONFIGS:
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(f'name: "{name}" {CONFIGS[name]}')
    (folder / "pipe" / "1").mkdir(parents=True)
    (folder / "pipe" / "config.pbtxt").write_text(config)
    return folder


class Scheduler:
    """Triton's ensemble scheduler, read from ``ensemble_scheduler.cc``.

    A step is sent once all tensors that it reads are there; None stands for one that was not
    provided, which is not sent. Outputs that a model leaves out are None. A model that lacks an
    input that is not optional fails. Between models with and without batches, a dimension of size 1
    is added or taken.
    """

    def __init__(self, steps: list[tuple[str, dict[str, str], dict[str, str]]]) -> None:
        self.steps = steps

    def run(self, given: Arrays, inputs: list[str], outputs: list[str]) -> dict[str, Any]:
        tensors: dict[str, Any] = {name: given.get(name) for name in inputs}
        left = list(self.steps)
        while left:
            ready = [one for one in left if all(name in tensors for name in one[1].values())]
            for one in ready:
                left.remove(one)
                model, reads, writes = one
                sent = {key: self.fit(model, tensors[name]) for key, name in reads.items()
                        if tensors[name] is not None}  # fmt: skip
                found = MODELS[model](**sent)
                tensors |= {name: found.get(key) for key, name in writes.items()}
        return {name: tensors[name] for name in outputs if tensors[name] is not None}

    def fit(self, model: str, array: np.ndarray) -> np.ndarray:
        return array[0] if model == "one_row" else array


def imported(source: Path) -> ImportedGraph:
    """Return the graph of the model that a test is about, as if it were the only one."""
    found = {graph.name: graph for graph in import_source(source)}
    return replace(found.get("pipe") or found["net"], folder="")


def run(graph: ImportedGraph, folder: Path, url: str, given: Arrays) -> dict[str, Any]:
    """Write an imported graph, at the address of the models, and ask it."""
    files = files_of([graph])
    check_files(files)
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text.replace(URL, url))
    with Graph.load(folder / "graph.yaml") as loaded:
        return loaded.run(given)


@pytest.fixture(scope="module")
def remote() -> Iterator[tuple[RemoteModels, str]]:
    models = RemoteModels(MODELS)
    with served(models) as url:
        yield models, url


STEPS: dict[str, tuple[list[str], list[str], list[tuple[str, dict[str, str], dict[str, str]]]]] = {
    "one step": (["x"], ["y"], [("double", {"IN": "x"}, {"OUT": "y"})]),
    "a chain": (
        ["x"],
        ["y"],
        [("double", {"IN": "x"}, {"OUT": "t"}), ("triple", {"IN": "t"}, {"OUT": "y"})],
    ),
    "a chain whose steps stand in the other order": (
        ["x"],
        ["y"],
        [("triple", {"IN": "t"}, {"OUT": "y"}), ("double", {"IN": "x"}, {"OUT": "t"})],
    ),
    "one model twice": (
        ["x"],
        ["y"],
        [("double", {"IN": "x"}, {"OUT": "t"}), ("double", {"IN": "t"}, {"OUT": "y"})],
    ),
    "branches that join": (
        ["x"],
        ["y"],
        [
            ("double", {"IN": "x"}, {"OUT": "a"}),
            ("triple", {"IN": "x"}, {"OUT": "b"}),
            ("plus", {"A": "a", "B": "b"}, {"SUM": "y"}),
        ],
    ),
    "several inputs and outputs": (
        ["x", "z"],
        ["s", "d", "t"],
        [
            ("plus", {"A": "x", "B": "z"}, {"SUM": "s", "DIFF": "d"}),
            ("triple", {"IN": "d"}, {"OUT": "t"}),
        ],
    ),
    "an input as both inputs of a model": (
        ["x"],
        ["y"],
        [("plus", {"A": "x", "B": "x"}, {"SUM": "y"})],
    ),
    "an output that a step reads": (
        ["x"],
        ["y", "z"],
        [("double", {"IN": "x"}, {"OUT": "y"}), ("triple", {"IN": "y"}, {"OUT": "z"})],
    ),
    "a part of a model's outputs": (
        ["x", "z"],
        ["y"],
        [("plus", {"A": "x", "B": "z"}, {"DIFF": "y"})],
    ),
    "optional inputs": (
        [f"x:{F} dims: [2] optional: true", f"z:{F} dims: [2] optional: true"],
        ["a", "b"],
        [("maybe", {"IN0": "x", "IN1": "z"}, {"OUT0": "a", "OUT1": "b"})],
    ),
    "outputs that are left out and optional inputs": (
        [f"x:{F} dims: [2] optional: true", f"z:{F} dims: [2] optional: true"],
        ["a", "b"],
        [
            ("maybe", {"IN0": "x", "IN1": "z"}, {"OUT0": "s", "OUT1": "t"}),
            ("maybe", {"IN0": "t", "IN1": "s"}, {"OUT0": "a", "OUT1": "b"}),
        ],
    ),
    "an optional input that no step maps": (
        ["x"],
        ["a"],
        [("maybe", {"IN0": "x"}, {"OUT0": "a"})],
    ),
    "a model without a batch dimension": (
        ["x"],
        ["y"],
        [("double", {"IN": "x"}, {"OUT": "t"}), ("one_row", {"IN": "t"}, {"OUT": "y"})],
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_an_ensemble_answers_as_triton_does(
    tmp_path: Path, remote: tuple[RemoteModels, str], name: str
) -> None:
    models, url = remote
    inputs, outputs, steps = STEPS[name]
    batch = 1 if name.endswith("batch dimension") else 8
    typed = [*outputs] if batch == 8 else [f"{outputs[0]}:{F} dims: [1]"]
    text = ensemble(inputs, typed, *(step(*one) for one in steps), batch=batch)
    graph = imported(repository(tmp_path / "models", text))
    names = [one.partition(":")[0] for one in inputs]
    requests: list[dict[str, np.ndarray]] = [dict.fromkeys(names, X[:batch])]
    if "optional" in inputs[0]:
        requests += [{name: X + 1} for name in names]
    for given in requests:
        del models.calls[:]
        found = run(graph, tmp_path / "out", url, given)
        expected = Scheduler(steps).run(given, names, outputs)
        assert found.keys() == expected.keys()
        for key, array in expected.items():
            assert found[key].tolist() == np.reshape(array, found[key].shape).tolist()
        assert len(models.calls) == len(steps)


def test_shapes_are_changed_as_reshape_says(
    tmp_path: Path, remote: tuple[RemoteModels, str]
) -> None:
    """The ensemble's `reshape` is the shape between its steps; clients send and get `dims`."""
    inputs = [f"x:{F} dims: [2] reshape {{ shape: [2, 1] }}"]
    outputs = ["rows:data_type: TYPE_INT32 dims: [1]", "rank:data_type: TYPE_INT32 dims: [1]"]
    text = ensemble(
        inputs, outputs, step("measured", {"IN": "x"}, {"ROWS": "rows", "RANK": "rank"})
    )
    text = text.replace("max_batch_size: 8", "max_batch_size: 8", 1)
    source = repository(tmp_path / "models", text)
    graph = imported(source)
    assert "components.py" in graph.files
    assert graph.spec["spec"]["inputs"]["x"] == {"datatype": "FP32", "shape": [-1, 2]}
    found = run(graph, tmp_path / "out", remote[1], {"x": X})
    assert (found["rows"].tolist(), found["rank"].tolist()) == ([[2]], [[3]])


def test_all_inputs_of_a_request_have_as_many_rows(tmp_path: Path) -> None:
    text = ensemble(["x", "z"], ["y"], step("plus", {"A": "x", "B": "z"}, {"SUM": "y"}))
    spec = imported(repository(tmp_path, text)).spec["spec"]
    assert [one["shape"] for one in spec["inputs"].values()] == [["batch", 2], ["batch", 2]]


def test_what_is_to_do_is_told_with_positions(tmp_path: Path) -> None:
    text = ensemble(["x"], ["y"], "\n" + step("double", {"IN": "x"}, {"OUT": "y"}),
                    more="\nparameters { key: \"a\" value { string_value: \"b\" } }")  # fmt: skip
    graph = imported(repository(tmp_path, text))
    file = tmp_path / "pipe" / "config.pbtxt"
    assert unmet([graph]) == [
        f"{file}:2:1: ensemble_scheduling.step.0: set `url` of node 'double' to the address "
        "of your Triton (to do)",
        f"{file}:3:1: parameters: nothing reads parameters of an ensemble (left out)",
    ]


def test_each_field_that_is_set_has_a_note(tmp_path: Path) -> None:
    text = ensemble(["x"], ["y"], step("double", {"IN": "x"}, {"OUT": "y"}))
    graph = imported(repository(tmp_path, text))
    own = {note.path[0] for note in graph.notes if note.file.endswith("pipe/config.pbtxt")}
    assert own == {
        "name", "platform", "max_batch_size", "input", "output", "ensemble_scheduling",
    }  # fmt: skip


def test_a_model_of_no_ensemble_is_a_graph_of_its_own(
    tmp_path: Path, remote: tuple[RemoteModels, str]
) -> None:
    text = ensemble(["x"], ["y"], step("double", {"IN": "x"}, {"OUT": "y"}))
    graphs = import_source(repository(tmp_path / "models", text, "double", "triple"))
    assert [(graph.name, graph.folder) for graph in graphs] == [
        ("pipe", "pipe"),
        ("triple", "triple"),
    ]
    triple = ImportedGraph(graphs[1].spec, graphs[1].source)
    found = run(triple, tmp_path / "out", remote[1], {"IN": X})
    assert found["OUT"].tolist() == (X * 3).tolist()


@pytest.mark.parametrize("place", ["pipe", "pipe/config.pbtxt"])
def test_one_ensemble_of_a_repository_can_be_imported(tmp_path: Path, place: str) -> None:
    text = ensemble(["x"], ["y"], step("double", {"IN": "x"}, {"OUT": "y"}))
    (graph,) = import_source(repository(tmp_path, text) / place)
    assert graph.name == "pipe"
    node = graph.spec["spec"]["nodes"]["double"]
    assert node["outputs"] == {"output": {"datatype": "FP32", "shape": [-1, 2]}}


def test_a_model_elsewhere_is_to_be_typed(tmp_path: Path) -> None:
    text = ensemble(["x"], ["y"], step("doubel", {"IN": "x"}, {"OUT": "y"}))
    graph = imported(repository(tmp_path, text, "double") / "pipe")
    assert "outputs" not in graph.spec["spec"]["nodes"]["doubel"]
    told = [note.text for note in graph.notes if note.taken is Taken.TO_DO]
    assert told[0].startswith("there is no model 'doubel' here")


def test_decoupled_models_and_sequences_are_said_to_be_left_out(tmp_path: Path) -> None:
    for name, more in {
        "decoupled": "model_transaction_policy { decoupled: true }",
        "sequence": "sequence_batching { max_sequence_idle_microseconds: 5 }",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.pbtxt").write_text(f'name: "{name}" {CONFIGS["double"]} {more}')
    found = {graph.name: unmet([graph]) for graph in import_source(tmp_path)}
    assert any("one answer, which Triton refuses" in line for line in found["decoupled"])
    assert any("sequence_id" in line for line in found["sequence"])


ONNX = """name: "net"
platform: "onnxruntime_onnx"
max_batch_size: 16
input { name: "x" data_type: TYPE_FP32 dims: [ 2 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 2 ] }
version_policy { latest { num_versions: 1 } }
instance_group [ { count: 2 kind: KIND_CPU } ]
dynamic_batching {
  preferred_batch_size: [ 4, 8 ]
  max_queue_delay_microseconds: 500
  default_queue_policy { max_queue_size: 64 default_timeout_microseconds: 250000 }
}
parameters { key: "intra_op_thread_count" value { string_value: "2" } }
model_warmup { name: "zeros" batch_size: 4 count: 3
  inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 2 ] zero_data: true } } }
"""


def write_scale(path: Path, by: float) -> None:
    """Write a model that multiplies tensors of any shape."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    shape = ["rows", 2] if path.parents[2].name != "flat" else [1, 2]
    ends = [[helper.make_tensor_value_info(name, kind, shape)] for name in ("x", "y")]
    factor = helper.make_tensor("by", kind, [1], [by])
    node = helper.make_node("Mul", ["x", "by"], ["y"])
    graph = helper.make_graph([node], "scale", *ends, [factor])
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)


def onnx_repository(folder: Path, config: str = ONNX) -> Path:
    for version in (1, 2):
        (folder / "net" / str(version)).mkdir(parents=True)
        write_scale(folder / "net" / str(version) / "model.onnx", float(version * 10))
    (folder / "net" / "config.pbtxt").write_text(config)
    return folder


def test_an_onnx_model_whose_file_is_there_runs_in_the_graph(tmp_path: Path) -> None:
    graph = imported(onnx_repository(tmp_path / "models"))
    node = graph.spec["spec"]["nodes"]["net"]
    assert node["model"] == (tmp_path / "models/net/2/model.onnx").as_uri()
    assert node["batching"] == {"max_size": 16, "max_delay": "500us", "max_queue": 64}
    assert (node["scaling"], node["timeout"]) == ({"replicas": 2}, "250000us")
    assert node["args"] == {"outputs": ["y"], "threads": 2}
    assert graph.spec["spec"]["warmup"] == {"requests": 3, "rows": 4}
    assert run(graph, tmp_path / "out", URL, {"x": X})["y"].tolist() == (X * 20).tolist()
    assert [line.partition(": ")[2] for line in unmet([graph])] == [
        "dynamic_batching.preferred_batch_size: a batch has as many rows as wait when the model is "
        "free, up to `max_size` (left out)",
    ]


@pytest.mark.parametrize(
    ("policy", "version", "others"),
    [
        ("specific { versions: [1] }", "1", None),
        ("all { }", "2", "Triton serves 1 too"),
        ("latest { num_versions: 2 }", "2", "Triton serves 1 too"),
    ],
)
def test_the_newest_version_that_the_policy_allows_is_the_graph(
    tmp_path: Path, policy: str, version: str, others: str | None
) -> None:
    config = ONNX.replace("latest { num_versions: 1 }", policy)
    graph = imported(onnx_repository(tmp_path, config))
    assert f"/net/{version}/" in graph.spec["spec"]["nodes"]["net"]["model"]
    assert (others is None) or any(others in line for line in unmet([graph]))


def test_a_local_model_is_given_and_gives_the_reshaped_tensors(tmp_path: Path) -> None:
    config = ONNX.replace("max_batch_size: 16", "max_batch_size: 0").partition("dynamic_batching")[
        0
    ]
    config = config.replace("dims: [ 2 ]", "dims: [ 2 ] reshape { shape: [ 1, 2 ] }")
    graph = imported(onnx_repository(tmp_path / "models", config))
    found = run(graph, tmp_path / "out", URL, {"x": X[0]})
    assert found["y"].tolist() == (X[0] * 20).tolist()


def test_the_written_graph_says_the_same(tmp_path: Path) -> None:
    text = ensemble(["x"], ["y"], step("double", {"IN": "x"}, {"OUT": "y"}))
    graph = imported(repository(tmp_path, text))
    assert yaml.safe_load(files_of([graph])["graph.yaml"]) == graph.spec


def test_a_folder_without_configurations_is_no_repository(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="holds no manifest"):
        import_source(tmp_path)
