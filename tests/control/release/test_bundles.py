from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.client.bundle.folder import survey
from anabranch.client.bundle.packing import _contents, digest, pack
from anabranch.client.bundle.unpacking import spec_name, unpack, write_files
from anabranch.control.release.bundles import BundleStore
from anabranch.errors import InvalidRequest, NotFound, StorageError, TooLarge, Unavailable
from tests.disks import fill, names, small_disk

LIMIT = 2**20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "graph"
    write_files({"graph.yaml": b"kind: InferenceGraph", "models/net.pt2": b"\0" * 1000}, root)
    return root


def packed(folder: Path) -> dict[str, bytes]:
    return unpack(pack(folder / "graph.yaml", LIMIT).data, LIMIT)


def archive(*entries: tuple[str, bytes], mode: int = stat.S_IFREG | 0o644) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(info, content)
    return buffer.getvalue()


def test_holds_the_spec_and_what_lies_beside_it(folder: Path) -> None:
    files = packed(folder)
    assert sorted(files) == ["anabranch.json", "graph.yaml", "models/net.pt2"]
    assert spec_name(files) == "graph.yaml"


def test_digest_is_of_the_content_alone(folder: Path, tmp_path: Path) -> None:
    first = pack(folder / "graph.yaml", LIMIT)
    os.utime(folder / "graph.yaml", (1, 1))
    (folder / "models" / "net.pt2").chmod(0o600)
    assert pack(folder / "graph.yaml", LIMIT) == first
    assert digest(unpack(first.data, LIMIT)) == first.digest
    (folder / "models" / "net.pt2").write_bytes(b"\1" * 1000)
    assert pack(folder / "graph.yaml", LIMIT).digest != first.digest


def test_leaves_out_what_is_hidden_generated_or_elsewhere(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (folder / "outside").symlink_to(tmp_path / "secret")
    (folder / "loop").symlink_to(folder)
    (folder / "inside").symlink_to(folder / "graph.yaml")
    for name in (".git/config", "__pycache__/x.pyc", "env/pyvenv.cfg", "env/x.py", ".hidden"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    assert sorted(packed(folder)) == ["anabranch.json", "graph.yaml", "inside", "models/net.pt2"]


def test_a_link_that_leads_to_itself_is_left_out(folder: Path) -> None:
    (folder / "loop").symlink_to("loop")
    (folder / "models" / "to_and").symlink_to("fro")
    (folder / "models" / "fro").symlink_to("to_and")
    assert sorted(packed(folder)) == ["anabranch.json", "graph.yaml", "models/net.pt2"]


def test_a_file_that_is_gone_before_it_is_read_is_left_out(folder: Path) -> None:
    assert list(_contents(folder, ["models/.net.swp"], LIMIT)) == []


def test_too_many_files_are_not_looked_at_to_the_last(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anabranch.client.bundle.folder.MAX_FILES", 2)
    survey(folder)
    (folder / "more").touch()
    with pytest.raises(TooLarge, match=r"holds over 2 files; leave some out by .anabranchignore"):
        survey(folder)


def test_ignore_file_matches_names_folders_and_paths(folder: Path) -> None:
    (folder / ".anabranchignore").write_text("# data\n*.csv\nraw/\n/notes/a.txt\n")
    for name in ("x.csv", "data/y.csv", "raw/z.bin", "notes/a.txt", "notes/b.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    assert "notes/b.txt" in packed(folder)
    assert len(packed(folder)) == 4


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (".graph.yaml", "", "it is hidden"),
        ("prod.env.yaml", "", "it is a file of settings with secrets"),
        ("graph.yaml", "k: -----BEGIN PRIVATE KEY-----", "it is a private key"),
        ("draft.yaml", "", ".anabranchignore has 'draft*'"),
    ],
)
def test_a_spec_that_its_own_bundle_leaves_out_is_refused(
    folder: Path, name: str, content: str, reason: str
) -> None:
    (folder / ".anabranchignore").write_text("draft*")
    (folder / name).write_text(content)
    message = f"the spec '{name}' is not in its own bundle: {reason}; rename it"
    with pytest.raises(InvalidRequest, match=re.escape(message)):
        pack(folder / name, LIMIT)


def test_too_large_a_folder_names_the_limit(folder: Path) -> None:
    with pytest.raises(TooLarge, match=r"over the limit of 1000B; leave files out by .anabranch"):
        pack(folder / "graph.yaml", 1000)


@pytest.mark.parametrize(
    "name",
    ["graph.yaml", "/bundle/x", "bundle/../x", "bundle/a/../../x", "bundle//x", "other/x",
     "bundle/a\\..\\x", "bundle/C:/x", "bundle/."],
)  # fmt: skip
def test_paths_that_leave_the_folder_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="not a path below bundle/"):
        unpack(archive((name, b"x")), LIMIT)


def test_links_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="is a link"):
        unpack(archive(("bundle/x", b"/etc/passwd"), mode=stat.S_IFLNK | 0o777), LIMIT)


def test_a_file_cannot_be_a_folder_too() -> None:
    with pytest.raises(InvalidRequest, match="'a' in the bundle is both a file and a folder"):
        unpack(archive(("bundle/a", b"1"), ("bundle/a/b", b"2")), LIMIT)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="two files of one name"):
        unpack(archive(("bundle/x", b"1"), ("bundle/x", b"2")), LIMIT)


def test_a_bomb_is_stopped_at_the_limit() -> None:
    bomb = archive(("bundle/a", b"\0" * (LIMIT // 2)), ("bundle/b", b"\0" * LIMIT))
    assert len(bomb) < LIMIT // 100
    with pytest.raises(TooLarge, match="over the limit of 1MiB"):
        unpack(bomb, LIMIT)


@given(st.binary(max_size=200))
def test_noise_is_refused_with_a_typed_error(noise: bytes) -> None:
    with pytest.raises(InvalidRequest):
        unpack(noise, LIMIT)


@given(position=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_damaged_zip_is_read_or_refused(position: int, value: int) -> None:
    data = bytearray(archive(("bundle/graph.yaml", b"kind: x" * 20), ("bundle/b", b"b")))
    data[position % len(data)] = value
    with contextlib.suppress(InvalidRequest, TooLarge):
        unpack(bytes(data), LIMIT)


@pytest.mark.parametrize("manifest", [None, b"[]", b"{}", b"{", b'{"spec": 1}', b'{"spec": "no"}'])
def test_a_bundle_must_name_its_spec(manifest: bytes | None) -> None:
    files = {"graph.yaml": b""} | ({} if manifest is None else {"anabranch.json": manifest})
    with pytest.raises(InvalidRequest, match=r"anabranch\.json"):
        spec_name(files)


def test_stored_bundles_come_back(folder: Path, tmp_path: Path) -> None:
    store = BundleStore(tmp_path / "bundles")
    name = store.put(packed(folder))
    assert store.put(packed(folder)) == name
    assert store.path(name).read_bytes() == pack(folder / "graph.yaml", LIMIT).data
    assert store.read(name, "requirements.txt") is None
    assert store.read(name, "graph.yaml") == b"kind: InferenceGraph"
    assert unpack(store.path(name).read_bytes(), LIMIT) == packed(folder)


@pytest.mark.parametrize("name", ["0" * 64, "../secret", ""])
def test_unknown_bundles_are_not_found(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFound):
        BundleStore(tmp_path).path(name)


def test_a_full_disk_keeps_nothing_of_a_bundle_and_names_the_bytes(tmp_path: Path) -> None:
    files = {"graph.yaml": b"x", "model.bin": os.urandom(50_000)}
    with small_disk(tmp_path / "home", 128 * 1024) as home:
        store = BundleStore(home / "bundles")
        first = store.put({"graph.yaml": b"first"})
        ballast = fill(home)
        with pytest.raises(StorageError, match=r"bundles does not take .*; 5\d,\d{3} bytes are"):
            store.put(files)
        assert names(home / "bundles") == [f"{first}.zip"]
        ballast.unlink()
        assert store.read(store.put(files), "model.bin") == files["model.bin"]


def test_a_part_of_a_bundle(tmp_path: Path) -> None:
    store = BundleStore(tmp_path)
    name = store.put({"graph.yaml": b"x"})
    whole = store.path(name).read_bytes()
    assert store.part(name, 0, 0) == (len(whole), b"")
    assert store.part(name, 10, 20) == (len(whole), whole[10:30])
    assert store.part(name, len(whole) - 5, 20) == (len(whole), whole[-5:])
    with pytest.raises(NotFound):
        store.part("0" * 64, 0, 20)


def test_an_engine_on_a_new_disk_has_its_bundles_from_the_store(tmp_path: Path) -> None:
    url = (tmp_path / "store").as_uri()
    name = BundleStore(tmp_path / "old", url).put({"graph.yaml": b"x"})
    new = BundleStore(tmp_path / "new", url)
    assert new.read(name, "graph.yaml") == b"x"
    assert new.digests() == {name}
    with pytest.raises(NotFound, match="is not in file:"):
        new.path("0" * 64)
    new.path(name).unlink()
    (tmp_path / "store" / f"{name}.zip").write_bytes(b"something else")
    with pytest.raises(Unavailable, match=r"^the bundle store file:.*: what it holds is no zip"):
        new.path(name)
    assert names(tmp_path / "new") == []


def test_what_is_collected_leaves_the_store_too(tmp_path: Path) -> None:
    store = BundleStore(tmp_path / "bundles", (tmp_path / "store").as_uri())
    kept, used, gone, left = (store.put({"graph.yaml": text.encode()}) for text in "abcd")
    for name in (used, gone):
        os.utime(store.path(name), (0, 0))
    store.path(left).unlink()  # as on the disk of an engine before this one
    assert store.collect({used}, before=1) == [gone]
    assert store.digests() == {kept, used}
    assert names(tmp_path / "store") == sorted(f"{name}.zip" for name in (kept, used))
