"""``batch`` against a graph behind a real HTTP server."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from anabranch.client.connection.engine_state import EngineState, write_state
from anabranch.router.http.graph_app import GraphApp
from tests.engines import Engine
from tests.router.conftest import make_arms, serving

ROWS = "id,x,y\n" + "".join(f"r{at},{at},1\n" for at in range(100)) + "bad,many,1\n"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """The home of an engine whose graph ``demo`` doubles; its only revision is 3."""
    with serving(GraphApp(make_arms())) as url:
        write_state(tmp_path, EngineState("id", url, "", "", "", "", 1, ready=True))
        (tmp_path / "token").write_text("token")
        yield tmp_path


def batch(home: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return Engine(home).command("batch", *arguments)


def test_answers_errors_and_result(home: Path) -> None:
    (home / "rows.csv").write_text(ROWS)
    done = batch(
        home,
        "demo",
        home / "rows.csv",
        "-o",
        home / "out.csv",
        "--map",
        "x=x,y",
        "--only",
        "doubled",
        "--json",
    )
    assert done.returncode == 1, done.stderr
    assert "input 'x' is FP32" in (home / "out.csv.errors.jsonl").read_text()
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["rows"], last["done"], last["failed"]) == (101, 101, 1)
    assert last["revisions"] == {"r3": 100}
    assert last["errors"] == str(home / "out.csv.errors.jsonl")


def test_rows_on_stdout(home: Path) -> None:
    (home / "rows.jsonl").write_text('{"id": "a", "x": [1, 2]}\n{"id": "b", "x": [3, 4]}\n')
    words = ("demo", home / "rows.jsonl", "-o", "-", "--id", "id", "--only=doubled")
    done = Engine(home).process("batch", *words)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines == [{"id": "a", "doubled": [2, 4]}, {"id": "b", "doubled": [6, 8]}]
    assert "2 rows in -" in done.stderr


def test_columns_are_copied(home: Path) -> None:
    (home / "rows.csv").write_text("id,a,b,note\n7,1,2,good\n")
    done = batch(
        home, "demo", home / "rows.csv", "-o", home / "out.csv", "--map", "x=a,b", "--id", "id",
        "--keep", "note, a", "--only", "doubled", "--revision", "r3",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader((home / "out.csv").read_text().splitlines())
    assert row == {"id": "7", "note": "good", "a": "1", "doubled_0": "2.0", "doubled_1": "4.0"}
    assert not (home / "out.csv.errors.jsonl").exists()


def test_mistakes_are_told_without_a_traceback(home: Path) -> None:
    (home / "rows.csv").write_text(ROWS)
    for arguments, text in (
        (["nobody", home / "rows.csv"], "nobody"),
        (["demo", home / "none.csv"], "there is no such file or folder"),
        (["demo", home / "rows.csv", "--map", "y=id"], "has no input 'y'"),
        (["demo", home / "rows.csv", "--map", "y"], "write input=column"),
    ):
        done = batch(home, *arguments, "-o", home / "out.csv")
        assert done.returncode == 1
        assert text in done.stderr
        assert "Traceback" not in done.stderr
