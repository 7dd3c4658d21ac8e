"""``infer``: what it sends, and what it prints of the reply."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.conftest import Served

METADATA = {
    "name": "digits",
    "inputs": [
        {"name": "x", "datatype": "FP32", "shape": [-1, 2]},
        {"name": "text", "datatype": "BYTES", "shape": [-1]},
    ],
}
REPLY = {
    "model_name": "digits", "model_version": "3", "id": "7f3a",
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [300], "data": [0.5] * 300}],
}  # fmt: skip
MODEL = "/v2/models/digits"


@pytest.fixture
def graph(engine: Served) -> Served:
    for path in (MODEL, f"{MODEL}/versions/3"):
        engine.graphs[f"GET {path}"] = METADATA
        engine.graphs[f"POST {path}/infer"] = REPLY
    return engine


def sent(engine: Served) -> Any:
    return engine.asked[-1]


def data(engine: Served, text: str) -> Any:
    engine.text("infer", "digits", "-i", f"text={text}")
    return sent(engine)["inputs"][0]["data"]


def test_the_report_has_the_whole_data_and_who_answered(graph: Served) -> None:
    text = graph.text("infer", "digits", "-i", "x=[1, 2]")
    assert f"[{', '.join(['0.5'] * 300)}]" in text
    assert text.endswith("\n\nrevision 3, request 7f3a\n")


def test_the_report_has_the_id_that_the_engine_gave_a_request_without_one(graph: Served) -> None:
    graph.graphs[f"POST {MODEL}/infer"] = {k: v for k, v in REPLY.items() if k != "id"}
    assert graph.text("infer", "digits", "-i", "x=[1, 2]").endswith("revision 3, request made\n")
    assert graph.json("infer", "digits", "-i", "x=[1, 2]")["id"] == "made"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("hello", ["hello"]), ("hello world = x", ["hello world = x"]), ("5", ["5"]),
        ("true", ["true"]), ('"5"', ["5"]), ('["a", "b"]', ["a", "b"]), ("[1", ["[1"]),
        ("", [""]), ('{"a": 1}', ['{"a": 1}']),
    ],
)  # fmt: skip
def test_text_for_an_input_of_bytes_needs_no_quotes(
    graph: Served, typed: str, expected: list[str]
) -> None:
    assert data(graph, typed) == expected


def test_text_for_an_input_of_numbers_is_wrong_usage(graph: Served) -> None:
    done = graph.run("infer", "digits", "-i", "x=hello")
    assert done.exit_code == 2
    assert "--input x is not JSON" in done.stderr
    assert len(graph.asked) == 1  # the metadata, and no request


def test_parameters_and_an_explanation_are_part_of_the_request(graph: Served) -> None:
    options = ("-p", "model=fr", "-p", "top=3", "--explain", "shap")
    graph.text("infer", "digits", "-i", "x=[1, 2]", *options)
    assert sent(graph)["parameters"] == {"model": "fr", "top": 3, "explain": "shap"}
    graph.text("infer", "digits", "-i", "x=[1, 2]", "--explain", "true")
    assert sent(graph)["parameters"] == {"explain": True}


def test_a_parameter_takes_the_place_of_that_of_a_whole_request(graph: Served) -> None:
    request = '{"inputs": [{"name": "x", "data": [1]}], "parameters": {"a": 1, "b": 2}}'
    graph.text("infer", "digits", "-d", request, "-p", "b=3")
    assert sent(graph)["parameters"] == {"a": 1, "b": 3}


def test_headers_and_the_revision_reach_the_engine(graph: Served) -> None:
    del graph.graphs[f"POST {MODEL}/infer"]
    options = ("-H", "x-user=ada=1", "--revision", "r3")
    assert "revision 3" in graph.text("infer", "digits", "-i", "x=[1, 2]", *options)
    assert graph.headers[-1]["x-user"] == "ada=1"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("-H", "x-user"), "--header 'x-user' is not NAME=VALUE"),
        (("-p", "a=1", "-p", "a=2"), "--parameter a is given twice"),
        (("--revision", "new"), "'new' is not a revision, such as 3 or r3"),
    ],
)
def test_wrong_options_are_named(graph: Served, option: tuple[str, ...], message: str) -> None:
    done = graph.run("infer", "digits", "-i", "x=[1, 2]", *option)
    assert (done.exit_code, graph.asked) == (2, [])
    assert message in done.stderr


def test_an_explanation_beside_the_prediction_is_printed(graph: Served) -> None:
    late = {**REPLY, "parameters": {"explained": False, "explanation_error": "late: 1 s"}}
    graph.graphs[f"POST {MODEL}/infer"] = late
    text = graph.text("infer", "digits", "-i", "x=[1, 2]", "--explain", "true")
    assert text.endswith("revision 3, request 7f3a\n\nno explanation: late: 1 s\n")


def test_repeat_tells_which_revisions_answered(graph: Served) -> None:
    text = graph.text("infer", "digits", "-i", "x=[1, 2]", "--repeat", "20")
    head, row = text.splitlines()
    assert head.split() == ["REVISION", "REQUESTS", "SHARE", "P50", "MS", "P95", "MS"]
    assert row.split()[:4] == ["3", "20", "100.0", "%"]
    assert len(graph.asked) == 21


def test_repeat_counts_failures_and_fails(graph: Served) -> None:
    del graph.graphs[f"POST {MODEL}/infer"]
    done = graph.run("infer", "digits", "-i", "x=[1, 2]", "--repeat", "3")
    assert done.exit_code == 1
    head, row = done.stdout.splitlines()
    assert head.split() == ["FAILED", "ERROR"]
    assert row.startswith("3       the control API has no path")


def test_repeat_as_json_has_every_reply(graph: Served) -> None:
    found = graph.json("infer", "digits", "-i", "x=[1, 2]", "--repeat", "2")
    assert (found["requests"], found["failed"], found["errors"]) == (2, 0, {})
    assert [(one["id"], one["revision"]) for one in found["replies"]] == [("7f3a", "3")] * 2
    assert found["replies"][0]["outputs"] == REPLY["outputs"]


def test_a_fault_of_the_graph_is_told_with_where_to_look(graph: Served) -> None:
    failed = "node 'net' failed: ValueError: no (components.py:7)"
    graph.graphs[f"POST {MODEL}/infer"] = {"error": failed}
    done = graph.run("infer", "digits", "-i", "x=[[1, 2]]")
    hint = "`anabranch logs digits` shows how it came to this"
    assert done.exit_code == 1 and str(done.exception) == f"{failed}\n{hint}"
    del graph.graphs[f"POST {MODEL}/infer"]
    done = graph.run("infer", "digits", "-i", "x=[[1, 2]]")
    assert done.exit_code == 1 and "anabranch logs" not in str(done.exception)
