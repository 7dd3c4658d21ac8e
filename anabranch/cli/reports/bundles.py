"""Reports on portable bundles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from anabranch.client.portable.bundle import PortableBundle
from anabranch.client.portable.signing import VerifiedSignature, signature_count
from anabranch.components.artefacts.sources import shown_size
from anabranch.components.artefacts.uris import redacted
from anabranch.specs.excerpts import clean


def bundle_view(
    bundle: PortableBundle, signatures: Sequence[VerifiedSignature] | None = None
) -> dict[str, Any]:
    """Return a bundle as JSON; ``signatures`` are those that were verified, None if none was."""
    known = bundle.manifest
    found: dict[str, Any] = {
        "file": str(bundle.path),
        "bytes": bundle.path.stat().st_size,
        "digest": bundle.digest,
        "graph": known.graph,
        "version": known.version,
        "code": known.code,
        "files": len(bundle.files),
        "models": {redacted(uri): one.to_json() for uri, one in known.artefacts.items()},
        "shared": list(known.shared),
        "anabranch": known.anabranch,
        "signatures": signature_count(bundle),
    }
    if signatures is not None:
        found["verified"] = [
            {"key": one.key, **vars(one.build) | {"commit": vars(one.build.commit)}}
            for one in signatures
        ]
        found["built"] = [one.build.text for one in signatures]
    return found


def bundle_text(found: dict[str, Any]) -> str:
    """Return a bundle as text."""
    return "\n".join(_lines(found))


def _lines(found: dict[str, Any]) -> Iterator[str]:
    version = f" {found['version']}" if found["version"] else ""
    yield f"{found['file']}: {found['graph']}{version}, {shown_size(found['bytes'])}"
    yield f"  digest  {found['digest']}"
    yield f"  code    {found['code']}"
    for uri, one in found["models"].items():
        yield f"  model   {clean(uri, 500)}, {shown_size(one['size'])}, sha256 {one['sha256']}"
    if found["shared"]:
        yield f"  needs   {', '.join(found['shared'])}, which an engine must have"
    if "verified" not in found:
        count = found["signatures"]
        yield f"  signed  {f'not verified; signatures: {count}' if count else 'by nobody'}"
    for one, built in zip(found.get("verified", ()), found.get("built", ()), strict=True):
        yield f"  signed  by key {one['key'][:16]}…"
        yield f"  built   {clean(built, 500)}"
