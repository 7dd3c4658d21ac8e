"""Predictors as revisions of one graph, with the commands that give each its traffic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from anabranch.cli.app import app
from tests.importers.imported import imported, mistakes, written
from tests.importers.seldon_v1.manifests import deployment, node, predictor


def shares(*predictors: tuple[str, dict[str, Any]], **metadata: Any) -> dict[str, Any]:
    made = deployment()
    made["metadata"] |= metadata
    made["spec"]["predictors"] = [
        predictor(node(f"m-{name}", "MODEL"), name, **more) for name, more in predictors
    ]
    return made


CASES: dict[str, tuple[dict[str, Any], list[tuple[str, list[str]]]]] = {
    "one": (shares(("a", {})), [("", ["anabranch deploy graph.yaml"])]),
    "a canary": (
        shares(("a", {"traffic": 75}), ("b", {"traffic": 25})),
        [
            ("", ["anabranch deploy graph.yaml"]),
            ("b", ["anabranch deploy b/graph.yaml --canary 25"]),
        ],
    ),
    "the predictor with the most traffic is stable": (
        shares(("a", {"traffic": 10}), ("b", {"traffic": 90})),
        [
            ("", ["anabranch deploy graph.yaml"]),
            ("a", ["anabranch deploy a/graph.yaml --canary 10"]),
        ],
    ),
    "the first is stable where two have as much": (
        shares(("a", {"traffic": 50}), ("b", {"traffic": 50})),
        [
            ("", ["anabranch deploy graph.yaml"]),
            ("b", ["anabranch deploy b/graph.yaml --canary 50"]),
        ],
    ),
    "three, with a shadow of a part": (
        shares(
            ("a", {"traffic": 20}),
            ("b", {"traffic": 50}),
            ("s", {"shadow": True, "traffic": 30}),
            ("c", {"traffic": 30}),
        ),
        [
            ("", ["anabranch deploy graph.yaml"]),
            ("a", ["anabranch deploy a/graph.yaml --canary 0"]),
            ("s", ["anabranch deploy s/graph.yaml --mirror 30"]),
            (
                "c",
                [
                    "anabranch deploy c/graph.yaml --canary 0",
                    "anabranch traffic model r1=50 r2=20 r4=30",
                ],
            ),
        ],
    ),
    "a shadow of everything": (
        shares(("a", {"traffic": 100}), ("s", {"shadow": True})),
        [
            ("", ["anabranch deploy graph.yaml"]),
            ("s", ["anabranch deploy s/graph.yaml --mirror 100"]),
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_predictors_are_revisions(name: str) -> None:
    document, expected = CASES[name]
    graphs = imported(document)
    assert [(graph.folder, list(graph.steps)) for graph in graphs] == expected
    assert {graph.name for graph in graphs} == {"model"}


def test_each_revision_has_the_notes_of_its_predictor() -> None:
    stable, canary = imported(CASES["a canary"][0])
    assert stable.source == "SeldonDeployment model, predictor a"
    paths = {tuple(note.path)[:3] for note in canary.notes}
    assert paths == {("spec", "predictors", 1)}
    assert ("spec", "predictors", 1) not in {tuple(note.path)[:3] for note in stable.notes}
    assert any(note.path == ("metadata", "name") for note in stable.notes)


def test_a_graph_in_a_namespace_is_named_by_both() -> None:
    (graph,) = imported(shares(("a", {}), namespace="ml"))
    assert graph.name == "ml/model"
    (graph,) = imported(shares(("a", {}), namespace="default"))
    assert graph.name == "model"


def test_deployments_of_one_import_have_folders_of_their_own() -> None:
    first, second = shares(("a", {})), shares(("a", {"traffic": 60}), ("b", {"traffic": 40}))
    second["metadata"] = {"name": "other", "namespace": "ml"}
    graphs = imported(first, second)
    assert [(graph.folder, list(graph.steps)) for graph in graphs] == [
        ("model", ["anabranch deploy model/graph.yaml"]),
        ("ml/other", ["anabranch deploy ml/other/graph.yaml"]),
        ("ml/other/b", ["anabranch deploy ml/other/b/graph.yaml --canary 40"]),
    ]


def test_one_deployment_twice_is_refused() -> None:
    found = mistakes(shares(("a", {})), shares(("a", {})))
    assert len(found) == 1
    assert "another manifest gives the graph model" in found[0]


def test_the_commands_are_those_of_the_command_line(tmp_path: Path) -> None:
    """Every step names a command, options and files that are there."""
    from typer.main import get_command

    commands: Any = get_command(app)
    graphs = imported(CASES["three, with a shadow of a part"][0])
    folder = written(graphs, tmp_path)
    for step in (step for graph in graphs for step in graph.steps):
        _, name, *words = step.split(" ")
        options = {one for option in commands.commands[name].params for one in option.opts}
        assert all(word in options for word in words if word.startswith("--"))
        assert all((folder / word).is_file() for word in words if word.endswith(".yaml"))
