"""The models that bundles have brought along, where an engine keeps them: ``<sha256>.blob`` each.

On the engine's machine they lie beside its bundles. Elsewhere the process says once how it reaches
them (``reach_blobs``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from anabranch.components.artefacts.bundled import BundledArtefact
from anabranch.components.artefacts.kept.bundle_store import BLOB
from anabranch.components.artefacts.local import reader
from anabranch.components.artefacts.sources import ArtefactSource, RemoteFile
from anabranch.environment import Environment
from anabranch.errors import ArtefactError

_reached: list[Callable[[BundledArtefact], ArtefactSource]] = []


def reach_blobs(opened: Callable[[BundledArtefact], ArtefactSource]) -> None:
    """Have this process open by ``opened`` what does not lie on its machine."""
    _reached[:] = [opened]


def blob_folder(home: Path) -> Path:
    """Return the folder of the blobs of the engine with that home."""
    return home / "bundles"


def open_blob(artefact: BundledArtefact) -> ArtefactSource:
    """Return the source of an artefact, one file named ``artefact.blob``.

    Raises ArtefactError where neither this machine nor another is known to have it.
    """
    path = blob_folder(Environment(os.environ).home) / f"{artefact.sha256}{BLOB}"
    if path.is_file():
        file = RemoteFile(artefact.blob, path.stat().st_size, artefact.sha256)
        return ArtefactSource([file], reader({file.path: path}), local=path)
    for opened in _reached:
        return opened(artefact)
    raise ArtefactError(
        f"the bundle pins it by sha256 {artefact.sha256}, and it is neither beside the spec nor in "
        f"{path.parent}"
    )
