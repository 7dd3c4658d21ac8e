"""Engines that TensorRT has built of a model: that takes minutes, so the machine keeps them.

ONNX Runtime names an engine by the graph, the GPU and its own version, and not by the weights; so
each model has folders by its content. It writes an engine in place, so each process has a folder of
its own, and one that starts later takes over that of one that has ended.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import weakref
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Self

from anabranch.components.artefacts.cache import Cache
from anabranch.components.artefacts.digests import file_digest
from anabranch.components.artefacts.settings import ArtefactSettings

_DAMAGED = "could not deserialize engine"
"""What ONNX Runtime says of an engine that its process was killed over, among others."""

_LOCATION = re.compile(rb"\n\x08location\x12([\x80-\xff]?[\x00-\x7f])")
"""A file of weights in ONNX, up to the length of its path: an entry of a map in protobuf."""


class EngineFolder:
    """A folder of engines that this process alone uses, for as long as this object is there."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        weakref.finalize(self, os.close, lock)

    @classmethod
    def of(cls, model: Path, settings: ArtefactSettings) -> Self:
        """Take the first folder of a model that no other process has."""
        cache, digest = Cache(settings.cache, settings.cache_size), _digest(model)
        claims = (cache.claim(f"tensorrt-{digest}-{slot}") for slot in itertools.count())
        return cls(*next(claim for claim in claims if claim is not None))

    def heal(self, error: Exception) -> bool:
        """Remove all engines where an error says that one is damaged; return whether any were."""
        damaged = list(self.path.iterdir()) if _DAMAGED in str(error) else []
        for file in damaged:
            file.unlink()
        return bool(damaged)


def _digest(model: Path) -> str:
    """Return a digest of a model and of the files of weights that it names in its folder."""
    with model.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        named = {_location(content, one) for one in _LOCATION.finditer(content)}
    weights = (model.parent / one for one in sorted(named) if not _leads_out(one))
    digests = " ".join(file_digest(one) for one in [model, *weights] if one.is_file())
    return hashlib.sha256(digests.encode()).hexdigest()


def _leads_out(place: Path) -> bool:
    """Return whether a path is none below the model, such as that of a file without an end."""
    return place.is_absolute() or place.parts[:1] == ("..",)


def _location(content: mmap, found: re.Match[bytes]) -> Path:
    """Return a path, relative to the folder of the model."""
    size = sum((byte & 0x7F) << 7 * at for at, byte in enumerate(found[1]))
    return Path(os.path.normpath(os.fsdecode(content[found.end() : found.end() + size])))
