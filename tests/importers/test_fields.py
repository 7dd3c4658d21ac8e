"""Every field of a manifest has a note, or is below one."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from anabranch.importers.result import Taken
from anabranch.specs.excerpts import safe_path
from tests.importers.imported import imported, notes, places
from tests.importers.seldon_v1.manifests import deployment, node
from tests.importers.seldon_v1.test_deployments import WHOLE


def leaves(data: Any) -> list[tuple[Any, ...]]:
    found = places(data)
    return [one for one in found if not any(other[: len(one)] == one != other for other in found)]


def test_every_field_is_noted() -> None:
    (graph,) = imported(json.dumps(WHOLE))
    noted = {tuple(note.path) for note in graph.notes}
    missing = [
        leaf
        for leaf in map(safe_path, leaves(WHOLE))
        if not any(leaf[:length] in noted for length in range(1, len(leaf) + 1))
    ]
    assert missing == []


@pytest.mark.parametrize(
    "place",
    [
        (),
        ("metadata",),
        ("spec",),
        ("spec", "predictors", 0),
        ("spec", "predictors", 0, "graph"),
        ("spec", "predictors", 0, "graph", "endpoint"),
        ("spec", "predictors", 0, "graph", "logger"),
        ("spec", "predictors", 0, "graph", "parameters", 0),
        ("spec", "predictors", 0, "explainer"),
        ("spec", "predictors", 0, "svcOrchSpec"),
        ("spec", "predictors", 0, "componentSpecs", 0),
        ("spec", "predictors", 0, "componentSpecs", 0, "kedaSpec"),
        ("spec", "predictors", 0, "componentSpecs", 0, "spec"),
        ("spec", "predictors", 0, "componentSpecs", 0, "spec", "containers", 0),
        ("spec", "predictors", 0, "componentSpecs", 0, "spec", "containers", 0, "resources"),
    ],
)
def test_an_unknown_field_is_told(place: tuple[Any, ...]) -> None:
    """Seldon's CRD prunes it silently."""
    document = copy.deepcopy(WHOLE)
    owner: Any = document
    for key in place:
        owner = owner[key]
    owner["unknownField"] = {"a": 1}
    (graph,) = imported(json.dumps(document))
    path = ".".join(map(str, (*place, "unknownField")))
    assert "no field of this name is known" in notes(graph, Taken.LEFT_OUT)[path]


def test_an_unknown_field_has_a_suggestion() -> None:
    (graph,) = imported(deployment({**node("m", "MODEL"), "modelURI": "gs://b/m"}))
    (said,) = notes(graph, Taken.LEFT_OUT).values()
    assert "did you mean 'modelUri'?" in said


def test_empty_fields_are_as_if_left_out() -> None:
    one = deployment(node("m", "MODEL", parameters=[], endpoint={}))
    (graph,) = imported({**one, "status": {}})
    found = notes(graph, Taken.REWORDED)
    for path in ("status", "spec.predictors.0.graph.parameters"):
        assert found[path] == "is empty, as if it were left out"
