"""SHA-256 of models. That of a folder covers names and bytes, not times, modes or links."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from anabranch.errors import ArtefactError

MAX_FILES = 20_000
"""Most files in the folder of a model."""


def path_digest(path: Path) -> str:
    """Return the digest of a file, or of a folder."""
    if path.is_dir():
        return folder_digest({name: file_digest(path / name) for name in files_of(path)})
    return file_digest(path)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(files: Mapping[str, str]) -> str:
    """Return the SHA-256 of a folder, from the digests of its files by their path in it.

    It is that of the lines ``<bytes of the path>:<path>:<digest>``, each ended by a newline, in
    the order of the paths.
    """
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{len(name.encode())}:{name}:{files[name]}\n".encode())
    return total.hexdigest()


def files_of(folder: Path) -> list[str]:
    """Return the paths of all files below a folder; ArtefactError where they are too many."""
    found: list[str] = []
    for path in folder.rglob("*"):
        if path.is_file():
            found.append(path.relative_to(folder).as_posix())
        if len(found) > MAX_FILES:
            raise ArtefactError(f"the folder holds over {MAX_FILES} files")
    return found
