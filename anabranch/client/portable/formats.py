"""The documents of OCI images, of which a portable bundle is made. Pure.

Manifests, descriptors and the image layout are those of the OCI Image Format Specification 1.1
(https://github.com/opencontainers/image-spec); a manifest with a ``subject`` is a *referrer*.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from anabranch.client.registry.references import INDEX_TYPE, MANIFEST_TYPE
from anabranch.errors import InvalidRequest

EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
BUNDLE_TYPE = "application/vnd.anabranch.bundle.v1"
CONFIG_TYPE = "application/vnd.anabranch.bundle.config.v1+json"
CODE_TYPE = "application/vnd.anabranch.bundle.code.v1.zip"
FILE_TYPE = "application/vnd.anabranch.artefact.v1"
FOLDER_TYPE = "application/vnd.anabranch.artefact.v1.tar"
SBOM_TYPE = "application/vnd.cyclonedx+json"
PROVENANCE_TYPE = "application/vnd.in-toto+json"
SIGNATURE_TYPE = "application/vnd.anabranch.signature.v1"
CODE_SIGNATURE_TYPE = "application/vnd.anabranch.signature.v1.ed25519"
ENVELOPE_TYPE = "application/vnd.dsse.envelope.v1+json"
TITLE = "org.opencontainers.image.title"
VERSION = "org.opencontainers.image.version"
REF_NAME = "org.opencontainers.image.ref.name"
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_PREFIX = "sha256:"

Json = dict[str, Any]


def canonical(document: Any) -> bytes:
    """Return JSON of which there is one form only: sorted, without spaces, in UTF-8."""
    return json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest_of(content: bytes) -> str:
    """Return ``sha256:<64 hexadecimal digits>`` of a blob."""
    return _PREFIX + sha256(content).hexdigest()


@dataclass(frozen=True)
class Descriptor:
    """What a manifest says of a blob: media type, digest (``sha256:…``), bytes, annotations."""

    type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, content: bytes, type: str, **annotations: str) -> Descriptor:
        """Describe a blob in memory."""
        return cls(type, digest_of(content), len(content), annotations)

    @property
    def sha256(self) -> str:
        """The digest without its algorithm."""
        return self.digest.removeprefix(_PREFIX)

    @property
    def title(self) -> str:
        """The name of the file that the blob is, if it has one."""
        return self.annotations.get(TITLE, "")

    def to_json(self) -> Json:
        """Return the descriptor as the specification has it."""
        found: Json = {"mediaType": self.type, "digest": self.digest, "size": self.size}
        return {**found, "annotations": dict(self.annotations)} if self.annotations else found


@dataclass(frozen=True)
class ImageManifest:
    """A manifest with the bytes that its digest is of."""

    content: bytes
    artifact_type: str
    config: Descriptor
    layers: Sequence[Descriptor]
    subject: Descriptor | None
    annotations: Mapping[str, str]

    @classmethod
    def make(
        cls,
        artifact_type: str,
        layers: Sequence[Descriptor],
        config: Descriptor | None = None,
        subject: Descriptor | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> ImageManifest:
        """Return a new manifest; without a ``config`` it has the specification's empty one."""
        config = config or Descriptor.of(EMPTY, EMPTY_TYPE)
        document: Json = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": artifact_type,
            "config": config.to_json(),
            "layers": [layer.to_json() for layer in layers],
        }
        if subject is not None:
            document["subject"] = subject.to_json()
        if annotations:
            document["annotations"] = dict(annotations)
        return cls.read(canonical(document))

    @classmethod
    def read(cls, content: bytes) -> ImageManifest:
        """Read a manifest; InvalidRequest for what is none."""
        try:
            found = json.loads(content)
            if found.get("mediaType", MANIFEST_TYPE) != MANIFEST_TYPE:
                raise ValueError(f"its media type is {found['mediaType']!r}")
            config, subject = _descriptor(found["config"]), found.get("subject")
            return cls(
                content,
                str(found.get("artifactType", config.type)),
                config,
                [_descriptor(layer) for layer in found["layers"]],
                None if subject is None else _descriptor(subject),
                _texts(found.get("annotations", {})),
            )
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise InvalidRequest(f"it is no manifest of an OCI image: {error}") from None

    @property
    def descriptor(self) -> Descriptor:
        """What others say of the manifest."""
        return Descriptor.of(self.content, MANIFEST_TYPE)

    @property
    def digest(self) -> str:
        """``sha256:…`` of the manifest's bytes."""
        return self.descriptor.digest

    def blobs(self) -> Iterable[Descriptor]:
        """Yield what the manifest needs beside itself."""
        yield self.config
        yield from self.layers

    def layer(self, type: str) -> Descriptor | None:
        """Return the first layer of a media type, None where there is none."""
        return next((layer for layer in self.layers if layer.type == type), None)


def _descriptor(found: Json) -> Descriptor:
    type, digest, size = found["mediaType"], found["digest"], found["size"]
    is_digest = (
        isinstance(digest, str)
        and digest.startswith(_PREFIX)
        and len(digest) == len(_PREFIX) + 64
        and set(digest.removeprefix(_PREFIX)) <= set("0123456789abcdef")
    )
    if not (is_digest and isinstance(type, str) and isinstance(size, int) and size >= 0):
        raise ValueError(f"{str(found)[:200]} does not describe a blob by its SHA-256")
    return Descriptor(type, digest, size, _texts(found.get("annotations", {})))


def _texts(found: Json) -> dict[str, str]:
    return {str(name): str(text) for name, text in found.items()}


def index(bundle: ImageManifest, referrers: Sequence[ImageManifest]) -> bytes:
    """Return ``index.json`` of a layout; the same manifests give the same bytes, in any order."""
    main = _listed(bundle) | {
        "annotations": {REF_NAME: bundle.annotations.get(VERSION) or "latest"}
    }
    others = sorted((_listed(one) for one in referrers), key=lambda one: str(one["digest"]))
    return canonical({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [main, *others]})


def _listed(manifest: ImageManifest) -> Json:
    return {**manifest.descriptor.to_json(), "artifactType": manifest.artifact_type}


def listed(content: bytes) -> list[Json]:
    """Return the entries of an index; InvalidRequest for what is none."""
    try:
        found = json.loads(content)["manifests"]
        return [{**entry, "digest": _descriptor(entry).digest} for entry in found]
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"it is no index of an OCI image layout: {error}") from None
