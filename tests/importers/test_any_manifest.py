"""Manifests with hostile values anywhere: each is imported, or refused with positions."""

from __future__ import annotations

import copy
import datetime
import json
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.errors import SpecError
from anabranch.importers.importing import import_source
from anabranch.importers.report import unmet
from anabranch.importers.writing import check_files, files_of
from tests.examples import examples
from tests.importers.imported import places
from tests.importers.kserve.graphs.test_compiling import GRAPHS
from tests.importers.kserve.manifests import inference_graph
from tests.importers.kserve.services.test_importing import FULL
from tests.importers.seldon_v1.test_deployments import WHOLE
from tests.importers.seldon_v2.test_models import experiment, model
from tests.importers.seldon_v2.test_pipelines import FED, SPECS, UPSTREAM, pipeline

MODEL = model(
    "mul10", "gs://m/1", "sklearn", replicas=2, memory="1Gi",
    parameters=[{"name": "a", "value": "b"}], explainer={"type": "anchor_text", "modelRef": "x"},
)  # fmt: skip
MANIFESTS = [
    *[[WHOLE]] * 20,
    *[[FULL]] * 20,
    *([inference_graph(nodes)] for nodes, _ in GRAPHS.values()),
    *([pipeline("pipe", spec), pipeline("up", UPSTREAM)] for spec in (SPECS | FED).values()),
    *[[MODEL, experiment("e", ("mul10", 1), ("b", 2), default="mul10",
                         mirror={"name": "c", "percent": 5})]] * 10,
]  # fmt: skip
"""Groups of manifests; a large one is there as often as many small ones."""


def nested(depth: int) -> Any:
    value: Any = "x"
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


TEXTS = [
    "", " ", "\n", "\x1b[31m", "é" * 300, "a" * 70000, "9" * 400, "../../etc/passwd", "file:///etc",
    "://", "gs://", "hf://x", "http://[::1", "http://a:99999/x", "http://u:p@h/", "s3://b/k#../x",
    "pvc://", '"""', "\\", "'", "${X}", "{x}", "%s", "#", "-", ".", "/", "1", "1Gi", "1e", "-1",
    "NaN", "0x10", "null", "yes", "2020-01-01", "日本", "\u202e", "class X:\n  pass", "MODEL",
    "root", "RANDOM_ABTEST", "$response", "a.#(x==", "@this|@ugly", "*" * 50, "pipe.inputs",
    "a.b.c.d", "any",
]  # fmt: skip
VALUES = st.one_of(
    st.sampled_from([None, True, 0, -1, 2**31, 2**63, 2**200, 1e308, float("nan"), float("inf")]),
    st.sampled_from(TEXTS),
    st.sampled_from(
        [[], {}, [None], [[]], {"": ""}, {"name": "x"}, [{"name": "x"}] * 2, ["a"] * 300,
         list(range(2000)), {str(number): number for number in range(500)}, {1: 2, None: 3},
         nested(20), nested(60), datetime.date(2020, 1, 1)]
    ),
    st.text(max_size=6),
    st.integers(-9, 999),
)  # fmt: skip


def changed(data: st.DataObject, manifest: dict[str, Any]) -> None:
    """Give a field another value, or another name, or remove it."""
    known = [place for place in places(manifest) if place not in (("apiVersion",), ("kind",))]
    if not known:
        return
    *before, last = data.draw(st.sampled_from(known))
    owner: Any = manifest
    for key in before:
        owner = owner[key]
    value = copy.deepcopy(data.draw(VALUES))
    match data.draw(st.sampled_from(["value", "value", "name", "nothing"])):
        case "value":
            owner[last] = value
        case "name" if isinstance(owner, dict):
            owner[data.draw(st.sampled_from(TEXTS[:20]) | st.none() | st.integers(0, 9))] = value
        case _:
            del owner[last]


@settings(max_examples=examples(800), deadline=None)
@given(st.data())
def test_any_manifest_is_imported_or_refused(data: st.DataObject) -> None:
    """Mistakes are those of the source; what is written compiles, and stays in its folder."""
    manifests = copy.deepcopy(data.draw(st.sampled_from(MANIFESTS)))
    for _ in range(data.draw(st.integers(1, 3))):
        changed(data, data.draw(st.sampled_from(manifests)))
    text = yaml.safe_dump_all(manifests, allow_unicode=True)
    if data.draw(st.booleans()) and len(manifests) == 1:
        text = json.dumps(manifests[0], default=str)
    try:
        graphs = import_source(Path("-"), text.encode("utf-8", "surrogatepass"))
        files = files_of(graphs)
        check_files(files)
    except SpecError as error:
        for problem in error.problems:
            assert (problem.file, bool(problem.position)) == ("<stdin>", True), (str(problem), text)
            assert "\x1b" not in str(problem)
        return
    assert all(isinstance(line, str) for line in unmet(graphs))
    for path, content in files.items():
        assert not {"..", "/"} & set(Path(path).parts)
        if path.endswith(".py"):
            compile(content, path, "exec")
