"""The OCI image layout of a served graph, in a folder or a tar file: config, manifest, index.

https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md, and ``config.md`` beside
it. ``Healthcheck`` is Docker's own, which that specification reserves.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anabranch.client.image.layers import ImageLayer, entries_of, write_tar
from anabranch.client.portable.formats import (
    LAYOUT,
    REF_NAME,
    Descriptor,
    canonical,
)
from anabranch.client.registry.references import INDEX_TYPE, MANIFEST_TYPE
from anabranch.errors import InvalidRequest

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
EPOCH = "1970-01-01T00:00:00Z"
USER = 10001
"""The user and the group that the process has in a container; both are unprivileged."""
_TAG = re.compile(
    r"((?:[a-z0-9.-]+(?::[0-9]+)?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::([A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
)
"""Names of images with a tag, as OCI's distribution specification and Docker have them."""
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}

Json = dict[str, Any]


@dataclass(frozen=True)
class ImageConfig:
    """What a container of an image runs, and how; ``port`` is that of HTTP."""

    command: Sequence[str]
    port: int
    folder: str
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    health: Sequence[str] = ()


def architecture() -> str:
    """Return the name of this machine's processor, as images have it."""
    machine = platform.machine()
    return _MACHINES.get(machine, machine)


def config_document(config: ImageConfig, layers: Sequence[ImageLayer]) -> bytes:
    """Return the image's config in JSON."""
    running: Json = {
        "User": f"{USER}:{USER}",
        "ExposedPorts": {f"{config.port}/tcp": {}},
        "Env": [f"{name}={value}" for name, value in sorted(config.env.items())],
        "Entrypoint": list(config.command),
        "WorkingDir": config.folder,
        "StopSignal": "SIGTERM",
        "Labels": dict(config.labels),
        "Healthcheck": {
            "Test": ["CMD", *config.health], "Interval": 10_000_000_000, "Timeout": 5_000_000_000,
            "StartPeriod": 30_000_000_000, "Retries": 3,
        },
    }  # fmt: skip
    return canonical(
        {
            "created": EPOCH,
            "architecture": architecture(),
            "os": "linux",
            "config": running,
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            "history": [{"created": EPOCH, "created_by": layer.about} for layer in layers],
        }
    )


def write_layout(
    folder: Path, config: bytes, layers: Sequence[ImageLayer], tag: str, labels: Mapping[str, str]
) -> Descriptor:
    """Complete a layout whose ``blobs/sha256`` has the layers; return the manifest's descriptor."""
    manifest = canonical(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _blob(folder, config, CONFIG_TYPE).to_json(),
            "layers": [layer.blob.to_json() for layer in layers],
            "annotations": dict(labels),
        }
    )
    found = _blob(folder, manifest, MANIFEST_TYPE)
    platform_of = {"architecture": architecture(), "os": "linux"}
    entry = {**found.to_json(), "platform": platform_of, "annotations": {REF_NAME: tag}}
    document = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]}
    (folder / "index.json").write_bytes(canonical(document))
    (folder / "oci-layout").write_bytes(LAYOUT)
    return found


def blobs_of(folder: Path) -> Path:
    """Return the folder of a layout's blobs, which is made where it is missing."""
    found = folder / "blobs" / "sha256"
    found.mkdir(parents=True, exist_ok=True)
    return found


def _blob(folder: Path, content: bytes, type: str) -> Descriptor:
    found = Descriptor.of(content, type)
    (blobs_of(folder) / found.sha256).write_bytes(content)
    return found


def pack_layout(folder: Path, target: Path) -> None:
    """Write a layout as a tar file, as ``podman load`` and ``skopeo copy oci-archive:`` take it."""
    files = {
        path: content
        for path, content in entries_of(folder, "").items()
        if isinstance(content, Path)
    }
    with target.open("wb") as file:
        write_tar(file, files)


def checked_tag(tag: str) -> str:
    """Return a tag such as ``digits:1.2.0``; InvalidRequest for what no tool would take."""
    found = _TAG.fullmatch(tag)
    if found is None:
        raise InvalidRequest(f"{tag!r} is no name of an image such as digits:1.2.0")
    return f"{found[1]}:{found[2] or 'latest'}"


def read_json(path: Path) -> Json:
    """Return a document of a layout; InvalidRequest where there is none."""
    try:
        found: Json = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{path} is no document of an OCI image layout: {error}") from None
    return found
