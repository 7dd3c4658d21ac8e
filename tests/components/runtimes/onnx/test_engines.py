"""Folders of TensorRT's engines: by the content of the model, and one for each process."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.runtimes.onnx.engines import EngineFolder

OTHER = """
import sys
from pathlib import Path
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.runtimes.onnx.engines import EngineFolder

folder = EngineFolder.of(Path(sys.argv[1]), ArtefactSettings(Path(sys.argv[2])))
(folder.path / "e.engine").touch()
print(folder.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def settings(tmp_path: Path) -> ArtefactSettings:
    return ArtefactSettings(tmp_path / "cache")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    deep = "parts/" + "w" * 130 + ".bin"
    named = [external(name) for name in ("weights.bin", deep, "is-not-there.bin")]
    (folder / "m.onnx").write_bytes(b"a graph with" + b" and ".join(named))
    (folder / "weights.bin").write_bytes(b"1")
    (folder / deep).parent.mkdir()
    (folder / deep).write_bytes(b"2")
    (folder / "notes.txt").write_text("nothing of the model's")
    return folder / "m.onnx"


def external(path: str) -> bytes:
    """What ONNX writes of a tensor whose values are in another file."""
    size = len(path)
    length = [size] if size < 128 else [size & 0x7F | 0x80, size >> 7]
    return b"j\x99\x01\n\x08location\x12" + bytes(length) + path.encode()


def path_of(model: Path, settings: ArtefactSettings) -> Path:
    """The folder that a process gets which is alone, and ends at once."""
    path = EngineFolder.of(model, settings).path
    gc.collect()
    return path


def test_the_same_content_has_the_same_folder(model: Path, settings: ArtefactSettings) -> None:
    path = path_of(model, settings)
    (model.parent / "notes.txt").write_text("something else")
    assert path_of(model, settings) == path
    assert path.is_dir() and path.is_relative_to(settings.cache)


@pytest.mark.parametrize("changed", ["m.onnx", "weights.bin", "parts/*.bin"])
def test_other_weights_have_another(model: Path, settings: ArtefactSettings, changed: str) -> None:
    path = path_of(model, settings)
    (one,) = model.parent.glob(changed)
    with one.open("ab") as file:
        file.write(b"more")
    assert path_of(model, settings) != path


def test_files_outside_of_the_folder_are_not_read(model: Path, settings: ArtefactSettings) -> None:
    other = model.parent.parent / "other.bin"
    for place in ("../other.bin", str(other)):
        with model.open("ab") as file:
            file.write(external(place))
    other.write_bytes(b"1")
    path = path_of(model, settings)
    other.write_bytes(b"2")
    assert path_of(model, settings) == path


def test_each_process_has_its_own_and_the_next_takes_over(
    model: Path, settings: ArtefactSettings
) -> None:
    command = [sys.executable, "-c", OTHER, str(model), str(settings.cache)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout is not None
        theirs = Path(one.stdout.readline().strip())
        assert path_of(model, settings) != theirs
        one.kill()
    assert path_of(model, settings) == theirs
    assert [file.name for file in theirs.iterdir()] == ["e.engine"]


def test_weights_are_found_in_what_the_library_writes(
    tmp_path: Path, settings: ArtefactSettings
) -> None:
    onnx = pytest.importorskip("onnx")
    array = np.ones(300, np.float32)
    tensor = onnx.numpy_helper.from_array(array, "w")
    shapes = [onnx.helper.make_tensor_value_info(name, 1, [300]) for name in ("x", "y")]
    add = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([add], "g", shapes[:1], shapes[1:], [tensor])
    (tmp_path / "parts").mkdir()
    onnx.save_model(
        onnx.helper.make_model(graph), tmp_path / "m.onnx", save_as_external_data=True,
        location="parts/w.bin",
    )  # fmt: skip
    path = path_of(tmp_path / "m.onnx", settings)
    (tmp_path / "parts" / "w.bin").write_bytes((2 * array).tobytes())
    assert path_of(tmp_path / "m.onnx", settings) != path
