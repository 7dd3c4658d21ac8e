"""Bundles: a spec and the files beside it, as one zip whose digest names its content.

The digest covers names and bytes, not times, modes or compression, so the same files give the
same digest anywhere. Everything lies under one folder of the zip, which Ray strips on unpacking;
``anabranch.json`` in it says which file is the spec.

Left out: hidden files, ``__pycache__``, virtual environments, links that leave the folder, and
what ``.anabranchignore`` matches (one shell pattern a line, ``folder/`` for folders, ``#`` for
comments; a pattern without a slash matches a name at any depth).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from anabranch.errors import InvalidRequest, NotFound, TooLarge
from anabranch.files import DRAFT, disk_errors, replace_file
from anabranch.specs.units import Size

ROOT = "bundle"
"""The folder that holds everything inside the zip."""
MANIFEST = "anabranch.json"
"""Names the spec inside the bundle: ``{"spec": "graph.yaml"}``."""
IGNORE_FILE = ".anabranchignore"
REQUIREMENTS = "requirements.txt"
MAX_FILES = 20_000
_DIGEST = re.compile(r"[0-9a-f]{64}")
_EPOCH = (1980, 1, 1, 0, 0, 0)
_SKIPPED_FOLDERS = {"__pycache__", "node_modules", "venv"}
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    IndexError,  # what zipfile raises for an empty name
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True)
class Bundle:
    """A packed bundle: the zip's bytes and the digest of its content."""

    data: bytes
    digest: str


def pack(spec: Path, max_size: int) -> Bundle:
    """Pack ``spec`` and the files beside it; TooLarge if they are over ``max_size`` bytes."""
    files = dict(_files(spec, max_size))
    files[MANIFEST] = json.dumps({"spec": spec.name}).encode()
    return Bundle(_zip(files), digest(files))


def digest(files: Mapping[str, bytes]) -> str:
    """SHA-256 over names and contents, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(files):
        content = hashlib.sha256(files[name]).hexdigest()
        total.update(f"{len(name.encode())}:{name}:{content}\n".encode())
    return total.hexdigest()


def unpack(data: bytes, max_size: int) -> dict[str, bytes]:
    """Files of a received bundle by name; InvalidRequest or TooLarge for what it may not be."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _members(archive, max_size)
    except _UNREADABLE as error:
        raise InvalidRequest(f"the bundle is not a zip file that can be read: {error}") from error


def spec_name(files: Mapping[str, bytes]) -> str:
    """Name of the spec inside the bundle; InvalidRequest if it names none that is there."""
    name = manifest_spec(files.get(MANIFEST))
    if name not in files:
        raise InvalidRequest(f"{MANIFEST} names the spec {name!r}, which is not in the bundle")
    return name


def manifest_spec(manifest: bytes | None) -> str:
    """The spec that a manifest names; InvalidRequest if it names none."""
    try:
        name = json.loads(manifest or b"")["spec"]
    except (KeyError, TypeError, ValueError):
        name = None
    if not isinstance(name, str):
        raise InvalidRequest(f"the bundle has no {MANIFEST} that names its spec")
    return name


class BundleStore:
    """Bundles in a folder, ``<digest>.zip`` each; written once and never changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, files: Mapping[str, bytes]) -> str:
        """Keep ``files``; gives their digest. Packed anew, so nothing of the sender's zip stays.

        StorageError where the folder does not take them; nothing of them is left then.
        """
        name = digest(files)
        path = self._folder / f"{name}.zip"
        if path.exists():
            path.touch()  # it is as good as new to ``collect``
        else:
            with disk_errors(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
            replace_file(path, _zip(files))
        return name

    def collect(self, used: Container[str], before: float) -> list[str]:
        """Remove bundles that were last put before a Unix time and are not ``used``, and files that
        were left half-written before it. Gives the digests of the bundles.
        """
        gone = []
        for path in self._folder.glob("*.zip"):
            if path.stem not in used and path.stat().st_mtime < before:
                path.unlink(missing_ok=True)
                gone.append(path.stem)
        for path in self._folder.glob(f".*{DRAFT}"):
            if path.stat().st_mtime < before:
                path.unlink(missing_ok=True)
        return gone

    def path(self, name: str) -> Path:
        """Where the bundle of that digest lies; NotFound if it does not."""
        path = self._folder / f"{name}.zip"
        if not _DIGEST.fullmatch(name) or not path.is_file():
            raise NotFound(f"the bundle {name[:64]!r} is not in {self._folder}")
        return path

    def size(self, name: str) -> int:
        """Bytes of the bundle of that digest on the disk; 0 if it is not there."""
        path = self._folder / f"{name}.zip"
        return path.stat().st_size if path.is_file() else 0

    def marks(self, name: str) -> dict[str, str]:
        """The files of a bundle, each with a mark that changes with its content."""
        with zipfile.ZipFile(self.path(name)) as archive:
            return {
                entry.filename.removeprefix(f"{ROOT}/"): f"{entry.CRC:08x}.{entry.file_size}"
                for entry in archive.infolist()
            }

    def read(self, name: str, member: str) -> bytes | None:
        """One file of a bundle, None if the bundle has no such file."""
        with zipfile.ZipFile(self.path(name)) as archive:
            try:
                return archive.read(f"{ROOT}/{member}")
            except KeyError:
                return None


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write ``files``, whose names were checked by ``unpack``, under ``folder``."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _zip(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(f"{ROOT}/{name}", _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, files[name])
    return buffer.getvalue()


def _members(archive: zipfile.ZipFile, max_size: int) -> dict[str, bytes]:
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(entries) > MAX_FILES:
        raise TooLarge(f"the bundle holds {len(entries)} files, the limit is {MAX_FILES}")
    if len({entry.filename for entry in entries}) != len(entries):
        raise InvalidRequest("the bundle holds two files of one name")
    files: dict[str, bytes] = {}
    left = max_size
    for entry in entries:
        files[_member_name(entry)] = content = _read(archive, entry, left, max_size)
        left -= len(content)
    _check_folders(files)
    return files


def _check_folders(files: Mapping[str, bytes]) -> None:
    for name in files:
        for parent in PurePosixPath(name).parents:
            if str(parent) in files:
                raise InvalidRequest(f"{str(parent)!r} in the bundle is both a file and a folder")


def _member_name(entry: zipfile.ZipInfo) -> str:
    """Name below ROOT; refuses what could land elsewhere, or is not a plain file."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise InvalidRequest(f"{entry.filename!r} in the bundle is a link or a special file")
    if entry.flag_bits & 0x1:
        raise InvalidRequest(f"{entry.filename!r} in the bundle is encrypted")
    first, *rest = entry.filename.split("/")
    unsafe = any(part in ("", ".", "..") or "\\" in part or ":" in part for part in rest)
    if first != ROOT or not rest or unsafe:
        raise InvalidRequest(f"{entry.filename!r} in the bundle is not a path below {ROOT}/")
    return "/".join(rest)


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, left: int, limit: int) -> bytes:
    """Unpack one file, never more than ``left`` bytes whatever its header claims."""
    with archive.open(entry) as stream:
        content = stream.read(left + 1)
    if len(content) > left:
        raise _too_large(limit)
    return content


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"the bundle is over the limit of {Size(limit)}; leave files out by {IGNORE_FILE}"
    )


def _files(spec: Path, max_size: int) -> Iterator[tuple[str, bytes]]:
    root = spec.parent.resolve()
    left = max_size
    for count, path in enumerate(_walk(root, _ignored(root))):
        if count >= MAX_FILES:
            raise TooLarge(f"{root} holds over {MAX_FILES} files; leave some out by {IGNORE_FILE}")
        left -= path.stat().st_size
        if left < 0:
            raise _too_large(max_size)
        yield path.relative_to(root).as_posix(), path.read_bytes()


def _walk(root: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    """Files below ``root`` in order; never into a linked folder, which may lead in circles."""
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        folders[:] = sorted(
            name
            for name in folders
            if not _skipped_folder(here / name) and not _matches(here / name, root, patterns)
        )
        for name in sorted(names):
            path = here / name
            if (
                not name.startswith(".")
                and _stays(path, root)
                and not _matches(path, root, patterns)
            ):
                yield path


def _skipped_folder(path: Path) -> bool:
    return (
        path.name.startswith(".")
        or path.name in _SKIPPED_FOLDERS
        or (path / "pyvenv.cfg").is_file()
    )


def _stays(path: Path, root: Path) -> bool:
    """Whether the path is a regular file, and if it is a link one that stays in the folder."""
    return path.is_file() and path.resolve().is_relative_to(root) and path.name != MANIFEST


def _ignored(root: Path) -> tuple[str, ...]:
    path = root / IGNORE_FILE
    lines: Iterable[str] = path.read_text("utf-8").splitlines() if path.is_file() else ()
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def _matches(path: Path, root: Path, patterns: tuple[str, ...]) -> bool:
    relative = PurePosixPath(path.relative_to(root).as_posix())
    return any(_match(relative, path.is_dir(), pattern) for pattern in patterns)


def _match(path: PurePosixPath, is_folder: bool, pattern: str) -> bool:
    if pattern.endswith("/") and not is_folder:
        return False
    pattern = pattern.rstrip("/")
    return fnmatchcase(str(path) if "/" in pattern else path.name, pattern.lstrip("/"))
