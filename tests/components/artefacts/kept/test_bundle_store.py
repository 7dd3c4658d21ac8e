"""Bundles in a store of the user's: a folder here, and a real S3 server on loopback."""

from __future__ import annotations

import io
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from anabranch.client.bundle.packing import digest, zipped
from anabranch.components.artefacts.fetching import fetched_bundle
from anabranch.components.artefacts.kept import bundle_store
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.errors import ArtefactError, NotFound, Unavailable

FILES = {"anabranch.json": b'{"spec": "graph.yaml"}', "graph.yaml": b"x", "models/m": b"\0" * 99}
NAME = digest(FILES)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "bundle.zip"
    path.write_bytes(zipped(FILES))
    return path


@pytest.fixture
def store(tmp_path: Path) -> str:
    return (tmp_path / "store").as_uri()


def got(store: str) -> bytes:
    target = io.BytesIO()
    bundle_store.get(store, f"{NAME}.zip", target)
    return target.getvalue()


def there(store: str, settings: ArtefactSettings) -> dict[str, bytes]:
    """The files of the bundle as a machine gets them."""
    folder = fetched_bundle(NAME, lambda: bundle_store.source(store, f"{NAME}.zip"), settings)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def holds_what_was_put(store: str, packed: Path, settings: ArtefactSettings) -> None:
    assert bundle_store.digests(store) == []
    for _ in range(2):
        bundle_store.put(store, f"{NAME}.zip", packed)
    assert got(store) == packed.read_bytes()
    assert bundle_store.digests(store) == [NAME]
    assert there(store, settings) == FILES
    for _ in range(2):
        bundle_store.remove(store, f"{NAME}.zip")
    assert bundle_store.digests(store) == []
    with pytest.raises(NotFound, match=NAME):
        got(store)


def test_a_folder_holds_what_was_put(store: str, packed: Path, settings: ArtefactSettings) -> None:
    holds_what_was_put(store, packed, settings)


def test_a_bucket_holds_what_was_put(
    bucket: object, packed: Path, settings: ArtefactSettings
) -> None:
    holds_what_was_put(f"s3://{vars(bucket)['root_marker']}/bundles", packed, settings)


@pytest.mark.parametrize("content", [zipped({**FILES, "graph.yaml": b"y"}), b"no zip file"])
def test_what_has_another_digest_is_refused(
    store: str, packed: Path, settings: ArtefactSettings, tmp_path: Path, content: bytes
) -> None:
    bundle_store.put(store, f"{NAME}.zip", packed)
    (tmp_path / "store" / f"{NAME}.zip").write_bytes(content)
    with pytest.raises(Unavailable, match=r"^the bundle store file:.*/store: .*(digest|no zip)"):
        got(store)
    with pytest.raises(ArtefactError, match=r"digest|unpacked"):
        there(store, settings)
    assert list(settings.cache.glob("entries/*")) == []
    # What was cut short is put again, and nothing is left of what was wrong.
    (tmp_path / "store" / f"{NAME}.zip").write_bytes(b"")
    bundle_store.put(store, f"{NAME}.zip", packed)
    assert there(store, settings) == FILES


def test_a_store_that_cannot_be_written_to_says_so(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable, match=r"^the bundle store file:.*/file/store: "):
        bundle_store.put(f"{(tmp_path / 'file').as_uri()}/store", f"{NAME}.zip", packed)


@pytest.mark.parametrize(
    "url", ["s3://bucket/bundles/", "file:///srv/bundles", "gs://b", "az://c/x"]
)
def test_urls_of_stores(url: str) -> None:
    assert bundle_store.parse(url) == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    ["bundles", "/srv/bundles", "https://host/x", "s3://me:pw@b/x", "file://host/x", "s3://b#x"],
)
def test_urls_that_are_no_store(url: str) -> None:
    with pytest.raises(ValueError, match=re.escape(url)):
        bundle_store.parse(url)


NAMES = st.lists(st.sampled_from(["a", "b.c", "ö", "d e"]), min_size=1, max_size=3).map("/".join)


@given(st.dictionaries(NAMES, st.binary(max_size=50), min_size=1, max_size=5))
def test_any_bundle_comes_as_it_was_packed(files: dict[str, bytes]) -> None:
    assume(not any(one.startswith(f"{other}/") for one in files for other in files))
    with TemporaryDirectory() as folder:
        packed, name = Path(folder) / "packed", digest(files)
        packed.write_bytes(zipped(files))
        store, settings = f"{Path(folder).as_uri()}/store", ArtefactSettings(Path(folder) / "cache")
        bundle_store.put(store, f"{name}.zip", packed)
        bundle_store.get(store, f"{name}.zip", io.BytesIO())
        found = fetched_bundle(name, lambda: bundle_store.source(store, f"{name}.zip"), settings)
        assert {one: (found / one).read_bytes() for one in files} == files
        assert sum(path.is_file() for path in found.rglob("*")) == len(files)
