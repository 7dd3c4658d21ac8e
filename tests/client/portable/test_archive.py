import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.client.portable import archive
from anabranch.client.portable.formats import PROVENANCE_TYPE, ImageManifest
from anabranch.client.portable.making import BundleDraft
from anabranch.errors import InvalidRequest
from tests.client.portable.bundles import MODEL, drafted


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a referrer."""
    folder = tmp_path_factory.mktemp("bundle")
    draft = drafted(folder / "parts").with_referrer(PROVENANCE_TYPE, [("text/plain", b"by me")])
    draft.write(folder / "fruit.bundle")
    return folder / "fruit.bundle"


def test_a_written_bundle_is_read_again(written: Path, tmp_path: Path) -> None:
    found = archive.read(written)
    draft = drafted(tmp_path)
    assert found.bundle == draft.bundle
    assert [one.artifact_type for one in found.referrers] == [PROVENANCE_TYPE]
    (model,) = [one for one in found.bundle.layers if one.title == "fruit.onnx"]
    with archive.pieces_of(archive.Region(written, found.spans[model.digest])) as pieces:
        assert b"".join(pieces) == MODEL


def test_the_same_parts_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        drafted(tmp_path / name).write(tmp_path / f"{name}.bundle")
    assert (tmp_path / "first.bundle").read_bytes() == (tmp_path / "second.bundle").read_bytes()


def test_it_is_an_image_layout_that_other_tools_unpack(written: Path, tmp_path: Path) -> None:
    with tarfile.open(written) as opened:
        opened.extractall(tmp_path, filter="data")
    assert (tmp_path / "oci-layout").is_file()
    digest = archive.read(written).bundle.digest.removeprefix("sha256:")
    assert ImageManifest.read((tmp_path / "blobs/sha256" / digest).read_bytes())


@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_a_changed_byte_is_refused_wherever_it_is(
    written: Path, tmp_path_factory: pytest.TempPathFactory, place: float, change: int
) -> None:
    content = bytearray(written.read_bytes())
    content[int(place * len(content))] ^= change
    refused(bytes(content), tmp_path_factory)


def test_a_changed_bit_of_a_header_or_of_the_index_is_refused(
    written: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = written.read_bytes()
    second = content.index(b"blobs/sha256/")
    for at in [*range(512), *range(1024, second), *range(second, second + 512)]:
        changed = bytearray(content)
        changed[at] ^= 1
        refused(bytes(changed), tmp_path_factory)


@given(end=st.floats(0, 1, exclude_max=True), more=st.binary(min_size=1, max_size=2000))
def test_a_shorter_or_longer_file_is_refused(
    written: Path, tmp_path_factory: pytest.TempPathFactory, end: float, more: bytes
) -> None:
    content = written.read_bytes()
    refused(content[: int(end * len(content))], tmp_path_factory)
    refused(content + more, tmp_path_factory)


@given(content=st.binary(max_size=4000))
def test_anything_else_is_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    refused(content, tmp_path_factory)


def test_a_blob_that_changes_while_it_is_packed_is_told(tmp_path: Path) -> None:
    draft = drafted(tmp_path / "parts")
    (tmp_path / "parts" / "fruit.onnx").write_bytes(b"another model")
    draft.write(tmp_path / "x.bundle")
    with pytest.raises(InvalidRequest, match=r"x\.bundle is no portable bundle"):
        archive.read(tmp_path / "x.bundle")


def test_a_referrer_of_another_bundle_is_refused(tmp_path: Path) -> None:
    mine = drafted(tmp_path / "mine")
    other = drafted(tmp_path / "other", {"more.txt": b""})
    other = other.with_referrer(PROVENANCE_TYPE, [("text/plain", b"by me")])
    BundleDraft(mine.bundle, {**mine.blobs, **other.blobs}, other.referrers).write(
        tmp_path / "x.bundle"
    )
    with pytest.raises(InvalidRequest, match="does not refer to its bundle"):
        archive.read(tmp_path / "x.bundle")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot read"):
        archive.read(tmp_path / "none.bundle")


def refused(content: bytes, folders: pytest.TempPathFactory) -> None:
    path = folders.getbasetemp() / "changed.bundle"
    path.write_bytes(content)
    with pytest.raises(InvalidRequest, match="changed or damaged"):
        archive.read(path)
