"""From a URI to a path in the cache: download once for each machine, verify, unpack."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from anabranch.components.artefacts.archives import unpack
from anabranch.components.artefacts.bundled import BundledArtefact, only_folder
from anabranch.components.artefacts.cache import CONTENT, Cache, Meta
from anabranch.components.artefacts.digests import file_digest, path_digest
from anabranch.components.artefacts.download import Download, Refused
from anabranch.components.artefacts.pins import Pinned, pinned
from anabranch.components.artefacts.progress import TransferProgress
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.artefacts.sources import ArtefactSource, TransferInterrupted, open_source
from anabranch.components.artefacts.uris import filename, is_archive, is_mlflow, redacted
from anabranch.errors import ArtefactError

logger = logging.getLogger("anabranch.artefacts")

_PAUSES_S = (0.5, 2.0, 8.0)
"""Waits before each further try."""
_UNMARKED_S = 600
"""For so long a file whose store gives no mark is taken for unchanged."""
_MOVED_ON = (
    "it has changed since this revision was made, and this machine has no copy of what it was; "
    "deploy again"
)
BUNDLE_PREFIX = "bundle-"
"""Begin of the keys of bundles."""

T = TypeVar("T")


def fetched(uri: str, sha256: str | None, settings: ArtefactSettings) -> Path:
    """Return the local path of what ``uri`` means, a file or a folder; downloads what is missing.

    With ``sha256``, or a pin of this revision, nothing is asked of the store where the cache has
    it. Raises ArtefactError, also where the store has something else than what is pinned.
    """
    pin = pinned(uri, settings)
    wanted = _Wanted(pin if sha256 is None else replace(pin, sha256=sha256, mark=None), settings)
    try:
        return wanted.fetched()
    except Refused:
        if pin.sha256 is not None and sha256 is None:
            raise ArtefactError(_MOVED_ON) from None
        raise


def downloaded(uri: str, sha256: str | None, settings: ArtefactSettings, folder: Path) -> Path:
    """Download what ``uri`` means into the new folder ``folder``, as it comes, past the cache.

    Return the file, an archive too, or the folder. Raises ArtefactError.
    """
    deadline = time.monotonic() + settings.timeout
    folder.mkdir(mode=0o700)

    def path() -> Path:
        source = open_source(uri, settings)
        shown = redacted(uri)
        Download(source, folder, shown, settings, lambda size: None, deadline).run(sha256)
        content = folder / CONTENT
        return content if source.is_folder else next(content.iterdir())

    return _retried(path, deadline)


def fetched_bundle(
    digest: str, opened: Callable[[], ArtefactSource], settings: ArtefactSettings
) -> Path:
    """Return the folder of the bundle with that digest; fetches it where the cache lacks it.

    ``opened`` gives its source: a file ``<digest>.zip`` with all of it in one folder. Raises
    ArtefactError, also where what came has another digest; nothing of that is kept.
    """
    return _WantedBundle(digest, opened, settings).fetched()


def fetched_artefact(
    artefact: BundledArtefact,
    opened: Callable[[BundledArtefact], ArtefactSource],
    settings: ArtefactSettings,
) -> Path:
    """Return the local path of what a bundle has brought along; fetches what the cache lacks.

    ``opened`` gives its source, a file of the name ``artefact.blob``. Raises ArtefactError, also
    where what came has another digest; nothing of that is kept.
    """
    return _WantedArtefact(artefact, opened, settings).fetched()


def bundle_key(digest: str) -> str:
    """Return the key of the cache's entry with the bundle of that digest."""
    return f"{BUNDLE_PREFIX}{digest}"


def unpacked(archive: Path, settings: ArtefactSettings) -> Path:
    """Return the folder of what is in an archive on this machine; ArtefactError if it is unsafe."""
    cache = Cache(settings.cache, settings.cache_size)

    def fill(partial: Path) -> Meta:
        _clear(partial)
        unpack(archive, partial / CONTENT, settings.max_size, cache.make_room)
        return {"origin": archive.name, "shape": "archive"}

    key = _key("unpacked", archive.name, file_digest(archive))
    return _root(*cache.obtain(key, fill, time.monotonic() + settings.timeout))


def _retried(work: Callable[[], T], deadline: float) -> T:
    """Try again after what may pass, a few times, for as long as there is time."""
    for pause in (*_PAUSES_S, None):
        try:
            return work()
        except TransferInterrupted as error:
            if pause is None or time.monotonic() + pause > deadline:
                raise ArtefactError(f"cannot be fetched: {error}") from None
            logger.warning("a download broke off, trying again in %gs: %s", pause, error)
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")


class _Wanted:
    """One artefact and the time that there is for it."""

    def __init__(
        self,
        pin: Pinned,
        settings: ArtefactSettings,
        opened: Callable[[], ArtefactSource] | None = None,
    ) -> None:
        self._uri, self._sha256, self._mark = pin.uri, pin.sha256, pin.mark
        self._settings = settings
        self._opened = opened or partial(open_source, pin.uri, settings)
        self._name = filename(pin.uri)
        self._cache = Cache(settings.cache, settings.cache_size)
        self._deadline = time.monotonic() + settings.timeout

    def fetched(self) -> Path:
        """Return its local path, after some tries if need be; ArtefactError in vain."""
        return _retried(self.path, self._deadline)

    def path(self) -> Path:
        """Return its local path. Raises Interrupted where another try may help."""
        if self._sha256 is not None:
            return self._obtained(_key("sha256", self._name, self._sha256), self._opened)
        if self._mark is not None:
            return self._obtained(_key("marked", self._origin(), self._mark), self._as_marked)
        source = self._opened()
        now = f"{source.size} {int(time.time() // _UNMARKED_S)}"
        key = _key("marked", self._origin(), source.fingerprint or now)
        return self._obtained(key, lambda: source)

    def _as_marked(self) -> ArtefactSource:
        """Open what the revision means, which may have moved on."""
        source = self._opened()
        if source.fingerprint != self._mark:
            raise ArtefactError(_MOVED_ON)
        return source

    def _obtained(self, key: str, opened: Callable[[], ArtefactSource]) -> Path:
        waiting = TransferProgress(redacted(self._uri), None).waiting
        found = self._cache.obtain(
            key, lambda partial: self._fill(partial, opened()), self._deadline, waiting
        )
        return _root(*found)

    def _origin(self) -> str:
        """Return what tells a reference from the same words elsewhere."""
        return f"{self._settings.tracking} {self._uri}" if is_mlflow(self._uri) else self._uri

    def _fill(self, partial: Path, source: ArtefactSource) -> Meta:
        """Download; starts over where what an earlier try left does not fit."""
        first = self._download(source, partial)
        try:
            first.run(self._sha256)
        except Refused:
            _clear(partial)
            if not first.resumed:
                raise
            self._download(source, partial).run(self._sha256)
        return {"origin": redacted(self._uri), "shape": self._shaped(partial, source)}

    def _download(self, source: ArtefactSource, partial: Path) -> Download:
        return Download(
            source, partial, redacted(self._uri), self._settings, self._cache.make_room,
            self._deadline,
        )  # fmt: skip

    def _shaped(self, partial: Path, source: ArtefactSource) -> str:
        """Unpack an archive; returns what the content is."""
        if source.is_folder or not is_archive(self._name):
            return "folder" if source.is_folder else "file"
        archive = partial / self._name
        (partial / CONTENT / self._name).rename(archive)
        shutil.rmtree(partial / CONTENT)  # where this was cut short it is not empty
        try:
            unpack(archive, partial / CONTENT, self._settings.max_size, self._cache.make_room)
        except ArtefactError:
            _clear(partial)
            raise
        return "archive"


class _WantedBundle(_Wanted):
    """A bundle: its digest is that of its content, whoever packed it and however."""

    def __init__(
        self, digest: str, opened: Callable[[], ArtefactSource], settings: ArtefactSettings
    ) -> None:
        super().__init__(Pinned(f"{digest}.zip"), settings, opened)
        self._digest = digest

    def path(self) -> Path:
        """Return its local path. Raises Interrupted where another try may help."""
        return self._obtained(bundle_key(self._digest), self._opened)

    def _shaped(self, partial: Path, source: ArtefactSource) -> str:
        shape, content = super()._shaped(partial, source), partial / CONTENT
        if (found := path_digest(_root(content, {"shape": shape}))) != self._digest:
            _clear(partial)
            raise ArtefactError(f"what came has the digest {found}, and was thrown away")
        return shape


class _WantedArtefact(_Wanted):
    """An artefact of a bundle, by the digest of the one file that holds it."""

    def __init__(
        self,
        artefact: BundledArtefact,
        opened: Callable[[BundledArtefact], ArtefactSource],
        settings: ArtefactSettings,
    ) -> None:
        pin = Pinned(artefact.blob, artefact.sha256)
        super().__init__(pin, settings, partial(opened, artefact))
        self._name, self._artefact = artefact.blob, artefact

    def path(self) -> Path:
        """Return its local path. Raises Interrupted where another try may help."""
        one = self._artefact
        key = _key("artefact", one.name, one.sha256, str(one.folder))
        return self._obtained(key, self._opened)

    def _shaped(self, partial: Path, source: ArtefactSource) -> str:
        shape = super()._shaped(partial, source)
        return "folder" if self._artefact.folder else shape


def _clear(partial: Path) -> None:
    shutil.rmtree(partial)
    partial.mkdir()


def _root(content: Path, meta: Meta) -> Path:
    """Return the file, the folder, or of an archive with one folder at its top that folder."""
    if meta["shape"] == "file":
        (only,) = content.iterdir()
        return only
    return content if meta["shape"] == "folder" else only_folder(content)


def _key(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
