"""``explain`` against a graph whose answers are played."""

from __future__ import annotations

import json

import pytest

from anabranch.cli.reports.explanation import explanations_text
from tests.cli.conftest import Served
from tests.explainers import answers

METADATA = {
    "name": "digits",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
    "outputs": [],
}
ASK = ("explain", "digits", "--input", "x=[1, 2, 3]")
REQUEST = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}


@pytest.fixture
def graph(engine: Served) -> Served:
    engine.graphs["GET /v2/models/digits"] = METADATA
    engine.graphs["POST /v2/models/digits/explain"] = answers.TABULAR
    return engine


def test_a_table_of_features(graph: Served) -> None:
    lines = graph.text(*ASK).splitlines()
    assert lines == [
        "digits: kernel_shap by why, 0.25 s",
        "",
        "target 1, prediction 0.93, base value 0.61, seed 0",
        "FEATURE        ATTRIBUTION",
        "mean <radius>  0.5          ████████████████████████",
        "$texture$      -0.25        ░░░░░░░░░░░░",
        "area & more    0.07         ███",
    ]
    assert graph.asked[-1] == REQUEST


def test_what_is_wanted_goes_along_as_parameters(graph: Served) -> None:
    wanted = ("--explainer", "why", "--target", "0", "--seed", "7")
    assert graph.json(*ASK, *wanted) == answers.TABULAR
    parameters = {"explainer": "why", "target": 0, "seed": 7}
    assert graph.asked[-1] == {**REQUEST, "parameters": parameters}
    whole = json.dumps({**REQUEST, "parameters": {"timeout": "2s", "seed": 1}})
    graph.text("explain", "digits", "-d", whole, "--seed", "7")
    assert graph.asked[-1] == {**REQUEST, "parameters": {"timeout": "2s", "seed": 7}}


def test_a_page_is_written(graph: Served, tmp_path) -> None:
    done = graph.run(*ASK, "--html", str(tmp_path / "why.html"))
    assert done.exit_code == 0
    assert "why.html" in done.stderr
    assert "mean &lt;radius&gt;" in (tmp_path / "why.html").read_text()


def test_a_picture_is_drawn(graph: Served, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    done = graph.run(*ASK, "--plot", str(tmp_path / "why.png"))
    assert done.exit_code == 0
    assert (tmp_path / "why.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("explain", "digits"), "--data"),
        ((*ASK, "--plot", "why.gif"), "must end in one of .png, .svg, .pdf"),
        ((*ASK, "--html", "nowhere/why.html"), "there is no folder nowhere"),
        ((*ASK, "--target", "-1"), "--target"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_asked(graph, arguments, message) -> None:
    done = graph.run(*arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.output.replace("│", " ").split())
    assert not graph.asked


def test_a_graph_that_is_not_there(engine: Served) -> None:
    done = engine.run("explain", "digits", "-d", json.dumps(REQUEST))
    assert done.exit_code == 1


def test_every_kind_of_explanation_as_text() -> None:
    text = {name: explanations_text(answer) for name, answer in answers.ALL.items()}
    assert "PLACE IN 2 BY 2  ATTRIBUTION" in text["image"]
    assert "[1, 1]           -2           ░░░░░░░░░░░░░░░░░░░░░░░░" in text["image"]
    assert "the answer stays while:\n  radius > 13.4\n  texture <= 25" in text["rule"]
    assert "precision 0.97, coverage 0.25" in text["rule"]
    assert "age      ▁█▅    0     4   0       0.5" in text["curves"]
    assert "green     -0.3" in text["curves"]
    assert "SAMPLE  SIMILARITY" in text["examples"]
    assert '{"because": "<script>' in text["own"]
    assert text["many"].endswith("… and 28 more rows")
    assert text["nothing"] == "digits: saliency by why, 0.25 s"
