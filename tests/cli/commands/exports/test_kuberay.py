"""``anabranch export`` writes files, and says what comes next."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.errors import EngineError
from tests.cli.conftest import Served


def test_manifests_are_written_anew(engine: Served, tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    wanted = ("export", "kuberay", engine.file(), "-o", str(folder), "--workers", "3")
    paths = engine.text(*wanted).splitlines()
    assert {Path(path).name for path in paths} == {
        "cluster.yaml", "services.yaml", "graphs.yaml", "pod-monitor.yaml", "README.md",
    }  # fmt: skip
    assert "replicas: 3" in (folder / "cluster.yaml").read_text()
    before = (folder / "graphs.yaml").read_text()
    assert "NAME" not in before and "class One:" in before
    engine.text(*wanted, "--namespace", "ml", "--image", "shop:2")
    assert "image: shop:2" in (folder / "cluster.yaml").read_text()
    assert engine.run(*wanted).stderr.endswith(f"next: {folder / 'README.md'}\n")


def test_files_too_large_go_into_a_layer(engine: Served, tmp_path: Path) -> None:
    file = Path(engine.file())
    (file.parent / "model.bin").write_bytes(bytes(2**20))
    wanted = ("export", "kuberay", str(file), "-o", str(tmp_path / "m"))
    assert "--layer" in str(engine.run(*wanted).exception)
    engine.text(*wanted, "--layer")
    assert (tmp_path / "m/image/graphs/digits/model.bin").stat().st_size == 2**20


def test_a_folder_that_is_a_file_is_named(engine: Served, tmp_path: Path) -> None:
    (tmp_path / "m").write_text("")
    with pytest.raises(EngineError, match=r"m/cluster.yaml cannot be written"):
        engine.text("export", "kuberay", engine.file(), "-o", str(tmp_path / "m"))
