"""Bases that users name: layouts and root folders, as folders and as tar files."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anabranch.client.image.base import PYTHON, base_from
from anabranch.client.image.layers import write_layer
from anabranch.client.image.layout import (
    ImageConfig,
    blobs_of,
    config_document,
    pack_layout,
    write_layout,
)
from anabranch.errors import InvalidRequest

OTHER = {"amd64": "arm64", "arm64": "amd64"}


def layout(folder: Path, python: str = f"usr/bin/{PYTHON}", change: Any = None) -> Path:
    """A layout with an interpreter of nothing; ``change`` is made to its config."""
    folder.mkdir()
    layers = [write_layer(blobs_of(folder), {python: b"#!python"}, "system")]
    config = config_document(ImageConfig(["x"], 80, "/", {"PATH": "/usr/bin"}), layers)
    if change is not None:
        config = json.dumps({**json.loads(config), **change}).encode()
    write_layout(folder, config, layers, "base", {})
    return folder


def root(folder: Path) -> Path:
    (folder / "usr/bin").mkdir(parents=True)
    (folder / f"usr/bin/{PYTHON}").write_text("#!python")
    (folder / "bin").symlink_to("usr/bin")
    return folder


def packed(folder: Path, mode: Any = "w:gz") -> Path:
    path = folder.with_suffix(".tar")
    with tarfile.open(path, mode) as tar:
        tar.add(folder, ".")
    return path


def layout_file(folder: Path) -> Path:
    pack_layout(layout(folder), folder.with_suffix(".tar"))
    return folder.with_suffix(".tar")


@pytest.mark.parametrize(
    "make",
    [layout, layout_file, root, lambda folder: packed(root(folder)),
     lambda folder: packed(root(folder), "w")],
)  # fmt: skip
def test_each_kind_of_base_gives_layers_and_its_interpreter(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    blobs = blobs_of(tmp_path / "image")
    found = base_from(make(tmp_path / "base"), blobs, scratch)
    assert found.python == f"/usr/bin/{PYTHON}"
    (layer,) = found.layers
    with tarfile.open(blobs / layer.blob.sha256) as tar:
        names = {member.name.removeprefix("./") for member in tar}
    assert f"usr/bin/{PYTHON}" in names


def refusal(path: Path, tmp_path: Path) -> str:
    with pytest.raises(InvalidRequest) as caught:
        base_from(path, blobs_of(tmp_path / "image"), tmp_path)
    return str(caught.value)


def test_the_environment_of_a_layout_is_kept(tmp_path: Path) -> None:
    found = base_from(layout(tmp_path / "base"), blobs_of(tmp_path / "image"), tmp_path)
    assert found.env == {"PATH": "/usr/bin"}


def test_a_base_without_the_interpreter_is_refused(tmp_path: Path) -> None:
    said = refusal(layout(tmp_path / "base", "usr/bin/python2.7"), tmp_path)
    assert f"has no {PYTHON} in usr/local/bin, usr/bin, bin" in said


def test_a_base_for_another_processor_is_refused(tmp_path: Path) -> None:
    change = {"architecture": "riscv64"}
    assert "is for riscv64" in refusal(layout(tmp_path / "base", change=change), tmp_path)


def test_what_is_no_base_is_refused(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("words")
    assert "no folder and no tar file" in refusal(tmp_path / "words", tmp_path)
    broken = layout(tmp_path / "broken")
    (broken / "index.json").write_text("{")
    assert "no document of an OCI image layout" in refusal(broken, tmp_path)
    empty = layout(tmp_path / "empty")
    (empty / "index.json").write_text('{"manifests": []}')
    assert "has no image for" in refusal(empty, tmp_path)
    cut = layout(tmp_path / "cut")
    digest = json.loads((cut / "index.json").read_text())["manifests"][0]["digest"]
    (cut / "blobs/sha256" / digest.removeprefix("sha256:")).unlink()
    assert f"{digest} is missing, or was changed" in refusal(cut, tmp_path)


def test_a_base_with_a_changed_blob_is_refused(tmp_path: Path) -> None:
    base = layout(tmp_path / "base")
    for number, blob in enumerate(sorted((base / "blobs/sha256").iterdir())):
        content = blob.read_bytes()
        blob.write_bytes(content + b" ")
        (place := tmp_path / str(number)).mkdir()
        assert f"sha256:{blob.name} is missing, or was changed" in refusal(base, place)
        blob.write_bytes(content)
    base_from(base, blobs_of(tmp_path / "image"), tmp_path)
