"""Files of graphs in ConfigMaps, as far as they fit."""

from __future__ import annotations

import base64
import io
import re
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from anabranch.client.bundle.packing import ROOT
from anabranch.client.prepared import PreparedBundle
from anabranch.components.artefacts.bundled import MANIFEST
from anabranch.errors import TooLarge
from anabranch.specs.loader import parse
from anabranch.specs.shared.document import is_model
from anabranch.specs.units import Size

MOST_BYTES = 2**20
"""Most bytes of a ConfigMap's values, by Kubernetes' API server."""
_NO_KEY = re.compile(r"[^-._a-zA-Z0-9]")


@dataclass(frozen=True)
class GraphFolder:
    """The files of a graph by their path beside the spec, of which ``spec`` is one."""

    graph: str
    spec: str
    files: Mapping[str, bytes]
    is_model: bool = False
    """Whether the spec is the document of a shared model."""

    @classmethod
    def of(cls, prepared: PreparedBundle, spec: str) -> GraphFolder:
        """Return the files that the bundle of a graph holds."""
        with zipfile.ZipFile(io.BytesIO(prepared.bundle.data)) as archive:
            names = [one.removeprefix(f"{ROOT}/") for one in archive.namelist()]
            files = {name: archive.read(f"{ROOT}/{name}") for name in names if name != MANIFEST}
        return cls(prepared.graph, spec, files, is_model(parse(files[spec]).data))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(map(len, self.files.values()))


def config_data(folder: GraphFolder) -> dict[str, dict[str, str]]:
    """Return ``data`` and ``binaryData`` of a ConfigMap; keys say where the files lie.

    Raise TooLarge where they do not fit.
    """
    if folder.size > MOST_BYTES:
        raise TooLarge(
            f"the files of graph {folder.graph!r} have {folder.size:,} bytes, and a ConfigMap"
            f" holds at most {Size(MOST_BYTES)}: write a layer of the image with --layer, give"
            " models by URI, or leave files out by .anabranchignore"
        )
    found: dict[str, dict[str, str]] = {"data": {}, "binaryData": {}}
    for key, name in _keys(folder).items():
        kind, text = _value(folder.files[name])
        found[kind][key] = text
    return {kind: values for kind, values in found.items() if values}


def volume(folder: GraphFolder, config_map: str) -> dict[str, Any]:
    """Return the source of a volume that has the files of a ConfigMap at their paths."""
    items = [{"key": key, "path": name} for key, name in _keys(folder).items()]
    return {"configMap": {"name": config_map, "items": items}}


def _keys(folder: GraphFolder) -> dict[str, str]:
    """Return the paths of files by keys, which take fewer characters and no folders."""
    return {
        f"{at:03}-{_NO_KEY.sub('_', name)}"[:253]: name
        for at, name in enumerate(sorted(folder.files))
    }


def _value(content: bytes) -> tuple[str, str]:
    with suppress(UnicodeDecodeError):
        text = content.decode()
        if "\0" not in text:
            return "data", text
    return "binaryData", base64.b64encode(content).decode()
