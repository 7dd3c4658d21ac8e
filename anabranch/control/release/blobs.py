"""Models by URI that portable bundles have brought along, as an engine receives and keeps them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from anabranch.components.artefacts.bundled import BundledArtefact
from anabranch.components.artefacts.digests import file_digest
from anabranch.components.artefacts.kept import bundle_store
from anabranch.control.release.digest_store import DigestStore, is_digest
from anabranch.errors import InvalidRequest, NotFound, TooLarge
from anabranch.files import DRAFT, disk_errors, require_room, sync_folder


class BlobStore(DigestStore):
    """Blobs by the SHA-256 of their bytes: ``<digest>.blob`` each.

    They come in pieces, in their order, and a transfer that was cut off goes on where it was.
    """

    suffix = bundle_store.BLOB
    what = "model"

    def __init__(self, folder: Path, url: str = "") -> None:
        super().__init__(folder, url)
        self._writing = threading.Lock()

    def received(self, digest: str) -> tuple[int, bool]:
        """Return how many bytes of a blob have come, and whether it is whole."""
        self._check(digest)
        with suppress(NotFound):
            return self.path(digest).stat().st_size, True
        draft = self._draft(digest)
        return (draft.stat().st_size if draft.exists() else 0), False

    def receive(
        self, digest: str, size: int, offset: int, piece: bytes, most: int
    ) -> tuple[int, bool]:
        """Take the next piece of a blob of ``size`` bytes, and return as ``received`` does.

        A piece of another offset than the one that comes next is not taken. Raise TooLarge for a
        blob of over ``most`` bytes, StorageError where there is no room, InvalidRequest where the
        whole has another digest; nothing of that is kept.
        """
        if size > most:
            raise TooLarge(
                f"the model has {size:,} bytes, the limit is {most:,} (ANABRANCH_MAX_ARTEFACT)"
            )
        with self._writing:
            have, is_whole = self.received(digest)
            if is_whole or offset != have or have + len(piece) > size:
                return have, is_whole
            require_room(self._folder, size - have)
            self._append(digest, piece)
            if have + len(piece) < size:
                return have + len(piece), False
            self._finish(digest)
        return size, True

    def _append(self, digest: str, piece: bytes) -> None:
        draft = self._draft(digest)
        with disk_errors(draft):
            self._folder.mkdir(parents=True, exist_ok=True)
            draft.touch(mode=0o600)
            with draft.open("ab") as file:
                file.write(piece)

    def _finish(self, digest: str) -> None:
        draft = self._draft(digest)
        if (found := file_digest(draft)) != digest:
            draft.unlink()
            raise InvalidRequest(f"what came has the sha256 {found}, not {digest}; it was dropped")
        self.keep(digest, draft)

    def keep(self, digest: str, file: Path) -> None:
        """Move a file, of which the digest is known, to its place; and to the store at the URL."""
        path = self._folder / f"{digest}{self.suffix}"
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file.replace(path)
            sync_folder(path.parent)
        if self._url:
            bundle_store.put(self._url, path.name, path)

    def require(self, pinned: Mapping[str, BundledArtefact]) -> None:
        """Raise InvalidRequest unless all that a bundle pins is here; it counts as new then."""
        for uri, one in pinned.items():
            try:
                self.path(one.sha256).touch()
            except NotFound:
                raise InvalidRequest(
                    f"the bundle pins the model {uri!r} by sha256 {one.sha256}, which this engine "
                    "does not have: deploy the portable bundle that has it"
                ) from None

    def _draft(self, digest: str) -> Path:
        return self._folder / f".{digest}{self.suffix}{DRAFT}"

    def _check(self, digest: str) -> None:
        if not is_digest(digest):
            raise InvalidRequest(f"{digest[:64]!r} is not a SHA-256 in hexadecimal digits")
