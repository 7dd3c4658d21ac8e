"""Models by URI that a portable bundle has brought along, and where they lie then.

The manifest of a bundle, ``anabranch.json``, pins them::

    {"spec": "graph.yaml", "artefacts": {
        "https://host/fruit.onnx": {"name": "fruit.onnx", "sha256": "…", "size": 812}}}

A pinned URI is never fetched. Its blob is one file, of a folder a tar; it lies unpacked in
``anabranch.artefacts/<sha256>/<name>`` beside the manifest where the bundle was unpacked as a
whole, else the engine has it: in its home, or where ``reach_blobs`` has said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from anabranch.components.artefacts.uris import is_archive, is_inner, split
from anabranch.errors import ArtefactError

MANIFEST = "anabranch.json"
"""File of a bundle that names its spec, and pins its models by URI."""
FOLDER = "anabranch.artefacts"
"""Folder beside the manifest that holds what it pins."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class BundledArtefact:
    """A file, or a folder that was packed as a tar, by the SHA-256 of that one file."""

    name: str
    """Name of the file or folder that a runtime is given."""
    sha256: str
    size: int
    """Bytes of the file, or of the tar."""
    folder: bool = False

    @property
    def blob(self) -> str:
        """Name of the one file that holds it."""
        return f"{self.name}.tar" if self.folder else self.name

    @property
    def is_packed(self) -> bool:
        """Whether the file is unpacked before a runtime gets it."""
        return is_archive(self.blob)

    def to_json(self) -> dict[str, Any]:
        """Return the artefact as a manifest has it."""
        return {**asdict(self)}


def artefacts_in(manifest: bytes) -> Mapping[str, BundledArtefact]:
    """Return the artefacts that a manifest pins, by URI; ArtefactError where it is malformed."""
    try:
        found = json.loads(manifest).get("artefacts", {})
        return {str(uri): _artefact(**fields) for uri, fields in found.items()}
    except (AttributeError, RecursionError, TypeError, ValueError) as error:
        raise ArtefactError(f"{MANIFEST} does not pin artefacts as it must: {error}") from None


def _artefact(name: str, sha256: str, size: int, folder: bool = False) -> BundledArtefact:
    if not (isinstance(name, str) and is_inner(name) and "/" not in name):
        raise ValueError(f"{name!r} is no name of a file")
    if not (isinstance(sha256, str) and _DIGEST.fullmatch(sha256)):
        raise ValueError(f"{sha256!r} is no SHA-256")
    if not (type(size) is int and size >= 0 and type(folder) is bool):
        raise ValueError(f"{name!r} has no size, or `folder` is neither true nor false")
    return BundledArtefact(name, sha256, size, folder)


def bundled(uri: str, root: Path) -> BundledArtefact | None:
    """Return what the bundle in the folder ``root`` has brought along for a URI, if anything."""
    try:
        manifest = (root / MANIFEST).read_bytes()
    except OSError:
        return None
    return artefacts_in(manifest).get(split(uri)[0])


def place_beside(artefact: BundledArtefact, root: Path) -> Path:
    """Return the place of an artefact in the folder of a bundle that was unpacked as a whole.

    What comes packed is a folder there.
    """
    return root / FOLDER / artefact.sha256 / artefact.name


def beside(artefact: BundledArtefact, root: Path) -> Path | None:
    """Return what a runtime gets of an artefact that lies beside the manifest; None elsewhere."""
    place = place_beside(artefact, root)
    if not place.exists():
        return None
    return only_folder(place) if artefact.is_packed and not artefact.folder else place


def only_folder(folder: Path) -> Path:
    """Return the one folder at the top of what was in an archive, or else ``folder`` itself."""
    entries = list(folder.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder
