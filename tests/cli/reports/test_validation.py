"""``validate`` on graphs, shared models and policies: mistakes, warnings, what is not checked."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from anabranch.cli.app import app

MODEL = """\
apiVersion: anabranch/v1
kind: Model
metadata: {name: fraud}
spec:
  inputs: {x: {datatype: FP32, shape: [-1, 2]}}
  component: parts.py:Net
"""
POLICY = """\
apiVersion: anabranch/v1
kind: AccessPolicy
rules:
  - {key: ci, role: deployer}
"""


def graph(nodes: str, more: str = "", inputs: str = "") -> str:
    return (
        "apiVersion: anabranch/v1\nkind: InferenceGraph\nmetadata: {name: shop}\nspec:\n"
        f"  inputs: {{x: {{datatype: FP32, shape: [-1, 2]}}{inputs}}}\n"
        f"  nodes:\n    a: {nodes}\n  outputs: {{y: a}}\n{more}"
    )


def validated(folder: Path, text: str, *options: str) -> dict[str, object]:
    (folder / "parts.py").write_text("class Net:\n    def predict(self, x):\n        return x\n")
    path = folder / "spec.yaml"
    path.write_text(text)
    done = CliRunner().invoke(app, ["validate", str(path), "-o", "json", *options])
    (found,) = json.loads(done.stdout)["files"]
    assert done.exit_code == (0 if found["valid"] else 1)
    return found


def lines(found: object) -> list[str]:
    assert isinstance(found, list)
    return [f"{one['line']}: {one['path']}: {one['message']}" for one in found]


@pytest.mark.parametrize("text", [MODEL, POLICY])
def test_models_and_policies_are_documents_too(tmp_path: Path, text: str) -> None:
    assert validated(tmp_path, text)["valid"]


def test_mistakes_in_a_policy_have_their_place(tmp_path: Path) -> None:
    found = validated(tmp_path, POLICY.replace("deployer", "deploy"))
    assert not found["valid"]
    (said,) = lines(found["problems"])
    assert said.startswith("4: rules.0.role: ")
    assert "did you mean `deployer`?" in said


NET = "{type: predictor, component: 'parts.py:Net', inputs: {x: x}}"


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        (graph(NET), []),
        (
            graph(NET, inputs=", extra: {datatype: FP32, shape: [-1]}"),
            ["5: spec.inputs.extra: no node that runs reads input 'extra'"],
        ),
        (
            graph(f"{NET}\n    orphan: {NET}"),
            ["8: spec.nodes.orphan: no output needs node 'orphan'; it will not run"],
        ),
        (
            graph(NET.replace("}}", "}, timeout: 2s}"), "  timeout: 1s\n"),
            [
                "7: spec.nodes.a.timeout: 2s is above the graph's `timeout` (1s), which ends a "
                "request first: lower it, or raise `spec.timeout`"
            ],
        ),
        (
            graph(NET.replace("}}", "}, timeout: 2m}")),
            [
                "7: spec.nodes.a.timeout: 2m is above the graph's `timeout` (60s, its default), "
                "which ends a request first: lower it, or raise `spec.timeout`"
            ],
        ),
        (graph(NET.replace("}}", "}, timeout: 1s}"), "  timeout: 1s\n"), []),
        (MODEL + "  timeout: 2m\n", []),
    ],
)
def test_warnings_do_not_fail(tmp_path: Path, text: str, warnings: list[str]) -> None:
    found = validated(tmp_path, text)
    assert found["valid"]
    assert lines(found["warnings"]) == warnings
    assert found["not_checked"] == []


@pytest.mark.parametrize(
    ("node", "why"),
    [
        (
            "component: 'nopackage.mod:Linear'",
            "7: spec.nodes.a.component: package 'nopackage' is neither in the bundle nor "
            "installed here",
        ),
        (
            "component: 'numpy.linalg:Linear'",
            "7: spec.nodes.a.component: 'numpy.linalg' is imported only where the graph runs",
        ),
        (
            "component: 'open.py:Net'",
            "7: spec.nodes.a.component: its source does not tell what its class is at run time",
        ),
        (
            "model: 'shared://fraud'",
            "7: spec.nodes.a.model: only an engine knows it: no valid document is here",
        ),
        (
            "model: 'shared://fraud@3'",
            "7: spec.nodes.a.model: only an engine knows its revisions",
        ),
    ],
)
def test_what_cannot_be_checked_is_said(tmp_path: Path, node: str, why: str) -> None:
    (tmp_path / "open.py").write_text("class Net:\n    pass\n\nNet = type(Net)\n")
    found = validated(tmp_path, graph(f"{{type: predictor, {node}, inputs: {{x: x}}}}"))
    assert found["valid"]
    assert lines(found["not_checked"]) == [why]


def test_a_shared_model_with_a_document_is_checked(tmp_path: Path) -> None:
    (tmp_path / "fraud.yaml").write_text(MODEL)
    node = "{type: predictor, model: 'shared://fraud', inputs: {x: x}}"
    assert validated(tmp_path, graph(node))["not_checked"] == []


def test_what_load_loads_is_checked(tmp_path: Path) -> None:
    (tmp_path / "open.py").write_text("from parts import Net\n\nNet = dict(n=Net)['n']\n")
    node = "{type: predictor, component: 'open.py:Net', inputs: {x: x}}"
    assert len(lines(validated(tmp_path, graph(node))["not_checked"])) == 1
    assert validated(tmp_path, graph(node), "--load")["not_checked"] == []


def test_the_text_has_one_line_for_each(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    node = "{type: predictor, component: 'nopackage.mod:Net', inputs: {x: x}, timeout: 2m}"
    path.write_text(graph(node))
    done = CliRunner().invoke(app, ["validate", str(path)])
    said = done.stdout.splitlines()
    assert done.exit_code == 0
    assert said[0] == f"{path}: ok"
    assert said[1].startswith(f"warning: {path}:7:74: spec.nodes.a.timeout: 2m is above")
    assert said[2].startswith(f"not checked: {path}:7:26: spec.nodes.a.component: package")
    assert len(said) == 3


@pytest.mark.parametrize(
    ("kind", "text"),
    [("InferenceGraph", graph(NET)), ("Model", MODEL), ("AccessPolicy", POLICY)],
)
def test_each_kind_has_its_schema(kind: str, text: str) -> None:
    schema = json.loads(CliRunner().invoke(app, ["schema", "--kind", kind]).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    document = yaml.safe_load(text)
    jsonschema.validate(document, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document | {"kind": "Other"}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document | {"unknown": 1}, schema)
