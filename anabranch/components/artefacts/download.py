"""One download into a folder, which goes on where an earlier one was cut off.

::

    content/<path>    files that are whole, and are only there then
    <digest>.part     the one that is on its way
    state.json        the fingerprint of the source that all of these are of

What is of another fingerprint, or of a source without one, is thrown away.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from anabranch.components.artefacts.cache import CONTENT
from anabranch.components.artefacts.digests import file_digest, folder_digest
from anabranch.components.artefacts.progress import TransferProgress
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.artefacts.sources import (
    CHUNK,
    ArtefactSource,
    RemoteFile,
    Stream,
    TransferInterrupted,
    check_size,
    shown_size,
)
from anabranch.errors import ArtefactError
from anabranch.files import replace_file

_STATE = "state.json"
_STEP = 64 * 2**20
"""Bytes for which room is made at a time where the size is not known."""


class Refused(ArtefactError):
    """A download is not the artefact that was announced."""


class Download:
    """Brings ``source`` into ``folder``; ``room`` makes room for so many bytes, or raises."""

    def __init__(
        self,
        source: ArtefactSource,
        folder: Path,
        what: str,
        settings: ArtefactSettings,
        room: Callable[[int], None],
        deadline: float,
    ) -> None:
        self._source = source
        self._folder = folder
        self._settings = settings
        self._room = room
        self._deadline = deadline
        self._progress = TransferProgress(what, source.size)
        self._came = 0
        self._room_for = 0
        self.resumed = False

    def run(self, sha256: str | None) -> None:
        """Fetch what is missing and verify the digest.

        Raises Refused for what came, Interrupted where another try may help, else ArtefactError.
        """
        self._prepare()
        if self._source.size is not None:
            self._room(max(0, self._source.size - self._there()))
        digests = {file.path: self._bring(file) for file in self._source.files}
        if sha256 is not None:
            self._verify(digests, sha256)
        self._progress.done()

    def _prepare(self) -> None:
        """Keep what an earlier download of the same left behind, and nothing else."""
        state, fingerprint = self._folder / _STATE, self._source.fingerprint
        known = json.loads(state.read_text())["fingerprint"] if state.exists() else None
        self.resumed = known is not None and known == fingerprint
        if not self.resumed:
            shutil.rmtree(self._folder)
            self._folder.mkdir(mode=0o700)
            replace_file(state, json.dumps({"fingerprint": fingerprint}))
        (self._folder / CONTENT).mkdir(exist_ok=True)

    def _there(self) -> int:
        found = self._folder.rglob("*")
        return sum(one.stat().st_size for one in found if one.is_file() and one.name != _STATE)

    def _bring(self, file: RemoteFile) -> str:
        """Have the file, whole, in its place; returns its SHA-256."""
        target = self._folder / CONTENT / file.path
        if target.is_file():
            self._count(target.stat().st_size)
            return file_digest(target)
        name = hashlib.sha256(file.path.encode()).hexdigest()
        part = self._folder / f"{name}.part"
        found = self._fetch(file, part)
        target.parent.mkdir(parents=True, exist_ok=True)
        part.rename(target)
        return found

    def _fetch(self, file: RemoteFile, part: Path) -> str:
        if self._source.local is not None and _linked(self._source.local, part):
            self._count(part.stat().st_size)
            return file_digest(part)
        part.touch(mode=0o600)
        have = part.stat().st_size
        if file.size is not None and have >= file.size:
            os.truncate(part, file.size)
            self._count(file.size)
            return file_digest(part)
        with self._source.read(file, have) as stream, part.open("r+b") as target:
            return self._take(file, stream, target)

    def _take(self, file: RemoteFile, stream: Stream, target: IO[bytes]) -> str:
        """Append what comes; returns the SHA-256 of the whole file."""
        digest = hashlib.sha256()
        self._hash_start(target, stream.start, digest.update)
        size = stream.start
        for chunk in stream.chunks:
            size += len(chunk)
            self._check(file, size, len(chunk))
            digest.update(chunk)
            _write(target, chunk)
            self._progress.add(len(chunk))
        if file.size is not None and size != file.size:
            raise TransferInterrupted(f"the download ended after {size} of {file.size} bytes")
        target.flush()
        os.fsync(target.fileno())
        return digest.hexdigest()

    def _hash_start(self, target: IO[bytes], start: int, update: Callable[[bytes], object]) -> None:
        """Read the bytes that are there already, and cut off what the stream sends again."""
        target.truncate(start)
        while chunk := target.read(CHUNK):
            update(chunk)
        self._count(start)

    def _count(self, size: int) -> None:
        self._came += size
        self._progress.skip(size)

    def _check(self, file: RemoteFile, size: int, more: int) -> None:
        if time.monotonic() > self._deadline:
            raise ArtefactError(
                f"did not arrive within {self._settings.timeout:g} s (ANABRANCH_DOWNLOAD_TIMEOUT); "
                "the next try goes on from there"
            )
        if file.size is not None and size > file.size:
            raise Refused(f"more bytes came than the announced {shown_size(file.size)}")
        self._came += more
        check_size(self._came, self._settings)
        if self._source.size is None and self._came > self._room_for:
            self._room(_STEP)
            self._room_for = self._came + _STEP

    def _verify(self, digests: dict[str, str], expected: str) -> None:
        (only, *_) = digests.values()
        found = folder_digest(digests) if self._source.is_folder else only
        if found != expected:
            raise Refused(f"its sha256 is {found}, the spec says {expected}")


def _linked(file: Path, part: Path) -> bool:
    """Make ``part`` another name of a file, which takes no room; return whether that can be."""
    part.unlink(missing_ok=True)
    try:
        part.hardlink_to(file)
    except OSError:  # on another file system
        return False
    return True


def _write(target: IO[bytes], chunk: bytes) -> None:
    try:
        target.write(chunk)
    except OSError as error:
        raise ArtefactError(f"cannot be written to the cache: {error.strerror}") from None
