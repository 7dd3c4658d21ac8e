"""Portable bundles as they are read: verified as a whole before anything of them is used."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from anabranch.client.bundle.packing import Bundle, digest, max_bytes
from anabranch.client.bundle.unpacking import spec_name, unpack, write_files
from anabranch.client.portable import archive
from anabranch.client.portable.archive import Contents, Region
from anabranch.client.portable.formats import (
    BUNDLE_TYPE,
    CODE_TYPE,
    CONFIG_TYPE,
    SBOM_TYPE,
    Descriptor,
    canonical,
)
from anabranch.components.artefacts import archives
from anabranch.components.artefacts.bundled import (
    MANIFEST,
    BundledArtefact,
    artefacts_in,
    place_beside,
)
from anabranch.errors import AnabranchError, ArtefactError, InvalidRequest
from anabranch.files import disk_errors

SUFFIX = ".bundle"
"""End of the names of portable bundles."""
_UNLIMITED = 2**62


@dataclass(frozen=True)
class BundleManifest:
    """What a portable bundle is; the config of its OCI manifest."""

    graph: str
    spec: str
    """Path of the spec among its files."""
    code: str
    """Digest of its files, by which an engine knows the bundle: 64 hexadecimal digits."""
    artefacts: Mapping[str, BundledArtefact]
    """Models that it has brought along, by URI."""
    anabranch: str
    """Version of the anabranch that has built it."""
    language: str
    """``apiVersion`` of the spec."""
    version: str = ""
    """Version that its builder has given it."""
    shared: tuple[str, ...] = ()
    """Shared models that it uses, such as ``shared://name``, which an engine must have."""

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as a JSON object."""
        artefacts = {uri: one.to_json() for uri, one in self.artefacts.items()}
        found = {**vars(self), "artefacts": artefacts}
        del found["shared"]
        return found | ({"shared": list(self.shared)} if self.shared else {})

    @classmethod
    def read(cls, content: bytes) -> BundleManifest:
        """Read a manifest; InvalidRequest for what is none."""
        try:
            found = json.loads(content)
            artefacts = artefacts_in(content)
            shared = tuple(map(str, found.get("shared", ())))
            others = found.keys() - {"artefacts", "shared"}
            texts = {name: str(found[name]) for name in others}
            return cls(artefacts=artefacts, shared=shared, **texts)
        except (ArtefactError, AttributeError, RecursionError, TypeError, ValueError) as error:
            raise InvalidRequest(f"its manifest is malformed: {error}") from None


class PortableBundle:
    """A verified portable bundle in a file, which must not be changed while this is in use.

    ``manifest`` says what it is, ``files`` has the spec and all beside it by path.
    """

    def __init__(self, path: Path, contents: Contents) -> None:
        self.path, self.contents = path, contents
        if contents.bundle.artifact_type != BUNDLE_TYPE:
            raise InvalidRequest(f"it is {contents.bundle.artifact_type!r}, not {BUNDLE_TYPE!r}")
        self.manifest = BundleManifest.read(self.content(_one(contents, CONFIG_TYPE)))
        self._code = self.content(_one(contents, CODE_TYPE))
        self.files: Mapping[str, bytes] = unpack(self._code, max_bytes())
        self._check()

    @property
    def digest(self) -> str:
        """Digest of the whole bundle, without its provenance and signatures: ``sha256:…``."""
        return self.contents.bundle.digest

    @cached_property
    def sbom(self) -> dict[str, Any] | None:
        """The software bill of materials in CycloneDX, if the bundle has one."""
        found = self.contents.bundle.layer(SBOM_TYPE)
        return None if found is None else json.loads(self.content(found))

    @property
    def code(self) -> Bundle:
        """The bundle that an engine takes: the files without the models."""
        sizes = {name: len(content) for name, content in self.files.items() if name != MANIFEST}
        return Bundle(self._code, self.manifest.code, sizes, {})

    def content(self, one: Descriptor) -> bytes:
        """Return a blob of the bundle or its referrers."""
        return archive.content_of(self.blob(one.digest))

    def blob(self, digest: str) -> Region:
        """Return where in the file a blob (``sha256:…``) is."""
        return Region(self.path, self.contents.spans[digest])

    def part(self, digest: str, start: int, most: int) -> bytes:
        """Return at most ``most`` bytes of a blob (``sha256:…``), from ``start`` on."""
        span = self.contents.spans[digest]
        with self.path.open("rb") as file:
            file.seek(span.start + start)
            return file.read(min(most, span.size - start))

    def unpack(self, to: Path) -> Path:
        """Write all that the bundle holds into the new folder ``to``; return the spec's path.

        Its models by URI lie beside the spec then, and are found there by whatever loads the graph.
        InvalidRequest where the folder is there already, StorageError where there is no room.
        """
        if to.exists():
            raise InvalidRequest(f"{to} is there already: name a new folder")
        with disk_errors(to):
            to.mkdir(parents=True)
            try:
                write_files(self.files, to)
                for one in self.manifest.artefacts.values():
                    self._write(one, place_beside(one, to))
            except BaseException:
                shutil.rmtree(to, ignore_errors=True)
                raise
        return to / self.manifest.spec

    def _write(self, artefact: BundledArtefact, place: Path) -> None:
        if place.exists():
            return  # of two URIs
        place.parent.mkdir(parents=True, exist_ok=True)
        packed = place.with_name(artefact.blob)
        blob = self.blob(f"sha256:{artefact.sha256}")
        with archive.pieces_of(blob) as pieces, packed.open("xb") as file:
            file.writelines(pieces)
        if artefact.is_packed:
            unpacked = place.with_name(f"{artefact.blob}.unpacked")
            archives.unpack(packed, unpacked, _UNLIMITED, lambda size: None)
            packed.unlink()
            unpacked.rename(place)

    def _check(self) -> None:
        """Raise InvalidRequest unless the manifest says what is there."""
        known = self.manifest
        if (found := digest(self.files)) != known.code:
            raise InvalidRequest(f"its code has the digest {found}, its manifest says {known.code}")
        if spec_name(self.files) != known.spec:
            raise InvalidRequest(f"its manifest names the spec {known.spec!r}, its code another")
        pinned = artefacts_in(self.files[MANIFEST])
        if canonical({uri: one.to_json() for uri, one in pinned.items()}) != canonical(
            known.to_json()["artefacts"]
        ):
            raise InvalidRequest("its code pins other models than its manifest")
        layers = {layer.digest: layer.size for layer in self.contents.bundle.layers}
        for uri, one in pinned.items():
            if layers.get(f"sha256:{one.sha256}") != one.size:
                raise InvalidRequest(f"it lacks the model {uri!r}")


def open_bundle(path: Path) -> PortableBundle:
    """Verify a portable bundle and return it; every byte of the file is read.

    InvalidRequest, which names the file, where it is none, or was changed or damaged.
    """
    contents = archive.read(path)
    try:
        return PortableBundle(path, contents)
    except AnabranchError as error:
        raise InvalidRequest(f"{path} is no portable bundle that can be used: {error}") from None


def file_name(manifest: BundleManifest) -> str:
    """Return the name that a bundle's file has unless told otherwise."""
    parts = "-".join(filter(None, (manifest.graph, manifest.version)))
    return f"{re.sub('[^A-Za-z0-9._-]', '-', parts)}{SUFFIX}"


def is_bundle(path: Path) -> bool:
    """Tell whether a file is meant as a portable bundle, by its name or its first bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return path.suffix == SUFFIX or file.read(len(archive.FIRST)) == archive.FIRST


def _one(contents: Contents, type: str) -> Descriptor:
    bundle = contents.bundle
    found = bundle.config if type == bundle.config.type else bundle.layer(type)
    if found is None:
        raise InvalidRequest(f"it has no {type}")
    return found
