"""What a revision pins of what it watches, and what its replicas load of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anabranch.components.artefacts import pins
from anabranch.components.artefacts.fetching import fetched
from anabranch.components.artefacts.paths import model_path
from anabranch.components.artefacts.pins import pin_now, shown_pin
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.artefacts.sources import TransferInterrupted
from anabranch.errors import ArtefactError
from anabranch.specs.models import Predictor
from tests.components.artefacts.files import Served

Pinned = Callable[[str], ArtefactSettings]


@pytest.fixture
def model(served: Served) -> str:
    served.files["/m.onnx"] = b"one"
    return f"{served.url}/m.onnx"


@pytest.fixture
def pinned(settings: ArtefactSettings) -> Pinned:
    """Settings of a replica whose revision was made of what a reference means now."""
    return lambda uri: replace(settings, pins={uri: pin_now(uri, settings)})


def move(served: Served) -> None:
    served.files["/m.onnx"], served.etag = b"other", '"two"'


def test_a_pin_changes_when_the_mark_does(
    served: Served, model: str, settings: ArtefactSettings
) -> None:
    first = pin_now(model, settings)
    assert first.startswith("mark:") and pin_now(model, settings) == first
    assert served.transfers == 0
    move(served)
    assert pin_now(model, settings) != first


def test_a_server_without_marks_is_read(
    served: Served, model: str, settings: ArtefactSettings
) -> None:
    served.etag = None
    digest = hashlib.sha256(b"one").hexdigest()
    assert pin_now(model, settings) == f"sha256:{digest}"


def test_a_replica_loads_what_its_revision_means_or_nothing(
    served: Served, model: str, pinned: Pinned, tmp_path: Path
) -> None:
    settings = pinned(model)
    assert fetched(model, None, settings).read_bytes() == b"one"
    move(served)
    served.asked.clear()
    assert fetched(model, None, settings).read_bytes() == b"one"
    assert served.asked == []  # nobody asks what it is now
    elsewhere = replace(settings, cache=tmp_path / "elsewhere")
    with pytest.raises(ArtefactError, match="has changed since this revision was made"):
        fetched(model, None, elsewhere)
    assert fetched(model, None, replace(settings, pins={})).read_bytes() == b"other"


def test_what_gives_no_mark_is_loaded_by_its_digest(
    served: Served, model: str, pinned: Pinned, tmp_path: Path
) -> None:
    served.etag = None
    settings = pinned(model)
    assert fetched(model, None, settings).read_bytes() == b"one"
    served.files["/m.onnx"] = b"two"
    assert fetched(model, None, settings).read_bytes() == b"one"
    with pytest.raises(ArtefactError, match="has changed since this revision was made"):
        fetched(model, None, replace(settings, cache=tmp_path / "elsewhere"))


def test_a_digest_in_the_spec_counts_more_than_a_pin(model: str, pinned: Pinned) -> None:
    with pytest.raises(ArtefactError, match="the spec says 0000"):
        fetched(model, "0" * 64, pinned(model))


def test_a_bucket(bucket: Any, settings: ArtefactSettings, tmp_path: Path) -> None:
    uri = f"s3://{bucket.root_marker}/m"
    bucket.pipe_file(f"{bucket.root_marker}/m/a.bin", b"one")
    first = pin_now(uri, settings)
    there = replace(settings, pins={uri: first})
    assert (fetched(uri, None, there) / "a.bin").read_bytes() == b"one"
    bucket.pipe_file(f"{bucket.root_marker}/m/b.bin", b"more")
    assert pin_now(uri, settings) != first
    assert not (fetched(uri, None, there) / "b.bin").exists()
    with pytest.raises(ArtefactError, match="has changed since"):
        fetched(uri, None, replace(there, cache=tmp_path / "elsewhere"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "m.onnx").write_bytes(b"one")
    return folder


def test_a_file_of_this_machine_is_pinned_by_its_digest(
    place: Path, settings: ArtefactSettings
) -> None:
    uri = (place / "m.onnx").as_uri()
    first = pin_now(uri, settings)
    assert first == f"sha256:{hashlib.sha256(b'one').hexdigest()}"
    (place / "m.onnx").touch()
    assert pin_now(uri, settings) == first
    (place / "m.onnx").write_bytes(b"two")
    assert pin_now(uri, settings) != first
    assert pin_now(place.as_uri(), settings) == f"sha256:{pins.folder_digest(digests(place))}"
    with pytest.raises(ArtefactError, match="there is no such file"):
        pin_now((place / "gone").as_uri(), settings)


def digests(place: Path) -> dict[str, str]:
    return {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in place.iterdir()}


def test_a_file_is_read_again_only_where_it_changed(
    place: Path, settings: ArtefactSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, read = (place / "m.onnx").as_uri(), []
    real = pins._digest
    monkeypatch.setattr(pins, "_digest", lambda source: read.append(1) or real(source))
    monkeypatch.setattr(pins, "_KEPT", 2)
    first = [pin_now(uri, settings) for _ in range(3)]
    assert len(set(first)) == len(read) == 1
    for number in range(5):
        (place / f"{number}.onnx").write_bytes(b"x")
        pin_now((place / f"{number}.onnx").as_uri(), settings)
    assert len(pins._digests) <= 2


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_pinned_file_is_copied_and_stays(
    place: Path, pinned: Pinned, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_folder: bool
) -> None:
    uri = (place if is_folder else place / "m.onnx").as_uri()
    settings = pinned(uri)
    monkeypatch.setenv("ANABRANCH_CACHE", str(settings.cache))
    monkeypatch.setenv("ANABRANCH_PINS", json.dumps(dict(settings.pins)))
    node = Predictor(type="predictor", runtime="onnx", model=uri, inputs={"x": "x"})

    def loaded() -> bytes:
        path = model_path(node, tmp_path)
        return (path / "m.onnx" if is_folder else path).read_bytes()

    assert loaded() == b"one"
    (place / "m.onnx").write_bytes(b"two")
    assert loaded() == b"one"
    monkeypatch.setenv("ANABRANCH_CACHE", str(tmp_path / "elsewhere"))
    with pytest.raises(ArtefactError, match="has changed since this revision was made"):
        loaded()
    monkeypatch.delenv("ANABRANCH_PINS")
    assert loaded() == b"two"


def test_a_file_that_shrinks_while_it_is_read(
    place: Path, settings: ArtefactSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = (place / "m.onnx").as_uri()
    opened = pins.open_source

    def shrinking(reference: str, settings: ArtefactSettings) -> Any:
        source = opened(reference, settings)
        (place / "m.onnx").write_bytes(b"")
        return source

    monkeypatch.setattr(pins, "open_source", shrinking)
    with pytest.raises(TransferInterrupted, match="0 bytes came instead of 3"):
        pin_now(uri, settings)


@pytest.mark.parametrize(
    ("pin", "text"),
    [
        ("models:/digits/3", "3"),
        ("mark:" + "ab" * 32, "abababababab"),
        ("sha256:" + "01" * 32, "010101010101"),
    ],
)
def test_pins_for_people(pin: str, text: str) -> None:
    assert shown_pin(pin) == text
