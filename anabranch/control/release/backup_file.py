"""Backups: the store as it is at one moment, and the bundles that its revisions need, in one file.

A zip that holds ``backup.json`` (what is in it), ``store.db`` (SQLite), the bundles as
``bundles/<digest>.zip``, and the models that these have brought along as ``bundles/<digest>.blob``.
It is made while an engine runs, too. Tokens, environments, other models from elsewhere, logs and
what monitors remember are not in it: they are made anew, or are nobody's to copy.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import zipfile
import zlib
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from anabranch.client.bundle.packing import digest
from anabranch.client.bundle.unpacking import unpack
from anabranch.components.artefacts.digests import file_digest
from anabranch.control.release.blobs import BlobStore
from anabranch.control.release.bundles import BundleStore
from anabranch.control.release.digest_store import DigestStore
from anabranch.control.store.database import Database
from anabranch.control.store.soundness import log_of, require_sound
from anabranch.errors import EngineError, NotFound, RequestError, in_one_line
from anabranch.files import disk_errors, replacing, require_room

FORMAT = 1
MANIFEST = "backup.json"
STORE = "store.db"
REPLACED = ".replaced"
"""End of the name under which a store that was replaced stays."""
_UNLIMITED = 2**62
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Backup:
    """What a backup holds; ``missing`` are digests of bundles and models that were gone."""

    file: str
    created: str
    graphs: tuple[str, ...]
    revisions: int
    bundles: int
    missing: tuple[str, ...]


@dataclass(frozen=True)
class _Contents:
    """What a store refers to."""

    graphs: tuple[str, ...]
    revisions: int
    digests: tuple[str, ...]


def write_backup(store: Path, bundles: BundleStore, target: Path, *, replace: bool) -> Backup:
    """Write a backup of the SQLite file ``store``, its bundles and their models to ``target``.

    EngineError if there is no store or it is damaged, or a file ``target`` that is not to be
    replaced; StorageError if ``target`` cannot be written.
    """
    if not store.is_file():
        raise EngineError(
            f"there is no store {store}; --home and ANABRANCH_STORE say where it is, as for `up`"
        )
    if target.exists() and not replace:
        raise EngineError(f"{target} is there: name another file, or replace it with --replace")
    require_sound(store)
    require_room(target.parent, 2 * _size(store) + _size(log_of(store)))
    with (
        disk_errors(target),
        TemporaryDirectory(dir=target.parent, prefix=".backup-") as folder,
    ):
        copy = Path(folder) / STORE
        _copy(store, copy)
        contents = _contents(copy)
        models = sorted(bundles.pinned(contents.digests))
        sizes = sum(map(bundles.size, contents.digests))
        sizes += sum(map(bundles.blobs.size, models))
        require_room(target.parent, _size(copy) + sizes)
        with replacing(target) as file, zipfile.ZipFile(file, "w") as archive:
            archive.write(copy, STORE, zipfile.ZIP_DEFLATED)
            missing = (
                *(one for one in contents.digests if not _add(archive, bundles, one)),
                *(one for one in models if not _add(archive, bundles.blobs, one)),
            )
            backup = _described(target, contents, missing)
            archive.writestr(MANIFEST, json.dumps({"format": FORMAT, **_manifest(backup)}))
    return backup


def read_backup(source: Path, store: Path, bundles: BundleStore, *, replace: bool) -> Backup:
    """Put what a backup holds in place of ``store``, and into ``bundles``.

    All of it is read and checked before anything is changed. With ``replace`` a store that is there
    stays beside the new one, under the name ``store.db.replaced``; without, EngineError if it has
    graphs or cannot be read. EngineError also for a file that is no backup or a damaged one;
    StorageError if there is no room for it.
    """
    if not replace:
        _require_empty(store)
    with _open(source) as archive, disk_errors(store):
        store.parent.mkdir(parents=True, exist_ok=True)
        require_room(store.parent, sum(entry.file_size for entry in archive.infolist()))
        with TemporaryDirectory(dir=store.parent, prefix=".restore-") as folder:
            copy = Path(folder) / STORE
            copy.write_bytes(archive.read(STORE))
            _check(copy)
            contents, held = _contents(copy), set(archive.namelist())
            there = [one for one in contents.digests if _name(one) in held]
            for one in there:
                _bundle(archive, one)
            _keep_models(archive, bundles.blobs, Path(folder))
            for one in there:
                bundles.put(_bundle(archive, one))
            missing = tuple(one for one in contents.digests if one not in there)
            backup = _described(source, contents, missing, archive)
            _swap(copy, store)
    return backup


def _copy(store: Path, copy: Path) -> None:
    """Copy a database at one moment, whoever writes to it (SQLite's online backup)."""
    try:
        with closing(sqlite3.connect(store)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE").close()
    except sqlite3.Error as error:
        raise EngineError(f"the store {store} cannot be copied: {error}") from error
    _check(copy)


def _check(copy: Path) -> None:
    """Raise EngineError unless a database is a sound store that this version reads."""
    require_sound(copy)
    Database.open(f"sqlite:///{copy}").close()


def _contents(copy: Path) -> _Contents:
    with closing(sqlite3.connect(copy)) as connection:
        graphs = connection.execute(
            "SELECT name FROM graphs WHERE state != 'deleted' ORDER BY name"
        ).fetchall()
        digests = connection.execute(
            "SELECT digest, count(*) FROM revisions GROUP BY digest ORDER BY digest"
        ).fetchall()
    return _Contents(
        tuple(name for (name,) in graphs),
        sum(count for _, count in digests),
        tuple(name for name, _ in digests),
    )


def _described(
    file: Path,
    contents: _Contents,
    missing: tuple[str, ...],
    archive: zipfile.ZipFile | None = None,
) -> Backup:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    if archive is not None:
        created = str(json.loads(archive.read(MANIFEST))["created"])
    bundles = len({*contents.digests} - {*missing})
    return Backup(str(file), created, contents.graphs, contents.revisions, bundles, missing)


def _manifest(backup: Backup) -> dict[str, object]:
    return {"created": backup.created, "graphs": backup.graphs, "revisions": backup.revisions}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _name(digest: str, suffix: str = BundleStore.suffix) -> str:
    return f"bundles/{digest}{suffix}"


def _add(archive: zipfile.ZipFile, kept: DigestStore, name: str) -> bool:
    try:
        archive.write(kept.path(name), _name(name, kept.suffix), zipfile.ZIP_STORED)
    except NotFound:
        return False
    return True


def _keep_models(archive: zipfile.ZipFile, blobs: BlobStore, folder: Path) -> None:
    """Keep the models in the backup; EngineError for one that is not what its name says."""
    models = [one for one in archive.namelist() if one.endswith(blobs.suffix)]
    for member in models:
        copy, digest = folder / "model", PurePosixPath(member).stem
        with archive.open(member) as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target)
        if file_digest(copy) != digest:
            raise _damaged(archive, f"{member} is not what its name says")
        blobs.keep(digest, copy)


def _bundle(archive: zipfile.ZipFile, name: str) -> dict[str, bytes]:
    """The files of a bundle in the backup; EngineError if they are not what the digest says."""
    try:
        files = unpack(archive.read(_name(name)), _UNLIMITED)
    except RequestError as error:
        raise _damaged(archive, f"{_name(name)}: {error}") from error
    if digest(files) != name:
        raise _damaged(archive, f"{_name(name)} is not what its name says")
    return files


def _open(source: Path) -> zipfile.ZipFile:
    """Open a whole backup; EngineError for what is none, or damaged."""
    try:
        archive = zipfile.ZipFile(source)
        try:
            _check_archive(archive)
        except BaseException:
            archive.close()
            raise
    except OSError as error:
        raise EngineError(f"{source} cannot be read: {error.strerror}") from error
    except _UNREADABLE as error:
        text = in_one_line(error)
        raise EngineError(f"{source} is no backup, or a damaged one: {text}") from error
    return archive


def _check_archive(archive: zipfile.ZipFile) -> None:
    found = json.loads(archive.read(MANIFEST))
    if found["format"] != FORMAT:
        raise EngineError(
            f"{archive.filename} is a backup of format {found['format']!r},"
            f" this anabranch reads {FORMAT}"
        )
    if not isinstance(found["created"], str):
        raise ValueError(f"{MANIFEST} does not say when it was made")
    archive.getinfo(STORE)
    if (bad := archive.testzip()) is not None:
        raise _damaged(archive, f"{bad} is not what it was")


def _damaged(archive: zipfile.ZipFile, reason: str) -> EngineError:
    return EngineError(f"the backup {archive.filename} is damaged: {reason}")


def _require_empty(store: Path) -> None:
    hint = "--replace takes its place, and keeps the old store beside the new one"
    try:
        require_sound(store)
        graphs = _contents(store).graphs if store.exists() and store.stat().st_size else ()
    except (EngineError, sqlite3.Error) as error:
        raise EngineError(f"there is a store, which cannot be read; {hint} ({error})") from error
    if graphs:
        shown = ", ".join(graphs[:5]) + (", …" if len(graphs) > 5 else "")
        raise EngineError(
            f"the store {store} has graphs ({shown}): restore into another --home; {hint}"
        )


def _swap(copy: Path, store: Path) -> None:
    """Put a store in the place of another, whose log must not be taken for the new one's.

    Whenever this is cut short, ``up`` finds the old store, the new one, or says that it is missing.
    """
    aside = store.with_name(f"{store.name}{REPLACED}")
    if store.exists() or log_of(store).exists():
        for former in (aside, log_of(aside)):
            former.unlink(missing_ok=True)
    for old, new in ((store, aside), (log_of(store), log_of(aside))):
        if old.exists():
            old.replace(new)
    store.with_name(f"{store.name}-shm").unlink(missing_ok=True)
    with replacing(store) as file:
        file.write(copy.read_bytes())
