"""Bundles that an engine receives: checked, unpacked and kept under the digest of their content.

``client.bundle.packing`` makes them and says what they hold; one that holds a secret is refused.
"""

from __future__ import annotations

import math
import os
import re
import zipfile
from collections.abc import Container, Mapping
from pathlib import Path, PurePosixPath

from anabranch.client.bundle.packing import ROOT, digest, zipped
from anabranch.client.bundle.secrets import HEAD, is_home, secret
from anabranch.components.artefacts import bundle_store
from anabranch.errors import InvalidRequest, NotFound
from anabranch.files import DRAFT, disk_errors, replace_file, replacing

REQUIREMENTS = "requirements.txt"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class BundleStore:
    """Bundles in a folder, ``<digest>.zip`` each; written once and never changed.

    ``url`` is that of a store which holds them too, for the machines of a cluster; empty for none.
    """

    def __init__(self, folder: Path, url: str = "") -> None:
        self._folder = folder
        self._url = url

    def put(self, files: Mapping[str, bytes]) -> str:
        """Keep ``files``; gives their digest. Packed anew, so nothing of the sender's zip stays.

        StorageError where the folder does not take them; nothing of them is left then.
        Unavailable where the store at the URL does not.
        """
        name = digest(files)
        path = self._folder / f"{name}.zip"
        if path.exists():
            path.touch()  # it is as good as new to ``collect``
        else:
            with disk_errors(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
            replace_file(path, zipped(files))
        if self._url:
            bundle_store.put(self._url, name, path)
        return name

    def collect(
        self, used: Container[str], before: float, most: float = math.inf, spared: float = 0.0
    ) -> list[str]:
        """Remove bundles that were last put before a Unix time and are not ``used``, and files that
        were left half-written before it. Gives the digests of the bundles.

        Where all take more than ``most`` bytes, the oldest of those that are not used go, too, but
        none that was put since ``spared``, a Unix time.
        """
        gone = []
        found = sorted((path.stat().st_mtime, path) for path in self._folder.glob("*.zip"))
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
        """Return the digests of all bundles in the folder."""
        return frozenset(path.stem for path in self._folder.glob("*.zip"))

    def _collect_store(self, used: Container[str]) -> None:
        """Remove from the store what is neither used nor in the folder."""
        here = self.digests()
        for name in bundle_store.digests(self._url) if self._url else ():
            if name not in used and name not in here:
                bundle_store.remove(self._url, name)

    def kept(self) -> tuple[int, int, float | None]:
        """Return the number of bundles, their bytes, and when the oldest was last put."""
        found = [path.stat() for path in self._folder.glob("*.zip")]
        oldest = min((one.st_mtime for one in found), default=None)
        return len(found), sum(one.st_size for one in found), oldest

    def path(self, name: str) -> Path:
        """Where the bundle of that digest lies; NotFound if it does not.

        One that the store alone has is fetched; Unavailable if that does not answer.
        """
        path = self._folder / f"{name}.zip"
        is_name = _DIGEST.fullmatch(name) is not None
        if is_name and self._url and not path.is_file():
            with disk_errors(path):
                self._folder.mkdir(parents=True, exist_ok=True)
                with replacing(path) as draft:
                    bundle_store.get(self._url, name, draft)
        if not is_name or not path.is_file():
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

    def part(self, name: str, start: int, most: int) -> tuple[int, bytes]:
        """The size of a bundle's file, and at most ``most`` bytes of it from ``start`` on."""
        with self.path(name).open("rb") as file:
            file.seek(start)
            return os.fstat(file.fileno()).st_size, file.read(most)

    def read(self, name: str, member: str) -> bytes | None:
        """One file of a bundle, None if the bundle has no such file."""
        with zipfile.ZipFile(self.path(name)) as archive:
            try:
                return archive.read(f"{ROOT}/{member}")
            except KeyError:
                return None


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
