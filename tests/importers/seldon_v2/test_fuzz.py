"""Manifests with wrong values anywhere: each is imported, or refused with positions."""

from __future__ import annotations

import copy
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.errors import SpecError
from tests.examples import examples
from tests.importers.imported import imported
from tests.importers.seldon_v2.test_models import experiment, model
from tests.importers.seldon_v2.test_pipelines import FED, SPECS, UPSTREAM, pipeline

DOCUMENTS = [
    *(pipeline("pipe", spec) for spec in SPECS.values()),
    *(pipeline("pipe", spec) for spec in FED.values()),
    model("mul10", "gs://m/1", "sklearn", replicas=2, memory="1Gi", parameters=[
        {"name": "a", "value": "b"}], explainer={"type": "anchor_text", "modelRef": "x"}),
    experiment("e", ("mul10", 1), ("b", 2), default="mul10", mirror={"name": "c", "percent": 5}),
]  # fmt: skip
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2**40), st.floats(), st.text(max_size=4),
    st.sampled_from(["pipe", "pipe.inputs", "mul10.outputs.OUTPUT", "up", "a.b.c.d", ".", "any"]),
    st.just([]), st.just({}), st.just([None]), st.just({"name": "mul10"}), st.just(["pipe.inputs"]),
)  # fmt: skip


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value."""
    found = [path] if path else []
    if isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            found += places(value, (*path, key))
    return found


@settings(max_examples=examples(400))
@given(st.data())
def test_any_manifest_is_imported_or_refused(data: st.DataObject) -> None:
    document = copy.deepcopy(data.draw(st.sampled_from(DOCUMENTS)))
    for _ in range(data.draw(st.integers(1, 3))):
        *before, last = data.draw(st.sampled_from(places(document)))
        at = document
        for key in before:
            at = at[key]
        if data.draw(st.booleans()):
            at[last] = copy.deepcopy(data.draw(VALUES))
        elif isinstance(at, dict):
            del at[last]
        if not isinstance(document.get("spec"), dict):
            break
    try:
        imported(document, pipeline("up", UPSTREAM))
    except SpecError as error:
        for problem in error.problems:
            assert problem.position is not None, yaml.safe_dump(document)
            assert problem.file == "<stdin>", (str(problem), yaml.safe_dump(document))
