"""``import``: files that are written, checks, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from anabranch import Graph
from anabranch.cli.app import app
from anabranch.errors import AnabranchError
from tests.importers.seldon_v1.manifests import deployment, node

WHOLE = deployment(node("m", implementation="SIMPLE_MODEL"))
PART = deployment(node("m", "MODEL"))


def run(*words: str, given: str = "") -> tuple[int, str]:
    """Return the exit status, and what was printed or raised."""
    done = CliRunner().invoke(app, ["import", *words], input=given)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        assert isinstance(done.exception, AnabranchError), done.exception
        return 2, str(done.exception)
    return done.exit_code, done.output


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    file = tmp_path / "seldon.yaml"
    file.write_text(yaml.safe_dump(WHOLE))
    return file


def test_an_import_is_a_folder_that_runs(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "deep"
    assert run(str(whole), "-o", str(out))[0] == 0
    assert {file.name for file in out.iterdir()} == {"graph.yaml", "components.py", "IMPORT.md"}
    with Graph.load(out / "graph.yaml") as graph:
        assert graph.run({"data": [[1.0]]})["output"].tolist() == [[0.1, 0.9, 0.5]]


def test_a_check_of_what_is_taken_over_whole_writes_nothing(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(str(whole), "-o", str(out), "--check") == (0, "")
    assert not out.exists()


def test_a_check_ends_with_1_and_says_what_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "part.json"
    file.write_text(json.dumps({**PART, "status": {"state": "Available"}}))
    code, printed = run(str(file), "--check", "-o", str(tmp_path / "out"))
    assert code == 1
    assert "(left out)" in printed
    assert "(to do)" in printed
    assert f"{file}:1:" in printed
    assert not (tmp_path / "out").exists()


def test_standard_input(tmp_path: Path) -> None:
    out = tmp_path / "out"
    both = f"{yaml.safe_dump(WHOLE)}---\n{yaml.safe_dump({**PART, 'metadata': {'name': 'b'}})}"
    code, printed = run("-", "-o", str(out), given=both)
    assert code == 0
    assert "1 notes on what is left out or still to do" in printed
    assert (out / "model" / "graph.yaml").is_file()
    assert (out / "b" / "components.py").is_file()
    assert "## SeldonDeployment b" in (out / "IMPORT.md").read_text()


def test_an_older_import_is_replaced_by_force_only(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(str(whole), "-o", str(out))[0] == 0
    (out / "components.py").write_text("# filled in\n")
    code, said = run(str(whole), "-o", str(out))
    assert code == 2
    assert "--force replaces" in said
    assert (out / "components.py").read_text() == "# filled in\n"
    assert run(str(whole), "-o", str(out), "--force")[0] == 0
    assert (out / "components.py").read_text() != "# filled in\n"


def test_mistakes_leave_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump(deployment(node("m", "MODLE"))))
    code, said = run(str(file), "-o", str(tmp_path / "out"))
    assert code == 2
    assert f"{file}:" in said
    assert "did you mean `MODEL`?" in said
    assert not (tmp_path / "out").exists()


def test_templates_of_helm_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("a: {{ .Values.a }}\n")
    assert "helm template" in run(str(tmp_path))[1]
