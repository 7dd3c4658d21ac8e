"""Bundles: a spec and the files beside it, as one zip whose digest names its content.

The digest covers names and bytes, not times, modes or compression, so the same files give the
same digest anywhere. Everything lies under one folder of the zip, which Ray strips on unpacking;
``anabranch.json`` in it says which file is the spec.

What of the folder is left out, ``folder.survey`` says; a bundle that holds a secret is refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from anabranch.control.release.folder import IGNORE_FILE, MANIFEST, MAX_FILES, LeftOut, survey
from anabranch.control.release.secrets import HEAD, is_home, secret
from anabranch.errors import InvalidRequest, NotFound, TooLarge
from anabranch.files import DRAFT, disk_errors, replace_file
from anabranch.specs.units import Size

ROOT = "bundle"
"""The folder that holds everything inside the zip."""
REQUIREMENTS = "requirements.txt"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_EPOCH = (1980, 1, 1, 0, 0, 0)
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
    sizes: Mapping[str, int]
    """Bytes of each file of the folder, by its path in the bundle."""
    left_out: Mapping[str, LeftOut]
    """Files and folders that were left out, by their path in the folder."""


def pack(spec: Path, max_size: int, home: Path | None = None) -> Bundle:
    """Pack ``spec`` and the files beside it, without the engine's ``home`` and other secrets.

    Raises TooLarge if they are over ``max_size`` bytes or too many, and InvalidRequest where the
    folder is the home of an engine.
    """
    root = spec.parent.resolve()
    found = survey(root, home)
    files = dict(_contents(root, found.files, max_size))
    sizes = {name: len(content) for name, content in files.items()}
    files[MANIFEST] = json.dumps({"spec": spec.name}).encode()
    return Bundle(_zip(files), digest(files), sizes, found.left_out)


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


def refuse_secrets(files: Mapping[str, bytes]) -> None:
    """Raise InvalidRequest for a bundle with a file that ``pack`` would have left out as secret."""
    folders: dict[PurePosixPath, set[str]] = {}
    for name, content in files.items():
        path = PurePosixPath(name)
        folders.setdefault(path.parent, set()).add(path.name)
        if (what := secret(path, content[:HEAD])) is not None:
            raise InvalidRequest(f"{name!r} in the bundle is {what}, which no bundle may hold")
    for folder, names in folders.items():
        if is_home(names):
            raise InvalidRequest(
                f"{str(folder)!r} in the bundle is the home of an engine, with its tokens, which "
                "no bundle may hold"
            )


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"the bundle is over the limit of {Size(limit)}; leave files out by {IGNORE_FILE}"
    )


def _contents(root: Path, names: Sequence[str], max_size: int) -> Iterator[tuple[str, bytes]]:
    left = max_size
    for name in names:
        path = root / name
        try:
            left -= path.stat().st_size
            if left < 0:
                raise _too_large(max_size)
            content = path.read_bytes()
        except FileNotFoundError:  # an editor's, that was there for a moment
            continue
        yield name, content
