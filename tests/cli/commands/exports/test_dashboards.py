"""``anabranch dashboards export`` as a person meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from anabranch.telemetry.dashboards import dashboard_files


def export(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "anabranch.cli.main", "dashboards", "export", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_all_files_are_written_and_named(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    done = export(folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(folder / name) for name in dashboard_files("gateway")]
    assert all(
        (folder / name).read_text() == text for name, text in dashboard_files("gateway").items()
    )


def test_older_files_give_way_and_others_stay(tmp_path: Path) -> None:
    old, other = (
        tmp_path / "grafana" / "dashboards" / name for name in ("anabranch-graph.json", "x")
    )
    old.parent.mkdir(parents=True)
    old.write_text("old")
    other.write_text("mine")
    assert export(tmp_path, "--source", "ray").returncode == 0
    assert json.loads(old.read_text())["uid"] == "anabranch-ray-graph"
    assert other.read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = export(tmp_path / "file")
    assert done.returncode == 1
    assert str(tmp_path / "file") in done.stderr and "Traceback" not in done.stderr


def test_an_export_that_is_not_known_is_refused(tmp_path: Path) -> None:
    done = export(tmp_path, "--source", "kafka")
    assert done.returncode == 2 and "gateway" in done.stderr
