"""The layout of an image as the specification has it, in a folder and in a tar file."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from anabranch.client.image.layers import write_layer
from anabranch.client.image.layout import (
    ImageConfig,
    architecture,
    blobs_of,
    checked_tag,
    config_document,
    pack_layout,
    write_layout,
)
from anabranch.errors import InvalidRequest
from tests.client.image.unpacked import image


def written(folder: Path) -> str:
    layers = [write_layer(blobs_of(folder), {"a": b"a"}, "first"),
              write_layer(blobs_of(folder), {"b/c": b"c"}, "second")]  # fmt: skip
    config = ImageConfig(
        ["/bin/serve", "x"], 8080, "/graph", {"B": "2", "A": "1"}, {"l": "m"}, ["/bin/ask"]
    )
    document = config_document(config, layers)
    return write_layout(folder, document, layers, "digits:1.2.0", {"l": "m"}).digest


def test_a_layout_says_what_runs_and_as_whom(tmp_path: Path) -> None:
    digest = written(tmp_path)
    entry, manifest, config = image(tmp_path)
    assert entry["digest"] == digest
    assert entry["platform"] == {"architecture": architecture(), "os": "linux"}
    assert entry["annotations"] == {"org.opencontainers.image.ref.name": "digits:1.2.0"}
    assert manifest["annotations"] == {"l": "m"}
    running = config["config"]
    assert running["User"] == "10001:10001"
    assert running["Entrypoint"] == ["/bin/serve", "x"]
    assert running["Env"] == ["A=1", "B=2"]
    assert running["ExposedPorts"] == {"8080/tcp": {}}
    assert (running["StopSignal"], running["WorkingDir"]) == ("SIGTERM", "/graph")
    assert running["Healthcheck"]["Test"] == ["CMD", "/bin/ask"]
    assert [one["created_by"] for one in config["history"]] == ["first", "second"]


def test_the_same_content_gives_the_same_layout_and_tar_file(tmp_path: Path) -> None:
    tars = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        written(tmp_path / name)
        pack_layout(tmp_path / name, tmp_path / f"{name}.tar")
        tars.append((tmp_path / f"{name}.tar").read_bytes())
    assert tars[0] == tars[1]
    with tarfile.open(tmp_path / "a.tar") as tar:
        tar.extractall(tmp_path / "c", filter="data")
    image(tmp_path / "c")


@pytest.mark.parametrize(
    ("tag", "found"),
    [("digits", "digits:latest"), ("a.example:5000/x/digits", "a.example:5000/x/digits:latest"),
     ("x/digits:1.2.0", "x/digits:1.2.0")],
)  # fmt: skip
def test_a_tag_has_a_version(tag: str, found: str) -> None:
    assert checked_tag(tag) == found


@pytest.mark.parametrize("tag", ["", ":1", "Digits", "digits:", "dig its", "digits:1:2", "é"])
def test_what_is_no_tag_is_refused(tag: str) -> None:
    with pytest.raises(InvalidRequest, match="no name of an image"):
        checked_tag(tag)
