"""Portable bundles as they are put together, of parts that are there."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from anabranch.client.bundle.packing import zipped
from anabranch.client.portable import archive
from anabranch.client.portable.archive import Source
from anabranch.client.portable.bundle import BundleManifest, PortableBundle
from anabranch.client.portable.formats import (
    BUNDLE_TYPE,
    CODE_TYPE,
    CONFIG_TYPE,
    EMPTY,
    FILE_TYPE,
    FOLDER_TYPE,
    TITLE,
    VERSION,
    Descriptor,
    ImageManifest,
    canonical,
    digest_of,
)
from anabranch.components.artefacts.bundled import MANIFEST, BundledArtefact
from anabranch.components.artefacts.digests import file_digest, files_of


@dataclass(frozen=True)
class BundleDraft:
    """A bundle with what refers to it, and its blobs by digest, that is in no file yet."""

    bundle: ImageManifest
    blobs: Mapping[str, Source]
    referrers: Sequence[ImageManifest] = ()

    def with_referrer(self, type: str, layers: Sequence[tuple[str, bytes]]) -> BundleDraft:
        """Return the bundle with a manifest that refers to it; ``layers`` are types and blobs."""
        described = [Descriptor.of(content, kind) for kind, content in layers]
        referrer = ImageManifest.make(type, described, subject=self.bundle.descriptor)
        if referrer in self.referrers:
            return self
        blobs = {digest_of(content): content for content in (EMPTY, *(one for _, one in layers))}
        return replace(self, blobs={**self.blobs, **blobs}, referrers=[*self.referrers, referrer])

    @classmethod
    def of(cls, bundle: PortableBundle) -> BundleDraft:
        """Return the bundle in a file, to which something is to be added."""
        found = bundle.contents
        blobs = {digest: bundle.blob(digest) for digest in found.spans}
        return cls(found.bundle, blobs, found.referrers)

    def content(self, one: Descriptor) -> bytes:
        """Return a blob."""
        return archive.content_of(self.blobs[one.digest])

    def write(self, target: Path) -> None:
        """Write the bundle's file; raises what ``archive.write`` does."""
        archive.write(target, self.bundle, self.referrers, self.blobs)


@dataclass(frozen=True)
class Artefacts:
    """Models of a graph by URI, with the files that hold them by digest."""

    by_uri: Mapping[str, BundledArtefact] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)


def artefact_of(path: Path, packed: Path, name: str = "") -> tuple[BundledArtefact, Path]:
    """Describe a file, or a folder that is packed into the new file ``packed``, by its name."""
    is_folder = path.is_dir()
    if is_folder:
        pack_folder(path, packed)
    file = packed if is_folder else path
    name = name or path.name
    return BundledArtefact(name, file_digest(file), file.stat().st_size, is_folder), file


def pack_folder(folder: Path, target: Path) -> None:
    """Write the files of a folder as a tar; the same names and bytes give the same tar."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as packed:
        for name in sorted(files_of(folder)):
            info = tarfile.TarInfo(name)
            with (folder / name).open("rb") as file:
                info.size, info.mode = (folder / name).stat().st_size, 0o644
                packed.addfile(info, file)


def with_manifest(files: Mapping[str, bytes], spec: str, artefacts: Artefacts) -> dict[str, bytes]:
    """Return the files of a bundle with the manifest that pins its models.

    Without models by URI it is what ``packing.pack`` makes of the same files.
    """
    found: dict[str, object] = {"spec": spec}
    if artefacts.by_uri:
        pinned = sorted(artefacts.by_uri.items())
        found["artefacts"] = {uri: one.to_json() for uri, one in pinned}
    return {**files, MANIFEST: json.dumps(found).encode()}


def assemble(
    files: Mapping[str, bytes],
    manifest: BundleManifest,
    artefacts: Artefacts,
    documents: Mapping[str, bytes],
) -> BundleDraft:
    """Put a bundle together; the same parts give the same digest.

    ``files`` are those of ``with_manifest``, ``documents`` have more layers by their media type.
    """
    code = zipped(files, compressed=False)
    config = canonical(manifest.to_json())
    blobs: dict[str, Source] = {digest_of(one): one for one in (code, config)}
    layers = [Descriptor.of(code, CODE_TYPE, **{TITLE: f"{manifest.graph}.zip"})]
    for one in {one.sha256: one for one in artefacts.by_uri.values()}.values():
        kind = FOLDER_TYPE if one.folder else FILE_TYPE
        layers.append(Descriptor(kind, f"sha256:{one.sha256}", one.size, {TITLE: one.blob}))
        blobs[f"sha256:{one.sha256}"] = artefacts.files[one.sha256]
    for kind, content in documents.items():
        layers.append(Descriptor.of(content, kind))
        blobs[digest_of(content)] = content
    first, *others = layers
    return BundleDraft(
        ImageManifest.make(
            BUNDLE_TYPE,
            [first, *sorted(others, key=lambda one: (one.type, one.digest))],
            Descriptor.of(config, CONFIG_TYPE),
            annotations={TITLE: manifest.graph} | _version(manifest.version),
        ),
        blobs,
    )


def _version(version: str) -> dict[str, str]:
    return {VERSION: version} if version else {}
