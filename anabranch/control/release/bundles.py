"""Bundles that an engine receives: checked, unpacked and kept under the digest of their content.

``client.bundle.packing`` makes them and says what they hold; one that holds a secret is refused.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import PurePosixPath

from anabranch.client.bundle.packing import ROOT, digest, zipped
from anabranch.client.bundle.secrets import HEAD, is_home, secret
from anabranch.components.artefacts import bundle_store
from anabranch.control.release.digest_store import DigestStore
from anabranch.errors import InvalidRequest
from anabranch.files import disk_errors, replace_file

REQUIREMENTS = "requirements.txt"


class BundleStore(DigestStore):
    """Bundles by the digest of their files: ``<digest>.zip`` each."""

    suffix = bundle_store.BUNDLE
    what = "bundle"

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
            bundle_store.put(self._url, path.name, path)
        return name

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
