"""Files that an engine keeps by the digest of their content, and in a store of the user's, too."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Container, Iterable
from pathlib import Path

from anabranch.components.artefacts.kept import bundle_store
from anabranch.errors import NotFound
from anabranch.files import DRAFT, disk_errors, replacing

_DIGEST = re.compile(r"[0-9a-f]{64}")


def is_digest(text: str) -> bool:
    """Tell whether a text is a SHA-256 in hexadecimal digits."""
    return _DIGEST.fullmatch(text) is not None


class DigestStore:
    """Files in a folder, ``<digest><suffix>`` each; written once and never changed.

    ``url`` is that of a store which holds them too, for the machines of a cluster; empty for none.
    """

    suffix: str
    what: str
    """The word for one of them in errors."""

    def __init__(self, folder: Path, url: str = "") -> None:
        self._folder = folder
        self._url = url

    def collect(
        self, used: Container[str], before: float, most: float = math.inf, spared: float = 0.0
    ) -> list[str]:
        """Remove files that were last put before a Unix time and are not ``used``, and what was
        left half-written before it. Gives the digests of the files.

        Where all take more than ``most`` bytes, the oldest of those that are not used go, too, but
        none that was put since ``spared``, a Unix time.
        """
        gone = []
        found = sorted((path.stat().st_mtime, path) for path in self._files())
        total = sum(path.stat().st_size for _, path in found)
        for at, path in found:
            if path.stem not in used and (at < before or (total > most and at < spared)):
                total -= path.stat().st_size
                path.unlink(missing_ok=True)
                gone.append(path.stem)
        for path in self._folder.glob(f".*{DRAFT}"):
            if path.stat().st_mtime < before:
                path.unlink(missing_ok=True)
        self._collect_store(used)
        return gone

    def digests(self) -> frozenset[str]:
        """Return the digests of all files in the folder."""
        return frozenset(path.stem for path in self._files())

    def _collect_store(self, used: Container[str]) -> None:
        """Remove from the store what is neither used nor in the folder."""
        here = self.digests()
        for name in bundle_store.digests(self._url, self.suffix) if self._url else ():
            if name not in used and name not in here:
                bundle_store.remove(self._url, f"{name}{self.suffix}")

    def _files(self) -> Iterable[Path]:
        return self._folder.glob(f"[!.]*{self.suffix}")

    def kept(self) -> tuple[int, int, float | None]:
        """Return the number of files, their bytes, and when the oldest was last put."""
        found = [path.stat() for path in self._files()]
        oldest = min((one.st_mtime for one in found), default=None)
        return len(found), sum(one.st_size for one in found), oldest

    def path(self, name: str) -> Path:
        """Where the file of that digest lies; NotFound if it does not.

        One that the store alone has is fetched; Unavailable if that does not answer.
        """
        path = self._folder / f"{name}{self.suffix}"
        is_name = is_digest(name)
        if is_name and self._url and not path.is_file():
            with disk_errors(path):
                self._folder.mkdir(parents=True, exist_ok=True)
                with replacing(path) as draft:
                    bundle_store.get(self._url, path.name, draft)
        if not is_name or not path.is_file():
            raise NotFound(f"the {self.what} {name[:64]!r} is not in {self._folder}")
        return path

    def size(self, name: str) -> int:
        """Bytes of the file of that digest on the disk; 0 if it is not there."""
        path = self._folder / f"{name}{self.suffix}"
        return path.stat().st_size if path.is_file() else 0

    def part(self, name: str, start: int, most: int) -> tuple[int, bytes]:
        """The size of a file, and at most ``most`` bytes of it from ``start`` on."""
        with self.path(name).open("rb") as file:
            file.seek(start)
            return os.fstat(file.fileno()).st_size, file.read(most)
