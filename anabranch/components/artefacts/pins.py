"""Pins: what a reference to a model meant when its revision was made, so that replicas load that.

A pin is text. Of MLflow's registry it is the version, such as ``models:/m/3``; of a file in a store
``mark:`` and the fingerprint of what the store lists (ETags, sizes, times of change); of a file on
a machine, or in a store that gives no marks, ``sha256:`` and its digest.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from anabranch.components.artefacts.digests import folder_digest
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.artefacts.sources import (
    ArtefactSource,
    RemoteFile,
    TransferInterrupted,
    open_source,
)
from anabranch.components.artefacts.uris import is_movable, scheme

_MARK, _DIGEST = "mark:", "sha256:"
_SHOWN = 12
_KEPT = 256
"""Digests that are kept in memory."""
_digests: dict[tuple[str, str | None], str] = {}
"""Digests of files on this machine, by reference and fingerprint: reading all takes its time."""


@dataclass(frozen=True)
class Pinned:
    """A reference as a replica fetches it: where from, and what it must be; None for anything."""

    uri: str
    sha256: str | None = None
    mark: str | None = None


def pinned(uri: str, settings: ArtefactSettings) -> Pinned:
    """Return what a revision's replicas fetch for a reference, which may have no pin."""
    pin = settings.pins.get(uri, uri)
    if pin.startswith(_MARK):
        return Pinned(uri, mark=pin.removeprefix(_MARK))
    if pin.startswith(_DIGEST):
        return Pinned(uri, sha256=pin.removeprefix(_DIGEST))
    return Pinned(pin)


def pin_now(reference: str, settings: ArtefactSettings) -> str:
    """Return the pin of what a reference means now. Blocks, and reads all where there is no mark.

    ArtefactError where that cannot be said, TransferInterrupted where it may be said later.
    """
    if is_movable(reference):
        from anabranch.components.artefacts.mlflow.versions import resolve

        return resolve(reference, settings)
    source = open_source(reference, settings)
    if scheme(reference) == "file":
        return _DIGEST + _digest_on_disk(reference, source)
    mark = source.fingerprint
    return _DIGEST + _digest(source) if mark is None else _MARK + mark


def shown_pin(pin: str) -> str:
    """Return a pin for people: the version alone, or the first digits of a mark or digest."""
    kind, _, digits = pin.partition(":")
    return digits[:_SHOWN] if f"{kind}:" in (_MARK, _DIGEST) else pin.rpartition("/")[2]


def _digest_on_disk(reference: str, source: ArtefactSource) -> str:
    """Return the digest of files on this machine, which are read where one of them has changed."""
    key = (reference, source.fingerprint)
    if key not in _digests:
        found = _digest(source)
        for old in list(_digests)[: max(0, len(_digests) - _KEPT + 1)]:
            _digests.pop(old, None)
        _digests[key] = found
    return _digests[key]


def _digest(source: ArtefactSource) -> str:
    """Return the digest of all files of a source, or of its only file; reads all of them."""
    digests = {file.path: _file_digest(source, file) for file in source.files}
    return folder_digest(digests) if source.is_folder else next(iter(digests.values()))


def _file_digest(source: ArtefactSource, file: RemoteFile) -> str:
    total, size = hashlib.sha256(), 0
    with source.read(file, 0) as stream:
        for chunk in stream.chunks:
            total.update(chunk)
            size += len(chunk)
    if file.size is not None and size != file.size:
        raise TransferInterrupted(f"it changed meanwhile: {size} bytes came instead of {file.size}")
    return total.hexdigest()
