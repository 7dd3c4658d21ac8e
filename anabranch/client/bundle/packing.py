"""Packs a spec and the files beside it into a bundle: one zip whose digest names its content.

The digest covers names and bytes, not times, modes or compression, so the same files give the
same digest anywhere. Everything lies under one folder of the zip, which Ray strips on unpacking;
``anabranch.json`` in it says which file is the spec.

What of the folder is left out, ``folder.survey`` says.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from anabranch.client.bundle.folder import IGNORE_FILE, LeftOut, survey
from anabranch.components.artefacts.bundled import MANIFEST
from anabranch.environment import Environment
from anabranch.errors import InvalidRequest, TooLarge
from anabranch.specs.units import Size, read_bytes

ROOT = "bundle"
"""The folder that holds everything inside the zip."""
MAX_BYTES = 2**30
"""Largest bundle unless ``ANABRANCH_MAX_BUNDLE`` says otherwise, in bytes."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


def max_bytes(variables: Mapping[str, str] = os.environ) -> int:
    """Return the largest size of a bundle, in bytes: ``ANABRANCH_MAX_BUNDLE``, else MAX_BYTES."""
    return int(read_bytes(Environment(variables), "ANABRANCH_MAX_BUNDLE", MAX_BYTES))


@dataclass(frozen=True)
class Bundle:
    """A packed bundle: the zip's bytes and the digest of its content."""

    data: bytes
    digest: str
    sizes: Mapping[str, int]
    """Bytes of each file of the folder, by its path in the bundle."""
    left_out: Mapping[str, LeftOut]
    """Files and folders that were left out, by their path in the folder."""


def pack(spec: Path, max_size: int, home: Path | None = None, text: str | None = None) -> Bundle:
    """Pack ``spec`` and the files beside it, without the engine's ``home`` and other secrets.

    ``text`` stands for the content of ``spec``, which need not be there then. Raises TooLarge if
    the files are over ``max_size`` bytes or too many, and InvalidRequest where the folder is the
    home of an engine or leaves ``spec`` itself out.
    """
    root = spec.parent.resolve()
    found = survey(root, home)
    files = dict(_contents(root, found.files, max_size))
    if text is not None:
        files[spec.name] = text.encode()
    elif (left_out := found.why_not(spec.name)) is not None:
        raise InvalidRequest(
            f"the spec {spec.name!r} is not in its own bundle: {left_out.reason}; rename it, or "
            f"change its content or {IGNORE_FILE}"
        )
    sizes = {name: len(content) for name, content in files.items()}
    files[MANIFEST] = json.dumps({"spec": spec.name}).encode()
    return Bundle(zipped(files), digest(files), sizes, found.left_out)


def digest(files: Mapping[str, bytes]) -> str:
    """SHA-256 over names and contents, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(files):
        content = hashlib.sha256(files[name]).hexdigest()
        total.update(f"{len(name.encode())}:{name}:{content}\n".encode())
    return total.hexdigest()


def zipped(files: Mapping[str, bytes], *, compressed: bool = True) -> bytes:
    """Return files as the zip of a bundle; the same files give the same bytes.

    Compressed ones do so with one version of zlib only.
    """
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method, compresslevel=1) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(f"{ROOT}/{name}", _EPOCH)
            info.compress_type = method
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, files[name])
    return buffer.getvalue()


def too_large(limit: int) -> TooLarge:
    """Return the error for a bundle of over ``limit`` bytes."""
    return TooLarge(
        f"the bundle is over the limit of {Size(limit)}; leave files out by {IGNORE_FILE}"
    )


def _contents(root: Path, names: Sequence[str], max_size: int) -> Iterator[tuple[str, bytes]]:
    left = max_size
    for name in names:
        path = root / name
        try:
            left -= path.stat().st_size
            if left < 0:
                raise too_large(max_size)
            content = path.read_bytes()
        except FileNotFoundError:  # an editor's, that was there for a moment
            continue
        yield name, content
