"""Reading of packed bundles: the files in a zip, by name, none of which leads elsewhere."""

from __future__ import annotations

import io
import json
import shutil
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from anabranch.client.bundle.folder import MAX_FILES
from anabranch.client.bundle.packing import ROOT, too_large
from anabranch.components.artefacts.archives import UNREADABLE
from anabranch.components.artefacts.bundled import FOLDER, MANIFEST
from anabranch.errors import InvalidRequest, TooLarge


def unpack(data: bytes, max_size: int) -> dict[str, bytes]:
    """Files of a received bundle by name; InvalidRequest or TooLarge for what it may not be."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _members(archive, max_size)
    except UNREADABLE as error:
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
    except (KeyError, RecursionError, TypeError, ValueError):
        name = None
    if not isinstance(name, str):
        raise InvalidRequest(f"the bundle has no {MANIFEST} that names its spec")
    return name


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write ``files``, whose names were checked by ``unpack``, under ``folder``."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


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
    if rest[0] == FOLDER:
        raise InvalidRequest(f"{entry.filename!r} in the bundle is in the place of its models")
    return "/".join(rest)


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, left: int, limit: int) -> bytes:
    """Unpack one file, never more than ``left`` bytes whatever its header claims."""
    with archive.open(entry) as stream:
        content = stream.read(left + 1)
    if len(content) > left:
        raise too_large(limit)
    return content
