"""Mistakes that Triton finds when it loads models, each at its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.errors import SpecError
from anabranch.importers.importing import import_source
from tests.importers.triton.test_graphs import CONFIGS, F, ensemble, repository, step

DOUBLE = step("double", {"IN": "x"}, {"OUT": "y"})
TWO = f"\n{step('double', {'IN': 'x'}, {'OUT': 't'})}\n{step('triple', {'IN': 't'}, {'OUT': 'y'})}"


def mistakes(folder: Path, config: str) -> list[str]:
    """Return the mistakes in a repository with this configuration, without the file."""
    with pytest.raises(SpecError) as caught:
        import_source(repository(folder, config))
    file = str(folder / "pipe" / "config.pbtxt")
    return [str(one).removeprefix(f"{file}:") for one in caught.value.problems]


ENSEMBLES = {
    ensemble(["x"], ["y"]): ["1:156: ensemble_scheduling: needs at least one `step`"],
    ensemble(["x"], ["y"], 'step { model_name: "double" }'): [
        "1:178: ensemble_scheduling.step.0: needs `input_map`",
        "1:178: ensemble_scheduling.step.0: needs `output_map`",
    ],
    ensemble(["x"], ["y"], TWO, more='\nbackend: "python"'): [
        "4:1: backend: must not be set: an ensemble has the platform `ensemble` and no backend"
    ],
    ensemble(["x"], ["y"], TWO, more="\ninstance_group { count: 2 }"): [
        "4:1: instance_group: must not be set: an ensemble has no instances of its own"
    ],
    ensemble(["x"], ["y"], TWO, more="\noptimization { }"): [
        "4:1: optimization: must not be set: an ensemble runs no model itself"
    ],
    ensemble(["x", "z"], ["y"], DOUBLE): [
        "1:112: input.1.name: no step reads 'z' (available: x)",
    ],
    ensemble(["x"], ["y", "q"], DOUBLE): ["no step writes 'q'"],
    ensemble(["x"], ["y"], "\n" + step("double", {"IN": "w"}, {"OUT": "y"})): [
        "no step reads 'x'",
        "2:47: ensemble_scheduling.step.0.input_map: nothing writes tensor 'w'",
    ],
    ensemble(["x"], ["y"], DOUBLE, "\n" + step("triple", {"IN": "x"}, {"OUT": "y"})): [
        "ensemble_scheduling.step.1.output_map: tensor 'y' is written by step 0 already",
    ],
    ensemble(["x"], ["y"], DOUBLE, "\n" + step("triple", {"IN": "x"}, {"OUT": "t"})): [
        "ensemble_scheduling.step.1.output_map: nothing reads tensor 't'; remove it, or make it an "
        "output",
    ],
    ensemble(["x"], ["y"], step("plus", {"A": "x", "B": "t"}, {"SUM": "u"}),
             step("double", {"IN": "u"}, {"OUT": "t"}), DOUBLE): [
        "ensemble_scheduling.step.0.input_map: the steps form a cycle: plus, double",
    ],
    ensemble(["x"], ["y"], step("double", {"IN": "x", "IM": "x"}, {"OUT": "y", "OUR": "z"}),
             step("triple", {"IN": "z"}, {"OUT": "w"}), step("triple", {"IN": "w"}, {"OUT": "v"}),
             step("plus", {"A": "v"}, {"SUM": "s"}), step("triple", {"IN": "s"}, {"OUT": "r"}),
             step("plus", {"A": "r", "B": "x"}, {"SUM": "u"})).replace('"u"', '"q"').replace(
        'output { name: "y"', f'output {{ name: "q" {F} dims: [2] }} output {{ name: "y"'): [
        "step.0.input_map: model 'double' has no input 'IM' (available: IN)",
        "step.0.output_map: model 'double' has no output 'OUR' (did you mean 'OUT'? available: "
        "OUT)",
        "step.3.input_map: input 'B' of model 'plus' is mapped to nothing",
    ],
    ensemble(["x:data_type: TYPE_INT32 dims: [2]"], ["y"], DOUBLE): [
        "step.0.input_map: tensor 'x' is TYPE_INT32 by 'pipe', but TYPE_FP32 by 'double'",
    ],
    ensemble([f"x:{F} dims: [3]"], ["y"], DOUBLE): [
        "step.0.input_map: tensor 'x' has shape [-1, 3] by 'pipe', but [-1, 2] by 'double'",
    ],
    ensemble(["x"], ["y"], DOUBLE, batch=9): [
        "step.0: model 'double' takes at most 8 rows, the ensemble 9",
    ],
    ensemble(["x"], ["y"], DOUBLE.replace("-1", "7")): [
        "step.0.model_version: model 'double' serves no version 7, but 1",
    ],
    ensemble(["x"], ["y"], step("pipe", {"x": "x"}, {"y": "y"})): [
        "step.0.model_name: the ensembles form a cycle: pipe → pipe",
    ],
    'name: "pipe" platform: "ensemble"': [
        "1:14: platform: is `ensemble`, which needs `ensemble_scheduling`"
    ],
}  # fmt: skip


@pytest.mark.parametrize("number", range(len(ENSEMBLES)))
def test_mistakes_of_ensembles(tmp_path: Path, number: int) -> None:
    config = list(ENSEMBLES)[number]
    found = mistakes(tmp_path, config)
    expected = ENSEMBLES[config]
    assert len(found) == len(expected), found
    assert all(said in one for said, one in zip(expected, found, strict=True)), found


MODELS = {
    "max_batch_size: -1": "1:14: max_batch_size: must be at least 0",
    f"input {{ {F} dims: [1] }}": "input.0: needs a `name`",
    f'input {{ name: "a" {F} dims: [1] }} input {{ name: "a" {F} dims: [1] }}': (
        "input.1.name: 'a' is there twice"
    ),
    f'output {{ name: "a" {F} dims: [0] }}': (
        "output.0.dims: must be sizes of at least 1, or -1 for any"
    ),
    f'input {{ name: "a" {F} dims: [6] reshape {{ shape: [2, 2] }} }}': (
        "input.0.reshape: to [2, 2] has another number of elements than `dims`, [6]"
    ),
    f'input {{ name: "a" {F} dims: [1] reshape {{ }} }}': "is empty, which needs a batch dimension",
    "max_batch_size: 4 dynamic_batching { preferred_batch_size: [4, 8] }": (
        "preferred_batch_size: 8 is not from 1 to `max_batch_size`, 4"
    ),
    "dynamic_batching { priority_levels: 2 default_priority_level: 3 }": (
        "default_priority_level: must be from 1 to `priority_levels`, 2"
    ),
    "response_cache { enable: true } model_transaction_policy { decoupled: true }": (
        "response_cache: cannot be used with `model_transaction_policy`"
    ),
}


@pytest.mark.parametrize("config", MODELS)
def test_mistakes_of_models(tmp_path: Path, config: str) -> None:
    (found,) = mistakes(tmp_path, f'name: "pipe" {config}')
    assert MODELS[config] in found


@pytest.mark.parametrize("shapes", ["dims: [-1, 4] reshape { shape: [-1, 2, 2] }",
                                    "dims: [1] reshape { shape: [] }"])  # fmt: skip
def test_shapes_that_fit(tmp_path: Path, shapes: str) -> None:
    config = f'name: "pipe" max_batch_size: 4 input {{ name: "a" {F} {shapes} }}'
    assert import_source(repository(tmp_path, config))


def test_ensembles_that_need_each_other(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / name).mkdir()
        text = ensemble(["x"], ["y"], step(other, {"x": "x"}, {"y": "y"})).replace("pipe", name)
        (tmp_path / name / "config.pbtxt").write_text(text)
    with pytest.raises(SpecError) as caught:
        import_source(tmp_path)
    assert [str(one).rpartition(": ")[2] for one in caught.value.problems] == [
        "a → b → a",
        "b → a → b",
    ]


def test_models_of_one_name(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.pbtxt").write_text(f'name: "a" {CONFIGS["double"]}')
    with pytest.raises(SpecError, match=r"b/config.pbtxt:1:1: name: is 'a', as in the folder 'a'"):
        import_source(tmp_path)


def test_a_folder_of_another_name_is_to_be_renamed(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "config.pbtxt").write_text(f'name: "a" {CONFIGS["double"]}')
    (graph,) = import_source(tmp_path)
    assert any("rename the folder to 'a'" in note.text for note in graph.notes)
