"""From sources to graphs, their folders and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from anabranch.errors import SpecError
from anabranch.importers.importing import import_source
from anabranch.importers.kinds import importable
from anabranch.importers.placing import placed
from anabranch.importers.report import report, unmet
from anabranch.importers.result import ImportedGraph, Taken
from anabranch.importers.writing import check_files, files_of
from tests.importers.imported import imported, mistakes, notes
from tests.importers.seldon_v1.manifests import deployment, node

MODEL = deployment(node("m", implementation="SIMPLE_MODEL"))
SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}


def graph(folder: str = "", name: str = "g", *steps: str) -> ImportedGraph:
    spec: dict[str, Any] = {"metadata": {"name": name}}
    return ImportedGraph(spec, f"Kind {name}", folder, {}, (), steps)


def test_a_kind_of_no_importer_is_refused_with_those_that_there_are() -> None:
    (found,) = mistakes(SERVICE)
    assert "'v1/Service' cannot be imported" in found or "Service' cannot be imported" in found
    assert all(kind in " ".join(importable()) for kind in ("SeldonDeployment",))


def test_a_kind_that_is_no_graph_is_refused_with_the_reason() -> None:
    llm = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "LLMInferenceService",
        "metadata": {"name": "llama"},
        "spec": {"model": {"uri": "hf://o/m"}},
    }
    (found,) = mistakes(llm)
    assert "kind: LLMInferenceService describes servers of a language model" in found
    (one,) = imported(MODEL, llm)
    (told,) = [text for text in notes(one, Taken.LEFT_OUT).values() if "llama" in text]
    assert told.endswith("call it by a node of the runtime `openai`")
    old = {**llm, "kind": "Predictor", "spec": {"modelType": {"name": "xgboost"}}}
    assert "Predictor is ModelMesh's: write it as an InferenceService" in mistakes(old)[0]


def test_a_misspelled_kind_has_a_suggestion() -> None:
    (found,) = mistakes({**MODEL, "kind": "SeldonDeploymnt"})
    assert "did you mean 'machinelearning.seldon.io/SeldonDeployment'?" in found


def test_manifests_of_other_kinds_are_told() -> None:
    (one,) = imported(MODEL, SERVICE)
    assert (
        "Service web is not of a kind that can be imported" in notes(one, Taken.LEFT_OUT).values()
    )
    assert any("Service web" in line for line in unmet([one]))


def test_a_folder_with_files_that_are_no_manifests(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("replicas: 3\n")
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(MODEL))
    (one,) = import_source(tmp_path)
    assert "is no object of Kubernetes" in notes(one, Taken.LEFT_OUT).values()


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n---\n"])
def test_nothing_to_import_is_told(text: str) -> None:
    with pytest.raises(SpecError, match="<stdin>: holds no manifest; these can be imported"):
        import_source(Path("-"), text.encode())


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        import_source(tmp_path / "none.yaml")


def test_graphs_with_folders_of_their_own_stay_where_they_are() -> None:
    graphs = [graph("", "a", "anabranch deploy graph.yaml"), graph("b", "a")]
    assert placed(graphs) == graphs


def test_graphs_that_want_one_folder_are_below_their_names() -> None:
    graphs = [
        graph("", "a", "anabranch deploy graph.yaml"),
        graph("c", "a", "anabranch deploy c/graph.yaml --canary 5"),
        graph("", "b", "anabranch deploy graph.yaml"),
    ]
    assert [(one.folder, *one.steps) for one in placed(graphs)] == [
        ("a", "anabranch deploy a/graph.yaml"),
        ("a/c", "anabranch deploy a/c/graph.yaml --canary 5"),
        ("b", "anabranch deploy b/graph.yaml"),
    ]


def test_one_graph_twice_is_refused() -> None:
    with pytest.raises(SpecError, match="Kind a: another manifest gives the graph a"):
        placed([graph("", "a"), graph("", "a")])


def test_a_graph_that_comes_again_is_told_at_its_place(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(yaml.safe_dump(MODEL))
    with pytest.raises(SpecError) as error:
        import_source(tmp_path)
    (found,) = error.value.problems
    assert str(found).startswith(f"{tmp_path / 'b.yaml'}:")


def test_the_report_has_what_needs_a_person_first() -> None:
    (one,) = imported(deployment({**node("m", "MODEL"), "modelURI": "x"}))
    text = report([one])
    headings = ["### Still to do", "### Left out", "### The same by other words", "### Taken over"]
    places = [text.index(heading) for heading in [*headings, "### Into service"]]
    assert places == sorted(places)
    assert "$ anabranch deploy graph.yaml" in text
    assert "`metadata.name` (line " in text


def test_lines_of_what_is_unmet_have_positions_in_the_source() -> None:
    (one,) = imported(deployment(node("m", "MODEL")))
    (line,) = unmet([one])
    assert line.startswith("<stdin>:")
    assert line.endswith("(to do)")


def test_the_files_are_the_graph_its_components_and_the_report() -> None:
    files = files_of(imported(deployment(node("m", "MODEL"))))
    assert set(files) == {"graph.yaml", "components.py", "IMPORT.md"}
    check_files(files)


def test_a_graph_beyond_the_language_is_told() -> None:
    (one,) = imported(MODEL)
    one.spec["spec"]["scaling"] = {"replicas": 5000}
    with pytest.raises(SpecError) as error:
        files_of([one])
    assert str(error.value).startswith("imported graph.yaml: spec.scaling.replicas: ")


def test_a_graph_that_does_not_compile_is_told_by_its_name() -> None:
    files = files_of(imported(deployment(node("m", "MODEL"))))
    files["graph.yaml"] = files["graph.yaml"].replace("output: m", "output: other")
    with pytest.raises(SpecError) as error:
        check_files(files)
    assert str(error.value).startswith("imported graph.yaml:")
