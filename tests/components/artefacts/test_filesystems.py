"""Object stores: a real S3 server on loopback, and what it takes for the others."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anabranch.components.artefacts import filesystems, sources
from anabranch.components.artefacts.digests import path_digest
from anabranch.components.artefacts.fetching import fetched
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.artefacts.sources import TransferInterrupted
from anabranch.errors import ArtefactError

MODEL = bytes(range(256)) * 40_000


@pytest.fixture
def of_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fsspec keeps of a server that has gone: a filesystem that is connected to it."""
    s3fs = pytest.importorskip("s3fs")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    s3fs.S3FileSystem().connect()


def test_a_file(bucket: Any, settings: ArtefactSettings) -> None:
    bucket.pipe_file(f"{bucket.root_marker}/models/m.onnx", MODEL)
    uri = f"s3://{bucket.root_marker}/models/m.onnx"
    path = fetched(uri, hashlib.sha256(MODEL).hexdigest(), settings)
    assert (path.name, path.read_bytes()) == ("m.onnx", MODEL)
    assert fetched(uri, None, settings).read_bytes() == MODEL


def test_a_bucket_has_nothing_of_a_server_that_has_gone(
    of_another_server: None, bucket: Any, settings: ArtefactSettings
) -> None:
    bucket.pipe_file(f"{bucket.root_marker}/m", b"m")
    assert fetched(f"s3://{bucket.root_marker}/m", None, settings).read_bytes() == b"m"


def test_a_folder(bucket: Any, settings: ArtefactSettings, tmp_path: Path) -> None:
    files = {"MLmodel": b"a", "data/weights": MODEL, "empty": b""}
    for name, data in files.items():
        bucket.pipe_file(f"{bucket.root_marker}/m/{name}", data)
        (tmp_path / "m" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "m" / name).write_bytes(data)
    uri, digest = f"s3://{bucket.root_marker}/m", path_digest(tmp_path / "m")
    for sha256 in (digest, None):
        path = fetched(uri, sha256, settings)
        found = {one.relative_to(path).as_posix(): one for one in path.rglob("*") if one.is_file()}
        assert {name: one.read_bytes() for name, one in found.items()} == files
    with pytest.raises(ArtefactError, match=f"its sha256 is {digest}"):
        fetched(uri, "0" * 64, settings)


def test_a_file_that_changed_comes_again(bucket: Any, settings: ArtefactSettings) -> None:
    place = f"{bucket.root_marker}/m.onnx"
    for content in (b"one", b"two"):
        bucket.pipe_file(place, content)
        assert fetched(f"s3://{place}", None, settings).read_bytes() == content


def test_a_transfer_goes_on_where_it_broke_off(
    bucket: Any, settings: ArtefactSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.pipe_file(f"{bucket.root_marker}/m.onnx", MODEL)
    uri, starts = f"s3://{bucket.root_marker}/m.onnx", []
    plain = filesystems.chunks_of

    def broken(stream: Any) -> Iterator[bytes]:
        starts.append(stream.tell())
        for count, chunk in enumerate(plain(stream)):
            if count == 4 and len(starts) == 1:
                raise TransferInterrupted("the network")
            yield chunk

    monkeypatch.setattr(filesystems, "chunks_of", broken)
    path = fetched(uri, hashlib.sha256(MODEL).hexdigest(), settings)
    assert path.read_bytes() == MODEL
    assert starts == [0, 4 * sources.CHUNK]


@pytest.mark.parametrize("place", ["none.onnx", "no/folder/"])
def test_what_is_not_there(bucket: Any, settings: ArtefactSettings, place: str) -> None:
    with pytest.raises(ArtefactError, match="there is no such file or folder"):
        fetched(f"s3://{bucket.root_marker}/{place}", None, settings)


def test_errors_hold_no_secret(bucket: Any, settings: ArtefactSettings) -> None:
    with pytest.raises(ArtefactError) as caught:
        fetched(f"s3://{bucket.root_marker}-other/m", None, settings)
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)


WITHOUT = """
import sys
from pathlib import Path
sys.modules |= dict.fromkeys(("s3fs", "gcsfs", "adlfs", "huggingface_hub"))
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.artefacts.sources import open_source
for uri in sys.argv[1:]:
    try:
        open_source(uri, ArtefactSettings(Path()))
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
"""


def test_a_missing_extra_is_named() -> None:
    extras = {"s3": "s3", "gs": "gs", "az": "az", "abfs": "az", "hf": "hf"}
    uris = [f"{scheme}://owner/name/m" for scheme in extras]
    command = [sys.executable, "-c", WITHOUT, *uris]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.splitlines()
    for line, (scheme, extra) in zip(found, extras.items(), strict=True):
        assert line.startswith(f"ArtefactError: the library for {scheme}: is missing (")
        assert line.endswith(f"pip install 'anabranch[{extra}]'")
