"""Image layouts as a runtime reads them: verified, and unpacked layer over layer."""

from __future__ import annotations

import gzip
import json
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any


def blob(layout: Path, descriptor: dict[str, Any]) -> bytes:
    """The content of a blob, which is what its descriptor says."""
    data = (layout / "blobs/sha256" / descriptor["digest"].removeprefix("sha256:")).read_bytes()
    assert f"sha256:{sha256(data).hexdigest()}" == descriptor["digest"]
    assert len(data) == descriptor["size"]
    return data


def image(layout: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The entry of the index, the manifest and the config of a layout with one image."""
    assert json.loads((layout / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
    manifest = json.loads(blob(layout, entry))
    config = json.loads(blob(layout, manifest["config"]))
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    plain = [gzip.decompress(blob(layout, layer)) for layer in manifest["layers"]]
    digests = [f"sha256:{sha256(data).hexdigest()}" for data in plain]
    assert config["rootfs"] == {"type": "layers", "diff_ids": digests}
    assert len(config["history"]) == len(digests)
    return entry, manifest, config


def unpack(layout: Path, root: Path) -> dict[str, Any]:
    """Unpack the layers of an image into a folder; what its config has a container run."""
    _, manifest, config = image(layout)
    root.mkdir()
    for layer in manifest["layers"]:
        path = layout / "blobs/sha256" / layer["digest"].removeprefix("sha256:")
        with tarfile.open(path) as tar:
            tar.extractall(root, filter="fully_trusted")
    running: dict[str, Any] = config["config"]
    return running
