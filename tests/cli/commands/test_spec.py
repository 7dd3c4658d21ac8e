"""``validate`` with --load: what it takes to load each node, in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from anabranch.cli.app import app
from tests.client.portable.test_signing import built as unsigned
from tests.release_keys import Keys

SPEC = """\
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: pair}
spec:
  inputs: {x: {datatype: FP32, shape: [-1, 2]}}
  nodes:
    fine: {type: transformer, component: parts.py:Fine, inputs: {x: x}}
    raises: {type: transformer, component: parts.py:Raises, inputs: {x: fine}}
    ends: {type: transformer, component: parts.py:Ends, inputs: {x: fine}}
    last: {type: transformer, component: parts.py:Last, inputs: {x: fine}}
    why: {type: explainer, component: parts.py:Why, explains: fine}
  monitors:
    m: {component: parts.py:Watch, watches: [fine]}
  outputs: {a: fine, b: raises, c: ends, d: last}
"""
PARTS = """\
import os


class Fine:
    def __init__(self):
        print("a component may print")

    def transform(self, x):
        return x


class Raises(Fine):
    def __init__(self):
        raise ValueError("no weights")


class Ends(Fine):
    def __init__(self):
        os._exit(7)


class Last(Fine):
    def load(self):
        raise OSError("no device")


class Why:
    def __init__(self):
        raise KeyError("why")

    def explain(self, x):
        return x


class Watch:
    def __init__(self):
        raise RuntimeError("blind")

    def score(self, fine):
        return 0
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "parts.py").write_text(PARTS)
    path = tmp_path / "graph.yaml"
    path.write_text(SPEC)
    return path


def test_validate_runs_nothing_without_load(spec: Path) -> None:
    done = CliRunner().invoke(app, ["validate", str(spec)])
    assert (done.exit_code, done.stdout) == (0, f"{spec}: ok\n")


def test_load_tells_of_every_part_that_fails_even_if_one_ends_its_process(spec: Path) -> None:
    done = CliRunner().invoke(app, ["validate", "--load", str(spec), "-o", "json"])
    assert done.exit_code == 1
    (file,) = json.loads(done.stdout)["files"]
    assert [(one["path"], one["line"], one["message"]) for one in file["problems"]] == [
        (
            "spec.nodes.raises", 8,
            "the constructor of parts.py:Raises raised ValueError: no weights (parts.py:14)",
        ),
        ("spec.nodes.ends", 9, "the process that loaded it ended with status 7"),
        ("spec.nodes.last", 10, "load() raised OSError: no device (parts.py:24)"),
        (
            "spec.nodes.why", 11,
            "the constructor of parts.py:Why raised KeyError: 'why' (parts.py:29)",
        ),
        (
            "spec.monitors.m", 13,
            "the constructor of parts.py:Watch raised RuntimeError: blind (parts.py:37)",
        ),
    ]  # fmt: skip


def test_a_part_that_never_ends_loading_fails_at_the_timeout(tmp_path: Path) -> None:
    (tmp_path / "parts.py").write_text(
        "import threading\nclass One:\n"
        "  def load(self): threading.Event().wait()\n"
        "  def transform(self, x): return x\n"
    )
    path = tmp_path / "graph.yaml"
    path.write_text(
        SPEC.partition("    fine:")[0]
        + "    one: {type: transformer, component: parts.py:One, inputs: {x: x}}\n"
        + "  outputs: {y: one}\n"
    )
    done = CliRunner().invoke(app, ["validate", "--load", "--timeout", "500ms", str(path)])
    assert done.exit_code == 1
    assert "spec.nodes.one: is not loaded after 0.5 seconds" in done.stdout


def test_relative_paths_in_arguments_start_from_the_folder_of_the_spec(tmp_path: Path) -> None:
    (tmp_path / "table.txt").write_text("1")
    (tmp_path / "parts.py").write_text(
        "class One:\n"
        "  def __init__(self, table): open(table).close()\n"
        "  def transform(self, x): return x\n"
    )
    path = tmp_path / "graph.yaml"
    path.write_text(
        SPEC.partition("    fine:")[0]
        + "    one: {type: transformer, component: parts.py:One, inputs: {x: x},"
        + " args: {table: table.txt}}\n"
        + "  outputs: {y: one}\n"
    )
    done = CliRunner().invoke(app, ["validate", "--load", str(path)])
    assert (done.exit_code, done.stdout) == (0, f"{path}: ok\n")


@pytest.mark.parametrize("command", [["validate"], ["validate", "--load"], ["plan"]])
def test_nothing_of_a_bundle_without_a_signature_is_used_where_keys_are_demanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    touched = f"open({str(tmp_path / 'ran')!r}, 'w').close()"
    path = unsigned(tmp_path, files={"parts.py": f"{touched}\n{PARTS}".encode()})
    monkeypatch.setenv("ANABRANCH_BUNDLE_KEYS", str(Keys(tmp_path, "ours").public))
    done = CliRunner().invoke(app, [*command, str(path)])
    assert done.exit_code == 1
    assert f"{path} has no signature" in (done.stdout or str(done.exception))
    assert not (tmp_path / "ran").exists()


def test_a_folder_of_which_no_bundle_is_made_hides_no_other_file(folders: dict[str, Path]) -> None:
    told = CliRunner().invoke(app, ["validate", *map(str, folders.values()), "-o", "json"])
    files = {Path(one["file"]): one for one in json.loads(told.stdout)["files"]}
    assert told.exit_code == 1
    assert files[folders["plain"]]["valid"]
    (problem,) = files[folders["home"]]["problems"]
    assert "is the home of an engine" in problem["message"]


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Specs by the name of their folder; ``home`` is that of an engine."""
    for name in ("home", "plain"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "parts.py").write_text(PARTS)
        lines = [line for line in SPEC.splitlines() if not line.startswith("    why")]
        (tmp_path / name / "graph.yaml").write_text("\n".join(lines))
    (tmp_path / "home" / "ray-token").touch()
    return {name: tmp_path / name / "graph.yaml" for name in ("home", "plain")}
