"""Bundles that an engine receives: checked, unpacked and kept under the digest of their content.

``client.bundle.packing`` makes them and says what they hold; one that holds a secret is refused.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath

from anabranch.client.bundle.packing import ROOT, digest, zipped
from anabranch.client.bundle.secrets import HEAD, is_home, secret
from anabranch.components.artefacts.bundled import MANIFEST, BundledArtefact, artefacts_in
from anabranch.components.artefacts.kept import bundle_store
from anabranch.control.release.blobs import BlobStore
from anabranch.control.release.digest_store import DigestStore
from anabranch.errors import ArtefactError, InvalidRequest, NotFound
from anabranch.files import disk_errors, replace_file

REQUIREMENTS = "requirements.txt"
_KEPT = 10_000
"""Manifests that are kept in memory."""


class BundleStore(DigestStore):
    """Bundles by the digest of their files: ``<digest>.zip`` each."""

    suffix = bundle_store.BUNDLE
    what = "bundle"

    def __init__(self, folder: Path, url: str = "") -> None:
        super().__init__(folder, url)
        self.blobs = BlobStore(folder, url)
        """The models that bundles have brought along."""
        self._pinned = lru_cache(_KEPT)(self._read_pinned)

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

    def pinned(self, digests: Iterable[str]) -> frozenset[str]:
        """Return the digests of all models that these bundles pin, as far as they are here."""
        found: set[str] = set()
        for one in digests:
            with suppress(NotFound):
                found |= self._pinned(one)
        return frozenset(found)

    def _read_pinned(self, digest: str) -> frozenset[str]:
        try:
            manifest = self.read(digest, MANIFEST) or b"{}"
            return frozenset(one.sha256 for one in artefacts_in(manifest).values())
        except (ArtefactError, zipfile.BadZipFile):  # damaged on the disk
            return frozenset()


def pinned(files: Mapping[str, bytes]) -> Mapping[str, BundledArtefact]:
    """Return what the files of a received bundle pin; InvalidRequest for a malformed manifest."""
    try:
        return artefacts_in(files.get(MANIFEST, b"{}"))
    except ArtefactError as error:
        raise InvalidRequest(str(error)) from None


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
