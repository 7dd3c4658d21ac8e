"""Portable bundles in OCI registries, with all that refers to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from anabranch.client.portable.archive import pieces_of, size_of
from anabranch.client.portable.bundle import BundleManifest, PortableBundle, file_name, open_bundle
from anabranch.client.portable.formats import (
    BUNDLE_TYPE,
    PROVENANCE_TYPE,
    SIGNATURE_TYPE,
    ImageManifest,
)
from anabranch.client.portable.making import BundleDraft
from anabranch.client.registry.references import ImageReference
from anabranch.client.registry.registry import RegistryClient
from anabranch.errors import InvalidRequest
from anabranch.files import disk_errors

Say = Callable[[str], None]
_REFERRERS = (PROVENANCE_TYPE, SIGNATURE_TYPE)
_MOST_REFERRERS = 100


def push(
    bundle: PortableBundle, to: ImageReference, registry: RegistryClient, say: Say
) -> ImageReference:
    """Push a bundle, its provenance and signatures; return the reference that is fixed.

    The tag is that of ``to``, or else the version of the bundle, or else ``latest``. Blobs that the
    registry has are not sent. Raises what ``Registry`` does.
    """
    if to.digest:
        raise InvalidRequest(f"{to} names a digest, which follows from the content: name a tag")
    draft, tag = BundleDraft.of(bundle), to.tag or bundle.manifest.version or "latest"
    for manifest in (draft.bundle, *draft.referrers):
        for one in {blob.digest: blob for blob in manifest.blobs()}.values():
            if not registry.has_blob(one.digest):
                say(f"pushing {one.title or one.type}")
                source = draft.blobs[one.digest]
                registry.put_blob(one.digest, size_of(source), partial(_pieces, draft, one.digest))
    registry.put_manifest(tag, draft.bundle.content)
    for manifest in draft.referrers:
        described = manifest.descriptor.to_json() | {"artifactType": manifest.artifact_type}
        registry.put_referrer(manifest.digest, bundle.digest, manifest.content, described)
    return ImageReference(to.host, to.name, tag, bundle.digest)


def _pieces(draft: BundleDraft, digest: str) -> Iterator[bytes]:
    with pieces_of(draft.blobs[digest]) as pieces:
        yield from pieces


def pull(
    reference: ImageReference, registry: RegistryClient, target: Path | None, say: Say
) -> PortableBundle:
    """Pull a bundle with its provenance and signatures into a file, in one step; verified whole.

    Without a ``target`` it has the name ``file_name`` in the working folder.

    InvalidRequest where the reference names something else, or what comes has another digest.
    """
    bundle = ImageManifest.read(registry.manifest(reference.wanted))
    if bundle.artifact_type != BUNDLE_TYPE:
        raise InvalidRequest(
            f"{reference} is {bundle.artifact_type!r}, and no portable bundle of anabranch"
        )
    referrers = _referrers(bundle, registry)
    beside = Path() if target is None else target.parent
    with disk_errors(beside), TemporaryDirectory(dir=beside, prefix=".pull-") as folder:
        blobs = {}
        for one in (blob for each in (bundle, *referrers) for blob in each.blobs()):
            place = blobs[one.digest] = Path(folder) / one.sha256
            if not place.exists():
                say(f"pulling {one.title or one.type}")
                with place.open("xb") as file:
                    registry.get_blob(one.digest, one.size, file)
        if target is None:
            manifest = BundleManifest.read(blobs[bundle.config.digest].read_bytes())
            target = Path(file_name(manifest))
        BundleDraft(bundle, blobs, referrers).write(target)
    return open_bundle(target)


def _referrers(bundle: ImageManifest, registry: RegistryClient) -> list[ImageManifest]:
    """Return provenance and signatures of a bundle; what else refers to it stays where it is."""
    found = []
    known = registry.referrers(bundle.digest)
    ours = [one for one in known if one.get("artifactType") in (None, *_REFERRERS)]
    for one in ours[:_MOST_REFERRERS]:
        manifest = ImageManifest.read(registry.manifest(one["digest"]))
        is_ours = manifest.artifact_type in _REFERRERS
        if is_ours and manifest.subject is not None and manifest.subject.digest == bundle.digest:
            found.append(manifest)
    return found
