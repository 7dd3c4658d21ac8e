"""``init``: every template is a graph that trains, validates and answers its own request."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from anabranch import Graph
from anabranch.cli.app import app
from anabranch.cli.template import TEMPLATES, Template
from anabranch.components.tensors.datatypes import to_dtype
from anabranch.errors import Conflict, StorageError
from anabranch.graph.compile.loading import open_graph


def init(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["init", *arguments])


def answers(folder: Path) -> dict[str, np.ndarray]:
    request = json.loads((folder / "request.json").read_text())
    with Graph.load(folder / "graph.yaml") as graph:
        types = {name: to_dtype(spec.datatype) for name, spec in graph.plan.inputs.items()}
        return graph.run({name: np.array(one, types[name]) for name, one in request.items()})


def named(folder: Path) -> str:
    return open_graph(folder / "graph.yaml").plan.name


@pytest.mark.parametrize(
    "template",
    [pytest.param(t, marks=[pytest.mark.nightly] * (t is Template.IMAGE)) for t in Template],
)
def test_a_template_answers_its_own_request(template: Template, tmp_path: Path) -> None:
    if template is not Template.AB:
        pytest.importorskip("sklearn")
    if template is Template.IMAGE:
        pytest.importorskip("torch")
    folder = tmp_path / "My Shop"
    done = init(str(folder), "--template", str(template))
    assert done.exit_code == 0, done.output
    written = {path.name for path in folder.iterdir()}
    assert set(done.stdout.splitlines()) == {str(folder / name) for name in written}
    steps = [shlex.split(line, comments=True) for line in done.stderr.splitlines()]
    for command in ("serve", "run"):
        assert ["anabranch", command, f"{folder}/graph.yaml"] in steps
    assert ["anabranch", "infer", template, "--data", f"@{folder}/request.json"] in steps
    if (folder / "train.py").exists():
        trained = subprocess.run(
            [sys.executable, folder / "train.py"], capture_output=True, text=True, timeout=300
        )
        assert trained.returncode == 0, trained.stderr
        assert "%" in trained.stdout
    checked = CliRunner().invoke(app, ["validate", str(folder / "graph.yaml")])
    assert checked.exit_code == 0, checked.output
    CHECKS[template](answers(folder))


def _tabular(found: dict[str, np.ndarray]) -> None:
    assert found["rent"] == pytest.approx([54.5 * 18 + 80, 90 * 10 + 120], rel=0.1)


def _image(found: dict[str, np.ndarray]) -> None:
    assert found["digit"].tolist() == [3]
    assert found["probabilities"].shape == (1, 10)


def _text(found: dict[str, np.ndarray]) -> None:
    assert found["praise"].tolist() == [1, 0]


def _ab(found: dict[str, np.ndarray]) -> None:
    steady, rush = [20.0, 20.0], [10 / 34 * 90, 10 / 34 * 60]
    assert any(found["minutes"].tolist() == pytest.approx(one) for one in (steady, rush))


CHECKS = {
    Template.TABULAR: _tabular,
    Template.IMAGE: _image,
    Template.TEXT: _text,
    Template.AB: _ab,
}


def test_a_graph_has_the_name_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = init(str(tmp_path / "shop"), "--template", "ab")
    assert done.exit_code == 0, done.output
    assert named(tmp_path / "shop") == "shop"
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert init("--template", "ab").exit_code == 0
    assert named(tmp_path / "here") == "here"


@pytest.mark.parametrize("name", ["true", "false", "null"])
def test_a_folder_s_name_is_text(tmp_path: Path, name: str) -> None:
    assert init(str(tmp_path / name), "--template", "ab").exit_code == 0
    assert named(tmp_path / name) == name


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder, reason in (("file/below", "Not a directory"), ("a" * 300, "File name too long")):
        done = init(str(tmp_path / folder))
        assert isinstance(done.exception, StorageError)
        assert f"cannot be written: {reason}" in str(done.exception)


def test_no_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "graph.yaml").write_text("mine")
    done = init(str(tmp_path))
    assert isinstance(done.exception, Conflict)
    assert "has graph.yaml already" in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["graph.yaml"]
    assert (tmp_path / "graph.yaml").read_text() == "mine"


def test_there_is_a_folder_for_each_template() -> None:
    assert {path.name for path in TEMPLATES.iterdir()} == set(Template)
