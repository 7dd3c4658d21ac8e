"""Models that a bundle has brought along, as a runtime finds them."""

from __future__ import annotations

import io
import json
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest

from anabranch.components.artefacts.bundled import MANIFEST, BundledArtefact
from anabranch.components.artefacts.kept import blobs
from anabranch.components.artefacts.kept.blobs import blob_folder, reach_blobs
from anabranch.components.artefacts.local import reader
from anabranch.components.artefacts.paths import model_path
from anabranch.components.artefacts.sources import ArtefactSource, RemoteFile, renamed
from anabranch.errors import ArtefactError

URI = "http://127.0.0.1:9/fruit.onnx"
"""Nobody listens there."""


def tar(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


class Machine:
    """A machine with an engine's home, a bundle that pins one model, and the model's blob."""

    def __init__(self, folder: Path, name: str, blob: bytes, *, is_folder: bool = False) -> None:
        self.root, self.home, self.blob = folder / "bundle", folder / "home", blob
        digest = sha256(blob).hexdigest()
        self.artefact = BundledArtefact(name, digest, len(blob), is_folder)
        self.place = blob_folder(self.home) / f"{digest}.blob"
        pins = {"spec": "graph.yaml", "artefacts": {URI: self.artefact.to_json()}}
        self.root.mkdir()
        (self.root / MANIFEST).write_text(json.dumps(pins))

    def keep(self) -> None:
        self.place.parent.mkdir(parents=True)
        self.place.write_bytes(self.blob)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ANABRANCH_CACHE", raising=False)
    monkeypatch.setattr(blobs, "_reached", [])


def test_a_file_takes_no_room_twice(tmp_path: Path, node) -> None:
    machine = Machine(tmp_path, "fruit.onnx", b"model")
    machine.keep()
    found = model_path(node(type="predictor", runtime="onnx", model=URI), machine.root)
    assert (found.name, found.read_bytes()) == ("fruit.onnx", b"model")
    assert found.samefile(machine.place)


def test_a_folder_is_unpacked_as_it_was(tmp_path: Path, node) -> None:
    machine = Machine(tmp_path, "net", tar({"deep/weights": b"12"}), is_folder=True)
    machine.keep()
    one = node(type="predictor", runtime="onnx", model=f"{URI}#deep/weights")
    assert model_path(one, machine.root).read_bytes() == b"12"


def test_an_archive_is_unpacked_as_one_by_uri(tmp_path: Path, node) -> None:
    machine = Machine(tmp_path, "net.tar", tar({"top/weights": b"12"}))
    machine.keep()
    one = node(type="predictor", runtime="onnx", model=f"{URI}#weights")
    assert model_path(one, machine.root).read_bytes() == b"12"


def test_on_another_machine_it_comes_from_the_engine(tmp_path: Path, node) -> None:
    machine, other = Machine(tmp_path, "fruit.onnx", b"model"), tmp_path / "elsewhere"
    other.write_bytes(b"model")

    def opened(artefact: BundledArtefact) -> ArtefactSource:
        file = RemoteFile(other.name, artefact.size, artefact.sha256)
        return renamed(ArtefactSource([file], reader({file.path: other})), artefact.blob)

    reach_blobs(opened)
    one = node(type="predictor", runtime="onnx", model=URI)
    assert model_path(one, machine.root).read_bytes() == b"model"


def test_what_nobody_has_is_told(tmp_path: Path, node) -> None:
    machine = Machine(tmp_path, "fruit.onnx", b"model")
    with pytest.raises(ArtefactError, match="neither beside the spec nor in"):
        model_path(node(type="predictor", runtime="onnx", model=URI), machine.root)


def test_a_changed_blob_is_never_loaded(tmp_path: Path, node) -> None:
    machine = Machine(tmp_path, "fruit.onnx", b"model")
    machine.keep()
    machine.place.write_bytes(b"other")
    with pytest.raises(ArtefactError, match=f"the spec says {machine.artefact.sha256}"):
        model_path(node(type="predictor", runtime="onnx", model=URI), machine.root)


def test_a_digest_in_the_spec_holds_for_it_too(tmp_path: Path, node) -> None:
    machine = Machine(tmp_path, "fruit.onnx", b"model")
    machine.keep()
    one = node(type="predictor", runtime="onnx", model=URI, sha256="0" * 64)
    with pytest.raises(ArtefactError, match=f"the spec says {'0' * 64}"):
        model_path(one, machine.root)
