from __future__ import annotations

import json
import shutil
import sqlite3
import threading
import zipfile
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.artefacts.bundled import BundledArtefact
from anabranch.control.release.backup_file import FORMAT, MANIFEST, read_backup, write_backup
from anabranch.control.release.bundles import BundleStore
from anabranch.control.store.schema import SCHEMA_VERSION
from anabranch.control.store.soundness import log_of
from anabranch.control.store.store import Store
from anabranch.errors import EngineError, StorageError
from tests.disks import fill, names, small_disk
from tests.waiting import until


class Home:
    """A folder with a store and bundles, as an engine that runs has them."""

    def __init__(self, folder: Path, *graphs: str) -> None:
        self.path, self.bundles = folder / "store.db", folder / "bundles"
        self.store = Store.open(f"sqlite:///{self.path}")
        for graph in graphs:
            self.deploy(graph)

    def deploy(self, graph: str) -> str:
        digest = BundleStore(self.bundles).put({"graph.yaml": graph.encode()})
        self.store.ensure_revision(graph, f"spec of {graph}", digest, force=True)
        return digest

    def graphs(self) -> list[str]:
        return [one.situation.graph for one in self.store.situations()]


def backed_up(folder: Path, *graphs: str) -> Path:
    home = Home(folder / "made", *graphs)
    write_backup(home.path, BundleStore(home.bundles), folder / "backup.zip", replace=False)
    home.store.close()
    return folder / "backup.zip"


def test_a_backup_has_the_models_that_bundles_have_brought_along(tmp_path: Path) -> None:
    home, model = Home(tmp_path / "a"), b"a model"
    digest = sha256(model).hexdigest()
    bundles = BundleStore(home.bundles)
    bundles.blobs.receive(digest, len(model), 0, model, len(model))
    pins = {"s3://m/m": BundledArtefact("m.onnx", digest, len(model)).to_json()}
    manifest = json.dumps({"spec": "graph.yaml", "artefacts": pins}).encode()
    name = bundles.put({"anabranch.json": manifest})
    home.store.ensure_revision("digits", "spec", name, force=True)
    made = write_backup(home.path, bundles, tmp_path / "b.zip", replace=False)
    assert (made.bundles, made.missing) == (1, ())
    back = restored(tmp_path / "b.zip", tmp_path / "back")
    assert BundleStore(back.bundles).blobs.path(digest).read_bytes() == model
    bundles.blobs.path(digest).unlink()
    made = write_backup(home.path, bundles, tmp_path / "b.zip", replace=True)
    assert (made.bundles, made.missing) == (1, (digest,))
    for one in (home, back):
        one.store.close()


def restored(source: Path, folder: Path, replace: bool = False) -> Home:
    read_backup(source, folder / "store.db", BundleStore(folder / "bundles"), replace=replace)
    return Home(folder)


def test_a_backup_brings_back_graphs_revisions_events_and_bundles(tmp_path: Path) -> None:
    home = Home(tmp_path / "a", "digits", "iris")
    digest = home.deploy("digits")
    home.store.log("iris", 1, "noted", "a word")
    made = write_backup(home.path, BundleStore(home.bundles), tmp_path / "b.zip", replace=False)
    assert (made.graphs, made.revisions, made.bundles, made.missing) == (
        ("digits", "iris"), 3, 2, (),
    )  # fmt: skip
    back = restored(tmp_path / "b.zip", tmp_path / "new" / "home")
    assert back.graphs() == ["digits", "iris"]
    assert back.store.events() == home.store.events()
    assert back.store.revision("digits", 2).spec == "spec of digits"
    assert BundleStore(back.bundles).read(digest, "graph.yaml") == b"digits"
    assert names(tmp_path / "new" / "home") == names(tmp_path / "a")
    home.store.close()
    back.store.close()


def test_a_backup_during_writes_is_of_one_moment(tmp_path: Path) -> None:
    home = Home(tmp_path / "a", "g0000")
    stop, written = threading.Event(), 1

    def write() -> None:
        nonlocal written
        while not stop.is_set():
            home.deploy(f"g{written:04}")
            written += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            at_least = written
            made = write_backup(
                home.path, BundleStore(home.bundles), tmp_path / f"{number}.zip", replace=False
            )
            assert len(made.graphs) >= at_least and made.missing == ()
            assert made.graphs == tuple(f"g{one:04}" for one in range(len(made.graphs)))
            assert made.bundles == made.revisions == len(made.graphs)
            until(lambda before=written: written > before)
    finally:
        stop.set()
        writer.join()
    back = restored(tmp_path / "4.zip", tmp_path / "b")
    assert len(back.graphs()) == len(made.graphs) < written
    home.store.close()
    back.store.close()


def test_a_bundle_that_is_gone_is_told_and_costs_nothing_else(tmp_path: Path) -> None:
    home = Home(tmp_path / "a", "digits", "iris")
    gone = home.deploy("third")
    BundleStore(home.bundles).path(gone).unlink()
    made = write_backup(home.path, BundleStore(home.bundles), tmp_path / "b.zip", replace=False)
    assert (made.bundles, made.missing) == (2, (gone,))
    back = read_backup(
        tmp_path / "b.zip", tmp_path / "b.db", BundleStore(tmp_path / "b"), replace=False
    )
    assert (back.graphs, back.missing) == (("digits", "iris", "third"), (gone,))
    home.store.close()


def test_an_old_backup_is_replaced_only_when_told(tmp_path: Path) -> None:
    home = Home(tmp_path / "a", "digits")
    target = tmp_path / "b.zip"
    write_backup(home.path, BundleStore(home.bundles), target, replace=False)
    before = target.read_bytes()
    with pytest.raises(EngineError, match=r"b.zip is there: .* --replace"):
        write_backup(home.path, BundleStore(home.bundles), target, replace=False)
    assert target.read_bytes() == before
    home.deploy("iris")
    assert len(write_backup(home.path, BundleStore(home.bundles), target, replace=True).graphs) == 2
    assert target.stat().st_mode & 0o077 == 0
    home.store.close()


def test_no_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"there is no store .*store.db; --home and ANABRANCH_ST"):
        write_backup(
            tmp_path / "store.db", BundleStore(tmp_path), tmp_path / "b.zip", replace=False
        )


def test_a_damaged_store_makes_no_backup(tmp_path: Path) -> None:
    home = Home(tmp_path / "a", "digits")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    log = log_of(tmp_path / "b" / "store.db")
    log.write_bytes(b"\1" + log.read_bytes()[1:])
    with pytest.raises(EngineError, match="is damaged"):
        write_backup(
            tmp_path / "b/store.db", BundleStore(home.bundles), tmp_path / "b.zip", replace=False
        )
    assert not (tmp_path / "b.zip").exists()
    home.store.close()


def test_a_full_disk_leaves_the_old_backup_and_nothing_else(tmp_path: Path) -> None:
    home = Home(tmp_path / "a", "digits")
    with small_disk(tmp_path / "disk", 512 * 1024) as disk:
        target = disk / "b.zip"
        write_backup(home.path, BundleStore(home.bundles), target, replace=False)
        before = target.read_bytes()
        fill(disk)
        with pytest.raises(StorageError, match=rf"^{disk} is too full: .* are needed, 0 are free"):
            write_backup(home.path, BundleStore(home.bundles), target, replace=True)
        assert (target.read_bytes(), names(disk)) == (before, ["b.zip", "ballast"])
        with pytest.raises(StorageError, match=rf"^{disk}/h is too full: "):
            read_backup(
                target, disk / "h" / "store.db", BundleStore(disk / "h" / "bundles"), replace=False
            )
    home.store.close()


def test_graphs_are_replaced_only_when_told_and_stay_beside(tmp_path: Path) -> None:
    source = backed_up(tmp_path, "digits")
    Home(tmp_path / "b", "iris", "wine").store.close()
    with pytest.raises(EngineError, match=r"store\.db has graphs \(iris, wine\): .* --replace"):
        restored(source, tmp_path / "b")
    back = restored(source, tmp_path / "b", replace=True)
    assert back.graphs() == ["digits"]
    back.store.close()
    kept = Store.open(f"sqlite:///{tmp_path / 'b' / 'store.db.replaced'}")
    assert [one.situation.graph for one in kept.situations()] == ["iris", "wine"]
    kept.close()


def test_a_store_of_a_killed_engine_is_replaced_with_its_log(tmp_path: Path) -> None:
    source = backed_up(tmp_path, "digits")
    live = Home(tmp_path / "live", "iris")
    shutil.copytree(tmp_path / "live", tmp_path / "b")
    live.store.close()
    back = restored(source, tmp_path / "b", replace=True)
    assert back.graphs() == ["digits"]
    back.store.close()
    kept = Store.open(f"sqlite:///{tmp_path / 'b' / 'store.db.replaced'}")
    assert [one.situation.graph for one in kept.situations()] == ["iris"]
    kept.close()


def test_a_store_that_cannot_be_read_is_replaced_only_when_told(tmp_path: Path) -> None:
    source = backed_up(tmp_path, "digits")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "store.db").write_bytes(b"not a database" * 100)
    with pytest.raises(EngineError, match=r"cannot be read; --replace takes its place"):
        restored(source, tmp_path / "b")
    back = restored(source, tmp_path / "b", replace=True)
    assert back.graphs() == ["digits"]
    back.store.close()


def test_an_empty_store_is_no_hindrance(tmp_path: Path) -> None:
    source = backed_up(tmp_path, "digits")
    Home(tmp_path / "b").store.close()
    back = restored(source, tmp_path / "b")
    assert back.graphs() == ["digits"]
    back.store.close()


def changed(source: Path, target: Path, **members: bytes | None) -> Path:
    """A backup with other members, by their names with a dash for what is no letter."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = members.get(name.partition(".")[0].partition("/")[0], old.read(name))
            if data is not None:
                new.writestr(name, data)
    return target


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"backup": None}, "is no backup, or a damaged one: .*backup.json"),
        ({"backup": b"[]"}, "is no backup, or a damaged one"),
        ({"backup": b'{"format": 1, "created": 2}'}, "does not say when it was made"),
        ({"backup": json.dumps({"format": FORMAT + 1}).encode()}, "of format 2, this anabranch"),
        ({"store": None}, "is no backup, or a damaged one: .*store.db"),
        ({"store": b"not a database" * 100}, "store.db is damaged: file is not a database"),
        ({"bundles": b"not a zip"}, "is damaged: bundles/.*: the bundle is not a zip"),
    ],
)
def test_what_is_no_sound_backup_changes_nothing(
    tmp_path: Path, members: dict[str, bytes | None], message: str
) -> None:
    source = changed(backed_up(tmp_path, "digits"), tmp_path / "bad.zip", **members)
    Home(tmp_path / "b", "iris").store.close()
    with pytest.raises(EngineError, match=message):
        restored(source, tmp_path / "b", replace=True)
    home = Home(tmp_path / "b")
    assert (home.graphs(), len(names(home.bundles))) == (["iris"], 1)
    assert not [name for name in names(tmp_path / "b") if name.startswith(".")]
    home.store.close()


def test_a_log_without_its_store_goes_aside_too(tmp_path: Path) -> None:
    source = backed_up(tmp_path, "digits")
    live = Home(tmp_path / "live", "iris")
    shutil.copytree(tmp_path / "live", tmp_path / "b")
    live.store.close()
    (tmp_path / "b" / "store.db").rename(tmp_path / "b" / "store.db.replaced")
    back = restored(source, tmp_path / "b", replace=True)
    assert back.graphs() == ["digits"]
    assert "store.db.replaced" not in names(tmp_path / "b")
    back.store.close()


def test_a_bundle_that_is_another_than_its_digest_says_is_refused(tmp_path: Path) -> None:
    other = BundleStore(tmp_path / "other")
    data = other.path(other.put({"graph.yaml": b"another"})).read_bytes()
    source = changed(backed_up(tmp_path, "digits"), tmp_path / "bad.zip", bundles=data)
    with pytest.raises(EngineError, match=r"is damaged: bundles/.*\.zip is not what its name says"):
        restored(source, tmp_path / "b")


def test_a_backup_of_a_newer_store_is_refused(tmp_path: Path) -> None:
    source = backed_up(tmp_path, "digits")
    newer = tmp_path / "newer.db"
    with zipfile.ZipFile(source) as archive:
        newer.write_bytes(archive.read("store.db"))
    with closing(sqlite3.connect(newer)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE").close()
        connection.execute(f"UPDATE anabranch_schema SET version = {SCHEMA_VERSION + 1}")
        connection.commit()
    source = changed(source, tmp_path / "newer.zip", store=newer.read_bytes())
    with pytest.raises(EngineError, match="schema version"):
        restored(source, tmp_path / "b")


@pytest.mark.parametrize("what", ["missing", "a folder"])
def test_no_file_to_restore_from_is_named(tmp_path: Path, what: str) -> None:
    source = tmp_path if what == "a folder" else tmp_path / "none.zip"
    with pytest.raises(EngineError, match=f"^{source} cannot be read: "):
        restored(source, tmp_path / "b")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return backed_up(tmp_path_factory.mktemp("made"), "digits", "iris")


@given(bit=st.integers(0, 8 * 2**16), cut=st.booleans())
def test_a_flipped_bit_or_a_cut_is_found_or_harmless(
    made: Path, tmp_path_factory: pytest.TempPathFactory, bit: int, cut: bool
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    data = bytearray(made.read_bytes())
    at = bit // 8 % len(data)
    data[at] ^= 1 << bit % 8
    (folder / "b.zip").write_bytes(data[:at] if cut else data)
    try:
        home = restored(folder / "b.zip", folder / "home")
    except EngineError:
        assert not (folder / "home" / "store.db").exists()
        return
    assert home.graphs() == ["digits", "iris"]
    home.store.close()


def test_a_backup_says_what_it_is_to_whoever_opens_it(made: Path) -> None:
    with zipfile.ZipFile(made) as archive:
        found = json.loads(archive.read(MANIFEST))
    assert (found["format"], found["graphs"], found["revisions"]) == (1, ["digits", "iris"], 2)
